# SPDX-License-Identifier: Apache-2.0
# One static library per room, one test program per room. Flags live in the interface target sluice_flags;
# what a room may include is defined by tools/layers.txt and its check.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_VERIFY_INTERFACE_HEADER_SETS ON)
option(SLUICE_WERROR "Warnings are errors" OFF)
option(SLUICE_HARDEN "Fortify, stack protector, full RELRO" OFF)
set(SLUICE_SANITIZE "" CACHE STRING "Comma separated list for -fsanitize=")

option(SLUICE_UNITY "Compile the files of a room, and those of a test program, eight at a time" OFF)
set(SLUICE_UNITY_BATCH 8 CACHE STRING "Files of a batch; 0 for one batch a room, which finds every clash of names")

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  # The base folder makes hits possible between two clones and between presets' folders.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${CCACHE_PROGRAM})
  set(CMAKE_C_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()

add_library(sluice_flags INTERFACE)
target_include_directories(sluice_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_options(sluice_flags INTERFACE -Wall -Wextra -Wconversion -Wshadow -Wno-psabi)
target_compile_definitions(sluice_flags INTERFACE SLUICE_VERSION="${PROJECT_VERSION}")
if(SLUICE_WERROR)
  target_compile_options(sluice_flags INTERFACE -Werror)
endif()
if(SLUICE_HARDEN)
  target_compile_options(sluice_flags INTERFACE -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
  target_link_options(sluice_flags INTERFACE -Wl,-z,relro,-z,now)
  target_compile_options(sluice_flags INTERFACE -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)  # no path of the build machine in the program
endif()
if(SLUICE_SANITIZE)
  target_compile_options(sluice_flags INTERFACE -fsanitize=${SLUICE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(sluice_flags INTERFACE -fsanitize=${SLUICE_SANITIZE})
endif()
find_program(MOLD_PROGRAM mold)
if(MOLD_PROGRAM)
  target_link_options(sluice_flags INTERFACE -fuse-ld=mold)
endif()
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(GTest REQUIRED)
find_package(Boost 1.74 REQUIRED)
include(SluiceLibraries)
include(GoogleTest)

# Additional flags of the tests' own files, after sluice_flags.
add_library(sluice_test_flags INTERFACE)
target_link_libraries(sluice_test_flags INTERFACE GTest::gmock GTest::gtest)
if(SLUICE_SANITIZE)
  # In a test's own file UBSan and line tables (-g0) cost a third of the compile time, nearly all of it in GoogleTest's templates. The rooms
  # keep both, ASan watches the tests too, and a failed expectation names its line by itself. What sanitizers insert makes g++ take variables
  # for uninitialized that are not (gcc(1), -fsanitize).
  target_compile_options(sluice_test_flags INTERFACE -fno-sanitize=undefined -g0 -Wno-maybe-uninitialized)
endif()
if(SLUICE_UNITY)
  target_compile_options(sluice_flags INTERFACE -Wno-shadow -Wno-subobject-linkage)  # to them a batch is one file, and none of its parts the main one
endif()

# sluice_unity(TARGET [ALONE_FILE ...])
# The standard library's and the libraries' headers are most of what a file costs the compiler: presets that build everything read them once for
# eight files. Preset quick, the clang build and the check of headers compile each file by itself, so a missing include is found there.
function(sluice_unity target)
  if(SLUICE_UNITY)
    set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE ${SLUICE_UNITY_BATCH})
  endif()
endfunction()

# sluice_room(NAME SOURCES a.cc ... [ROOMS base model] [LIBS fmt] [ALONE b.cc ... | APART])
# Makes the library sluice_NAME. ROOMS are the rooms it may call; LIBS third-party libraries, private to the room. ALONE are those SOURCES whose
# local names or headers exclude those of others: always compiled by themselves; APART: all of them.
function(sluice_room name)
  cmake_parse_arguments(R "APART" "" "SOURCES;ALONE;ROOMS;LIBS;PUBLIC_LIBS" ${ARGN})
  add_library(sluice_${name} STATIC ${R_SOURCES})
  if(NOT R_APART)
    sluice_unity(sluice_${name} ${R_ALONE})
  endif()
  # For all_verify_interface_header_sets (make lint): each header compiles alone. Those of tests are left out: they use
  # definitions that only tests have.
  file(GLOB headers ${CMAKE_CURRENT_SOURCE_DIR}/*.h)
  list(FILTER headers EXCLUDE REGEX "/(test_[^/]*|[^/]*_test_[^/]*|[^/]*_fixture|golden)\\.h$")
  target_sources(sluice_${name} PUBLIC FILE_SET HEADERS BASE_DIRS ${CMAKE_SOURCE_DIR}/src FILES ${headers})
  target_link_libraries(sluice_${name} PUBLIC sluice_flags PRIVATE ${R_LIBS})
  if(R_PUBLIC_LIBS)
    target_link_libraries(sluice_${name} PUBLIC ${R_PUBLIC_LIBS})
  endif()
  foreach(room ${R_ROOMS})
    target_link_libraries(sluice_${name} PUBLIC sluice_${room})
  endforeach()
endfunction()

# sluice_test(NAME SOURCES a_test.cc ... ROOMS plan [LIBS ...] [LABELS net] [TIMEOUT 300] [SERIAL] [ALONE b_test.cc ...])
# A GoogleTest program NAME_test; every TEST becomes a ctest of its own. Tests run in the program's own folder.
# ALONE are those SOURCES that share a local name with another, or whose kernel headers exclude those of others: always compiled by themselves.
function(sluice_test name)
  cmake_parse_arguments(R "SERIAL" "TIMEOUT" "SOURCES;ALONE;ROOMS;LIBS;LABELS;DEFINITIONS" ${ARGN})
  add_executable(${name}_test ${R_SOURCES})
  target_link_libraries(${name}_test PRIVATE sluice_flags sluice_test_flags sluice_test_main ${R_LIBS})
  target_compile_definitions(${name}_test PRIVATE ${R_DEFINITIONS})
  set(helpers ${R_SOURCES})  # they stay alone: several programs may share them
  list(FILTER helpers EXCLUDE REGEX "_test\\.cc$")
  sluice_unity(${name}_test ${helpers} ${R_ALONE})
  foreach(room ${R_ROOMS})
    target_link_libraries(${name}_test PRIVATE sluice_${room})
  endforeach()
  if(NOT R_TIMEOUT)
    set(R_TIMEOUT 300)  # ends hanging tests; on a busy machine a test takes many times its usual time
  endif()
  set(properties TIMEOUT ${R_TIMEOUT})
  if(R_LABELS)
    list(APPEND properties LABELS "${R_LABELS}")
  endif()
  if(R_SERIAL)
    list(APPEND properties RUN_SERIAL TRUE)
  endif()
  # A parameter whose type GoogleTest cannot print would be in the test's name as its bytes.
  gtest_discover_tests(${name}_test DISCOVERY_MODE PRE_TEST NO_PRETTY_VALUES TEST_PREFIX "${name}." PROPERTIES ${properties})
endfunction()
