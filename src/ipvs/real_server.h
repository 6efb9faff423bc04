// SPDX-License-Identifier: Apache-2.0
// The real server: where a virtual server's connections go, how packets get there, and the limits of connections.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

#include "base/ip.h"

namespace sluice::ipvs {

struct RealServerKey {
  Family family = Family::kIPv4;  // may differ from the virtual server's only with kTunnel
  IpAddress address;
  std::uint16_t port = 0;  // 0: the port that the client used

  static RealServerKey of(const IpAddress& address, std::uint16_t port) { return {address.family(), address, port}; }
  friend auto operator<=>(const RealServerKey&, const RealServerKey&) = default;
};
std::string to_string(const RealServerKey& key);  // "10.2.0.1:80", "[fd02::1]:80"

// How packets get to the real server (IP_VS_CONN_F_FWD_MASK). Engines also keep the three numbers without a name.
enum class ForwardMethod : std::uint8_t {
  kMasquerade = 0,   // addresses are rewritten in both directions
  kLocal = 1,        // to a listener of this machine
  kTunnel = 2,       // inside another packet
  kDirectRoute = 3,  // unchanged, by link-layer address
  kBypass = 4,       // to the client's original destination, past us
};

enum class TunnelType : std::uint8_t { kIpip = 0, kGue = 1, kGre = 2 };
enum class TunnelChecksum : std::uint16_t { kNone = 0, kChecksum = 1, kRemoteOffload = 2 };

// Used with kTunnel, kept with every method.
struct Tunnel {
  TunnelType type = TunnelType::kIpip;
  std::uint16_t port = 0;  // gue only, and not 0 there
  TunnelChecksum checksum = TunnelChecksum::kNone;
  friend bool operator==(const Tunnel&, const Tunnel&) = default;
};

struct RealServer {
  RealServerKey key;
  ForwardMethod method = ForwardMethod::kDirectRoute;
  std::int32_t weight = 1;  // 0: keeps its connections but gets no new ones
  // Connections, active and inactive, at which new ones stop and below which they are accepted again. 0: no limit,
  // three quarters.
  std::uint32_t upper_threshold = 0;
  std::uint32_t lower_threshold = 0;
  Tunnel tunnel;
  friend bool operator==(const RealServer&, const RealServer&) = default;
};

}  // namespace sluice::ipvs
