# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
# BPF objects: compiled by clang for the kernel, and carried inside the program, so that nothing has to be found at run time.
# No skeleton is generated: it would bring libbpf's headers, and a generated file, to every file that uses one (src/sys/bpf.h).
find_program(SLUICE_BPF_CLANG NAMES clang-19 clang-14 clang REQUIRED)

# sluice_bpf_object(NAME bpf/x.bpf.c)
# Makes the library sluice_bpf_NAME; SLUICE_BPF_OBJECT(NAME) of sys/bpf.h declares what is in it.
function(sluice_bpf_object name source)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.bpf.o)
  # Debian keeps <asm/types.h> in the folder of its architecture. Unused functions: the shared headers offer more than one program calls.
  add_custom_command(OUTPUT ${object}
    COMMAND ${SLUICE_BPF_CLANG} -target bpf -mcpu=v3 -std=gnu11 -O2 -g -Wall -Wextra -Werror -Wno-unused-function
      -isystem /usr/include/${CMAKE_LIBRARY_ARCHITECTURE} -fdebug-prefix-map=${CMAKE_SOURCE_DIR}=.
      -MD -MF ${object}.d -MT ${object} -c ${CMAKE_SOURCE_DIR}/${source} -o ${object}
    DEPENDS ${CMAKE_SOURCE_DIR}/${source}
    DEPFILE ${object}.d
    COMMENT "Building BPF object ${name}.bpf.o" VERBATIM)
  set(holder ${CMAKE_CURRENT_BINARY_DIR}/${name}_bpf.cc)
  configure_file(${CMAKE_SOURCE_DIR}/cmake/bpf_object.cc.in ${holder} @ONLY)
  set_source_files_properties(${holder} PROPERTIES OBJECT_DEPENDS ${object})
  add_library(sluice_bpf_${name} STATIC ${holder})
endfunction()
