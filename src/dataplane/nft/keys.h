// SPDX-License-Identifier: Apache-2.0
// The keys of the sets and maps in our nf_tables tables, and their layout: each field in network
// order, with zeros up to four bytes. 10.96.0.10, UDP, 53 is 0a 60 00 0a, 11 00 00 00, 00 35 00 00.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/ip.h"

namespace sluice::dataplane::nft {

using Bytes = std::vector<std::uint8_t>;

struct ServedAddress {
  IpAddress address;
  Protocol protocol = Protocol::kTcp;
  std::uint16_t port = 0;
  friend auto operator<=>(const ServedAddress&, const ServedAddress&) = default;
};
struct SourceRange {
  ServedAddress to;
  Cidr from;
  friend auto operator<=>(const SourceRange&, const SourceRange&) = default;
};
struct NodePort {
  Protocol protocol = Protocol::kTcp;
  std::uint16_t port = 0;
  friend auto operator<=>(const NodePort&, const NodePort&) = default;
};

// Nothing for a number that is none of the three.
std::optional<Protocol> protocol_of(std::uint8_t number);

Bytes encode(const ServedAddress& served);  // address . protocol . port
Bytes encode(const NodePort& node_port);    // protocol . port
// Of what encode() makes; nothing where the bytes are too few or the protocol is none of ours.
std::optional<NodePort> decode_node_port(std::span<const std::uint8_t> key);
Bytes encode(const IpAddress& address);
void append_address(Bytes& key, const IpAddress& address);
// address . address: a packet from an address to itself.
Bytes encode_pair(const IpAddress& address);
// A port as the only field of its key: without padding.
Bytes encode_port(std::uint16_t port);

}  // namespace sluice::dataplane::nft
