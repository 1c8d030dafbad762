# SPDX-License-Identifier: Apache-2.0
# The layout lock: headers -> lock (committed) -> static asserts -> the compiler, as C and as C++.
set(sdk_include ${PROJECT_SOURCE_DIR}/sdk/include)
set(abi_headers ${sdk_include}/cdrzoo/abi.h ${sdk_include}/cdrzoo/plugin.h)

add_executable(cdrzoo_layout_tool layout_tool.cpp)
target_include_directories(cdrzoo_layout_tool PRIVATE ${PROJECT_SOURCE_DIR}/tests)
target_link_libraries(cdrzoo_layout_tool PRIVATE cdrzoo_warnings)
add_custom_target(update_layout_lock
  COMMAND cdrzoo_layout_tool lock ${abi_headers} > ${CMAKE_CURRENT_BINARY_DIR}/layout.lock
  COMMAND ${CMAKE_COMMAND} -E copy ${CMAKE_CURRENT_BINARY_DIR}/layout.lock ${CMAKE_CURRENT_SOURCE_DIR}/layout.lock
  VERBATIM)

set(asserts_dir ${CMAKE_CURRENT_BINARY_DIR}/layout_asserts)
file(MAKE_DIRECTORY ${asserts_dir})
add_custom_command(OUTPUT ${asserts_dir}/layout_asserts.h
  COMMAND cdrzoo_layout_tool asserts ${CMAKE_CURRENT_SOURCE_DIR}/layout.lock > ${asserts_dir}/layout_asserts.h
  DEPENDS cdrzoo_layout_tool ${CMAKE_CURRENT_SOURCE_DIR}/layout.lock
  VERBATIM)
add_library(cdrzoo_layout_asserts OBJECT layout_asserts.c layout_asserts_cxx.cpp ${asserts_dir}/layout_asserts.h)
target_include_directories(cdrzoo_layout_asserts PRIVATE ${asserts_dir} ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(cdrzoo_layout_asserts PRIVATE cdrzoo::sdk)
target_compile_options(cdrzoo_layout_asserts PRIVATE -Wall -Wextra -Wpedantic -Werror)
set_target_properties(cdrzoo_layout_asserts PROPERTIES C_STANDARD 11)

# Each header alone in each dialect. -Wpadded for the two that define structs.
set(headers_alone "")
foreach(header abi plugin entry random)
  foreach(dialect c99 c11 cxx17)
    set(target cdrzoo_header_${header}_${dialect})
    if(dialect STREQUAL cxx17)
      add_library(${target} OBJECT header_alone_cxx.cpp)
    else()
      add_library(${target} OBJECT header_alone.c)
      string(SUBSTRING ${dialect} 1 2 standard)
      set_target_properties(${target} PROPERTIES C_STANDARD ${standard} C_STANDARD_REQUIRED ON C_EXTENSIONS OFF)
    endif()
    target_compile_definitions(${target} PRIVATE
      CDRZOO_HEADER="cdrzoo/${header}.h" CDRZOO_FUNCTION=cdrzoo_${header}_${dialect})
    target_link_libraries(${target} PRIVATE cdrzoo::sdk)
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wpadded -Wconversion -Wsign-conversion -Werror)
    list(APPEND headers_alone $<TARGET_OBJECTS:${target}>)
  endforeach()
endforeach()

cdrzoo_add_test(abi_layout_test
  SOURCES layout_test.cpp ${headers_alone} $<TARGET_OBJECTS:cdrzoo_layout_asserts>
  LINK cdrzoo::sdk LABELS abi)
target_compile_definitions(abi_layout_test PRIVATE
  CDRZOO_SDK_INCLUDE_DIR="${sdk_include}" CDRZOO_ABI_TEST_DIR="${CMAKE_CURRENT_SOURCE_DIR}")
