// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/keys.h"

namespace sluice::dataplane::nft {
namespace {

void append_protocol_and_port(Bytes& key, Protocol protocol, std::uint16_t port) {
  key.insert(key.end(), {ip_protocol_number(protocol), 0, 0, 0});
  key.insert(key.end(), {static_cast<std::uint8_t>(port >> 8), static_cast<std::uint8_t>(port & 0xff), 0, 0});
}

}  // namespace

void append_address(Bytes& key, const IpAddress& address) {
  const auto bytes = address.bytes();
  key.insert(key.end(), bytes.begin(), bytes.end());
}

std::optional<Protocol> protocol_of(std::uint8_t number) {
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
    if (ip_protocol_number(protocol) == number) return protocol;
  }
  return std::nullopt;
}

Bytes encode(const ServedAddress& served) {
  Bytes key;
  key.reserve(40);  // a source range appends another address
  append_address(key, served.address);
  append_protocol_and_port(key, served.protocol, served.port);
  return key;
}

Bytes encode(const NodePort& node_port) {
  Bytes key;
  append_protocol_and_port(key, node_port.protocol, node_port.port);
  return key;
}

std::optional<NodePort> decode_node_port(std::span<const std::uint8_t> key) {
  constexpr std::size_t kPortAt = 4;
  if (key.size() < kPortAt + 2) return std::nullopt;
  const auto protocol = protocol_of(key[0]);
  if (!protocol) return std::nullopt;
  return NodePort{*protocol, static_cast<std::uint16_t>(key[kPortAt] << 8 | key[kPortAt + 1])};
}

Bytes encode(const IpAddress& address) {
  Bytes key;
  append_address(key, address);
  return key;
}

Bytes encode_pair(const IpAddress& address) {
  Bytes key = encode(address);
  append_address(key, address);
  return key;
}

Bytes encode_port(std::uint16_t port) {
  return {static_cast<std::uint8_t>(port >> 8), static_cast<std::uint8_t>(port & 0xff)};
}

}  // namespace sluice::dataplane::nft
