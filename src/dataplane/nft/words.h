// SPDX-License-Identifier: Apache-2.0
// What our rules check in a packet, in the words of nf_tables' register machine. Keys that rules make in registers
// have the layout that keys.h gives them in sets.
#pragma once

#include <cstdint>
#include <string>

#include "base/ip.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::nft {

// Priorities of base chains: enum nf_ip_hook_priorities of linux/netfilter_ipv4.h, the same for IPv6.
inline constexpr std::int32_t kNatDestination = -100;
inline constexpr std::int32_t kNatSource = 100;

enum class End : std::uint8_t { kSource, kDestination };

class Words {
 public:
  explicit Words(Family family) : family_(family) {}

  [[nodiscard]] Family family() const { return family_; }
  [[nodiscard]] sys::NftField address_field() const;
  // How many 32-bit registers an address takes, and "address . protocol . port".
  [[nodiscard]] unsigned address_slots() const { return family_ == Family::kIPv4 ? 1 : 4; }
  [[nodiscard]] unsigned served_slots() const { return address_slots() + 2; }
  static constexpr unsigned kNodePortSlots = 2;  // "protocol . port"

  sys::NftRule& load_address(sys::NftRule& rule, End end, unsigned slot = 0) const;
  // protocol . destination port, which is at the same offset for TCP, UDP and SCTP.
  static sys::NftRule& load_node_port(sys::NftRule& rule, unsigned slot = 0);
  // address . protocol . destination port
  sys::NftRule& load_served(sys::NftRule& rule, End end = End::kDestination, unsigned slot = 0) const;

  // Go on where it is so; `operation` is NFT_CMP_EQ or NFT_CMP_NEQ.
  sys::NftRule& match_address(sys::NftRule& rule, End end, std::uint32_t operation, const Cidr& cidr) const;
  static sys::NftRule& match_protocol(sys::NftRule& rule, std::uint8_t protocol);
  // The interface by which the packet came in; what a process of this node sends has none. `prefix`: its name begins so.
  static sys::NftRule& match_interface(sys::NftRule& rule, std::uint32_t operation, const std::string& name,
                                       bool prefix);
  // Whether the address is one of this node's.
  static sys::NftRule& match_local(sys::NftRule& rule, End end, std::uint32_t operation);

  static sys::NftRule& set_mark(sys::NftRule& rule, std::uint32_t bit);
  // Go on where the packet has the mark's bit, and take it away.
  static sys::NftRule& take_mark(sys::NftRule& rule, std::uint32_t bit);

  // Refuses at once: TCP by a reset, which no rate limit of the kernel holds back as it does ICMP messages (one a
  // second to each peer, after a handful: net.ipv4.icmp_ratelimit); anything else by "port unreachable".
  static sys::NftRule& reset_tcp(sys::NftRule& rule);
  sys::NftRule& reject(sys::NftRule& rule) const;

 private:
  Family family_;
};

}  // namespace sluice::dataplane::nft
