# SPDX-License-Identifier: Apache-2.0
# Installs the SDK into a folder, builds the examples against it as a project of its own, and looks at the result.
# cmake -D BUILD=<build tree> -D SOURCE=<this folder> -D WORK=<folder> -D GENERATOR=.. -D NM=.. -D TORCH=ON|OFF -P run.cmake
# TORCH=ON looks at the LibTorch component only, whose headers take most of a minute to compile.
function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    string(JOIN " " command ${ARGN})
    message(FATAL_ERROR "${command}\nfailed with ${result}:\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

function(check_exports plugin)
  execute_process(COMMAND ${NM} -D --defined-only ${plugin} OUTPUT_VARIABLE symbols RESULT_VARIABLE result)
  string(STRIP "${symbols}" symbols)
  if(NOT result EQUAL 0 OR NOT symbols MATCHES "^[0-9a-f]+ T cdrzoo_plugin_v0$")
    message(FATAL_ERROR "${plugin} exports more or less than cdrzoo_plugin_v0:\n${symbols}")
  endif()
endfunction()

file(REMOVE_RECURSE ${WORK})
set(prefix "${WORK}/a prefix")
run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${prefix} --component sdk)

set(options -G ${GENERATOR} -D CMAKE_BUILD_TYPE=RelWithDebInfo -D CMAKE_C_COMPILER=${C_COMPILER}
  -D CMAKE_CXX_COMPILER=${CXX_COMPILER} "-DCMAKE_C_FLAGS=-Wall -Wextra -Wpedantic -Wconversion -Werror"
  "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Wconversion -Werror")
# The optional components.
run(${CMAKE_COMMAND} -S ${SOURCE}/components -B "${WORK}/components" ${options}
    "-DCMAKE_PREFIX_PATH=${prefix};${PREFIX_PATH}" -D WITH_TORCH=${TORCH})
run(${CMAKE_COMMAND} --build "${WORK}/components")
run("${WORK}/components/roundtrip")
if(TORCH)
  check_exports("${WORK}/components/with_torch.so")
  return()
endif()

# The examples as they were installed, away from the source tree.
file(COPY "${prefix}/share/cdrzoo/examples/minimal_plugin" DESTINATION "${WORK}/a copy")
run(${CMAKE_COMMAND} -S "${WORK}/a copy/minimal_plugin" -B "${WORK}/examples" ${options}
    "-DCMAKE_PREFIX_PATH=${prefix}")
run(${CMAKE_COMMAND} --build "${WORK}/examples")
foreach(plugin shrunken_mean mean_in_c)
  check_exports("${WORK}/examples/${plugin}.so")
  if(EXISTS ${BUILD}/bin/cdrzoo-worker)
    run(${BUILD}/bin/cdrzoo-worker describe "${WORK}/examples/${plugin}.so")
    if(NOT output MATCHES "\"example\\.${plugin}\"")
      message(FATAL_ERROR "the worker describes ${plugin}.so as ${output}")
    endif()
  else()
    message(STATUS "no cdrzoo-worker in ${BUILD}/bin: not described")
  endif()
endforeach()
run(${CMAKE_COMMAND} --install "${WORK}/examples" --prefix "${WORK}/installed")
file(GLOB_RECURSE installed RELATIVE "${WORK}/installed" "${WORK}/installed/*.so")
if(NOT installed MATCHES "cdrzoo/plugins/mean_in_c.so")
  message(FATAL_ERROR "the examples install as ${installed}")
endif()

# A component or a version that is not there is an error, and a card that is none is one, too.
foreach(case UNKNOWN_COMPONENT FUTURE_VERSION BAD_CARD)
  execute_process(COMMAND ${CMAKE_COMMAND} -S ${SOURCE}/components -B "${WORK}/bad_${case}" ${options}
      "-DCMAKE_PREFIX_PATH=${prefix};${PREFIX_PATH}" -D ${case}=ON
    RESULT_VARIABLE result OUTPUT_QUIET ERROR_VARIABLE error)
  if(result EQUAL 0)
    message(FATAL_ERROR "${case} was accepted")
  endif()
endforeach()
string(REGEX REPLACE "[ \n]+" " " error "${error}")
if(NOT error MATCHES "with_torch.card.json is no card")
  message(FATAL_ERROR "the error for a bad card is:\n${error}")
endif()
