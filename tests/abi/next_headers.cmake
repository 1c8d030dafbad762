# SPDX-License-Identifier: Apache-2.0
# cdrzoo_write_next_headers(<folder>): the ABI headers as the next minor might have them. Every growable struct, that is
# every one that begins with its size, gets a last field `uint64_t younger`; the minor grows by one.
function(cdrzoo_write_next_headers folder)
  set(from ${PROJECT_SOURCE_DIR}/sdk/include/cdrzoo)
  set(n_grown 0)
  foreach(header abi.h plugin.h)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${from}/${header})
    file(READ ${from}/${header} text)
    # CMake's lists end at ; and treat [ ] specially: hide all three while the text is edited.
    string(REPLACE ";" "@SEMICOLON@" text "${text}")
    string(REPLACE "[" "@OPEN@" text "${text}")
    string(REPLACE "]" "@CLOSE@" text "${text}")
    string(REGEX MATCHALL "struct cdrzoo_[a-z_]+ {\n  uint32_t size@SEMICOLON@[^}]*}" structs "${text}")
    list(LENGTH structs n)
    math(EXPR n_grown "${n_grown} + ${n}")
    string(REGEX REPLACE "(struct cdrzoo_[a-z_]+ {\n  uint32_t size@SEMICOLON@[^}]*)}" "\\1  uint64_t younger@SEMICOLON@\n}"
           text "${text}")
    string(REPLACE "#define CDRZOO_ABI_MINOR 0u" "#define CDRZOO_ABI_MINOR 1u" text "${text}")
    string(REPLACE "@OPEN@" "[" text "${text}")
    string(REPLACE "@CLOSE@" "]" text "${text}")
    string(REPLACE "@SEMICOLON@" ";" text "${text}")
    file(WRITE ${folder}/cdrzoo/${header}.new "${text}")
    file(COPY_FILE ${folder}/cdrzoo/${header}.new ${folder}/cdrzoo/${header} ONLY_IF_DIFFERENT)
  endforeach()
  if(n_grown LESS 20)
    message(FATAL_ERROR "next_headers.cmake found ${n_grown} growable structs, expected at least 20")
  endif()
endfunction()
