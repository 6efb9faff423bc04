# SPDX-License-Identifier: Apache-2.0
# Where third-party libraries come from.
#
# Tests and debugging take Debian's shared libraries. A program that is carried to other machines, above all into a container's
# image, should bring with it what is not there: with SLUICE_PORTABLE what has a static archive in Debian 12 is linked
# statically, and what has none is installed beside the program (src/cli/CMakeLists.txt). libmnl and libnftnl stay
# shared: wherever there are iptables-nft or nft, so are they, and both are under the GPL or LGPL.
option(SLUICE_PORTABLE "Link statically what has a static archive" OFF)

if(SLUICE_PORTABLE)
  set(OPENSSL_USE_STATIC_LIBS TRUE)
endif()
find_package(OpenSSL REQUIRED)
find_package(fmt REQUIRED)
find_package(yaml-cpp REQUIRED)

# Instead of fmt::fmt and yaml-cpp. Objects are compiled alike either way, so that the compiler's cache serves both.
if(SLUICE_PORTABLE)
  find_library(YAML_CPP_ARCHIVE libyaml-cpp.a REQUIRED)
  add_library(sluice_yaml INTERFACE)
  target_link_libraries(sluice_yaml INTERFACE ${YAML_CPP_ARCHIVE})
  # Debian has no archive of fmt, but its sources are in a header.
  add_library(sluice_fmt STATIC ${CMAKE_SOURCE_DIR}/cmake/fmt_library.cc)
  target_compile_definitions(sluice_fmt PUBLIC FMT_SHARED)
else()
  add_library(sluice_yaml ALIAS yaml-cpp)
  add_library(sluice_fmt ALIAS fmt::fmt)
endif()
