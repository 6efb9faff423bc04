// SPDX-License-Identifier: Apache-2.0
// The virtual server: what IPVS accepts packets on, and how it chooses a real server for a new connection.
// The words and numbers are those of linux/ip_vs.h; both engines and ipvsadm's text use them.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ip.h"

namespace sluice::ipvs {

// "10.0.0.1" or "fd00::1", as inet_ntop(3) writes it. The family is separate because ::ffff:10.0.0.1 is an address of
// its own in IPVS, while IpAddress holds it and 10.0.0.1 as the same bytes.
std::string address_text(Family family, const IpAddress& address);

// "TCP", "UDP", "SCTP"; nothing for protocols that no engine serves.
std::optional<std::string_view> protocol_name(std::uint16_t protocol);

// Which packets: those with a firewall mark, or those to one address, port and protocol. Port 0 means every port that
// has no virtual server of its own; it needs persistence to be useful. IPv4 and IPv6 servers of one mark are two
// servers.
struct VirtualServerKey {
  Family family = Family::kIPv4;
  std::uint32_t firewall_mark = 0;  // 0: none; otherwise protocol, address and port keep their defaults
  std::uint16_t protocol = 6;       // IPPROTO_*; engines serve TCP, UDP and SCTP, and keep others, unused
  IpAddress address;
  std::uint16_t port = 0;

  static VirtualServerKey of(Protocol protocol, const IpAddress& address, std::uint16_t port);
  static VirtualServerKey of_mark(Family family, std::uint32_t mark);
  friend auto operator<=>(const VirtualServerKey&, const VirtualServerKey&) = default;
};
std::string to_string(const VirtualServerKey& key);  // "TCP 10.0.0.1:80", "FWM 7", "FWM 7 IPv6"

// Bits of VirtualServer::flags. Bits without a name here are kept and returned unchanged.
enum VirtualServerFlag : std::uint32_t {
  kPersistentFlag = 0x1,   // connections of one client stay with one real server
  kOnePacketFlag = 0x4,    // UDP: every datagram is scheduled anew
  kSchedulerFlag1 = 0x8,   // sh and mh: fall back to another real server when the chosen one cannot take the connection
  kSchedulerFlag2 = 0x10,  // sh and mh: the client's port counts too
  kSchedulerFlag3 = 0x20,
};
// Set by engines on every server that they hold (IP_VS_SVC_F_HASHED); never part of VirtualServer::flags.
inline constexpr std::uint32_t kHashedFlag = 0x2;

inline constexpr std::string_view kDefaultScheduler = "wlc";
// No scheduler at all: no new connection is served until an edit names one.
inline constexpr std::string_view kNoScheduler = "none";
inline constexpr std::size_t kSchedulerNameMax = 15;
inline constexpr std::size_t kPersistenceEngineNameMax = 16;

// The part of a client's address that persistence uses: IPv4 a mask in host order, IPv6 a prefix length of 1 to
// 128.
std::uint32_t whole_client_mask(Family family);

struct VirtualServer {
  VirtualServerKey key;
  std::string scheduler{kDefaultScheduler};
  std::uint32_t flags = 0;  // of VirtualServerFlag
  std::uint32_t persistence_timeout_s = 0;
  std::uint32_t persistence_mask = 0;  // see whole_client_mask()
  std::string persistence_engine;      // "sip", or empty: clients are distinguished only by address

  // With the defaults: scheduler wlc, no flags, the whole client address.
  static VirtualServer of(const VirtualServerKey& key);
  friend bool operator==(const VirtualServer&, const VirtualServer&) = default;
};

}  // namespace sluice::ipvs
