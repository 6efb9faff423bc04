# SPDX-License-Identifier: Apache-2.0
# Where third-party libraries come from.
#
# Tests and debugging use Debian's shared libraries. A program for other machines, above all for a container
# image, should bring what those lack: with SLUICE_PORTABLE what has a static archive in Debian 12 is linked
# statically, and what has none is installed beside the program (src/cli/CMakeLists.txt). libmnl and libnftnl stay
# shared: iptables-nft and nft need them anyway, and they are under the LGPL or GPL.
option(SLUICE_PORTABLE "Link statically what has a static archive" OFF)

if(SLUICE_PORTABLE)
  set(OPENSSL_USE_STATIC_LIBS TRUE)
endif()
find_package(OpenSSL REQUIRED)
find_package(fmt REQUIRED)
find_package(yaml-cpp REQUIRED)

# Instead of fmt::fmt and yaml-cpp. Objects are compiled the same either way, so that the compiler cache hits for both.
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
