# SPDX-License-Identifier: Apache-2.0
# Finds LibTorch, the distribution's or the one that CMAKE_PREFIX_PATH leads to, and defines cdrzoo::sdk_torch, and
# cdrzoo::sdk_torch_optim for torch_optim.hpp.
find_package(Torch QUIET GLOBAL)
if(Torch_FOUND)
  # at::parallel_for is compiled where it is used, and silently runs on one thread without this.
  find_package(OpenMP QUIET GLOBAL COMPONENTS CXX)
  if(NOT TARGET OpenMP::OpenMP_CXX)
    message(WARNING "OpenMP was not found for ${CMAKE_CXX_COMPILER}: at::parallel_for in plugins will use one thread")
  endif()
endif()
if(Torch_FOUND AND NOT TARGET cdrzoo_sdk_torch AND NOT TARGET cdrzoo::sdk_torch)
  add_library(cdrzoo_sdk_torch INTERFACE)
  add_library(cdrzoo::sdk_torch ALIAS cdrzoo_sdk_torch)
  target_link_libraries(cdrzoo_sdk_torch INTERFACE cdrzoo::sdk_cxx ${TORCH_LIBRARIES}
    $<TARGET_NAME_IF_EXISTS:OpenMP::OpenMP_CXX>)
  target_compile_features(cdrzoo_sdk_torch INTERFACE cxx_std_17)
  # Not in the header: whoever has a precompiled torch/torch.h cannot compile without errno.
  add_library(cdrzoo_sdk_torch_optim STATIC EXCLUDE_FROM_ALL ${CMAKE_CURRENT_LIST_DIR}/optim_kernels.cpp)
  add_library(cdrzoo::sdk_torch_optim ALIAS cdrzoo_sdk_torch_optim)
  target_link_libraries(cdrzoo_sdk_torch_optim PUBLIC cdrzoo::sdk_torch)
  target_compile_options(cdrzoo_sdk_torch_optim PRIVATE -fno-math-errno)
  set_target_properties(cdrzoo_sdk_torch_optim PROPERTIES POSITION_INDEPENDENT_CODE ON
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
endif()
