// SPDX-License-Identifier: Apache-2.0
// One entry of the connection table, as shown to users: a connection, or a template that binds a client to a real
// server.
#pragma once

#include <cstdint>
#include <string>

#include "base/ip.h"

namespace sluice::ipvs {

struct ConnectionEnd {
  IpAddress address;
  std::uint16_t port = 0;
  friend bool operator==(const ConnectionEnd&, const ConnectionEnd&) = default;
};

struct Connection {
  std::uint16_t protocol = 0;  // IPPROTO_*; 0 for the template of a firewall mark
  Family family = Family::kIPv4;
  ConnectionEnd client;
  ConnectionEnd virtual_end;
  Family real_family = Family::kIPv4;
  ConnectionEnd real;
  std::string state;  // "ESTABLISHED", "UDP", "ASSURED": the kernel's names
  std::uint32_t expires_s = 0;
  std::string persistence_engine;  // for a template whose server has one; otherwise empty
  std::string engine_data;
  friend bool operator==(const Connection&, const Connection&) = default;
};

}  // namespace sluice::ipvs
