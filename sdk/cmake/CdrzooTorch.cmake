# SPDX-License-Identifier: Apache-2.0
# Finds LibTorch, the distribution's or the one that CMAKE_PREFIX_PATH leads to, and defines cdrzoo::sdk_torch.
find_package(Torch QUIET GLOBAL)
if(Torch_FOUND AND NOT TARGET cdrzoo_sdk_torch AND NOT TARGET cdrzoo::sdk_torch)
  add_library(cdrzoo_sdk_torch INTERFACE)
  add_library(cdrzoo::sdk_torch ALIAS cdrzoo_sdk_torch)
  target_link_libraries(cdrzoo_sdk_torch INTERFACE cdrzoo::sdk_cxx ${TORCH_LIBRARIES})
  target_compile_features(cdrzoo_sdk_torch INTERFACE cxx_std_17)
endif()
