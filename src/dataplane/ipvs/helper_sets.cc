// SPDX-License-Identifier: Apache-2.0
// An element's key is what the rules put into registers: each field in network order, with zeros up to four
// bytes. 10.96.0.10, UDP, 53 is 0a 60 00 0a, 11 00 00 00, 00 35 00 00. A range of sources has a second key with the
// last address of the range, and is kept in the kernel by an algorithm that knows no priorities
// (net/netfilter/nft_set_pipapo.c): of 10.0.0.0/8 and 10.1.0.0/16 for one Service it would refuse the second. Only the
// widest ranges are written, which say the same.
#include "dataplane/ipvs/helper_sets.h"

#include "dataplane/ipvs/helper_rules.h"

#include <algorithm>
#include <iterator>

namespace sluice::dataplane::ipvs {
namespace {

using sys::NftElement;
using sys::NftField;
using Bytes = std::vector<std::uint8_t>;

void append_address(Bytes& key, const IpAddress& address) {
  const auto bytes = address.bytes();
  key.insert(key.end(), bytes.begin(), bytes.end());
}

void append_protocol(Bytes& key, Protocol protocol) {
  key.insert(key.end(), {ip_protocol_number(protocol), 0, 0, 0});
}

// Without padding, as the key of a single field has none.
void append_port(Bytes& key, std::uint16_t port) {
  key.insert(key.end(), {static_cast<std::uint8_t>(port >> 8), static_cast<std::uint8_t>(port & 0xff)});
}

Bytes served_key(const ServedAddress& served) {
  Bytes key;
  key.reserve(40);
  append_address(key, served.address);
  append_protocol(key, served.protocol);
  append_port(key, served.port);
  key.insert(key.end(), 2, 0);
  return key;
}

Bytes node_port_key(const NodePort& node_port) {
  Bytes key;
  append_protocol(key, node_port.protocol);
  append_port(key, node_port.port);
  key.insert(key.end(), 2, 0);
  return key;
}

Bytes port_key(std::uint16_t port) {
  Bytes key;
  append_port(key, port);
  return key;
}

Bytes address_key(const IpAddress& address, int times) {
  Bytes key;
  for (int i = 0; i < times; ++i) append_address(key, address);
  return key;
}

IpAddress last_address(const Cidr& cidr) {
  const auto first = cidr.address().bytes();
  Bytes bytes(first.begin(), first.end());
  for (std::size_t bit = cidr.prefix_length(); bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] = static_cast<std::uint8_t>(bytes[bit / 8] | 0x80U >> bit % 8);
  }
  return IpAddress::from_bytes(bytes).value_or(cidr.address());
}

template <typename Values, typename Encode>
void encode_into(std::map<std::string, NftElements>& sets, const char* name, const Values& values, Encode encode) {
  if (values.empty()) return;
  NftElements& elements = sets[name];
  elements.reserve(values.size());
  for (const auto& value : values) elements.push_back(encode(value));
  std::ranges::sort(elements);
}

template <typename Key>
auto plain(Key key) {
  return [key](const auto& value) { return NftElement{key(value), {}}; };
}

std::string protocol_text(std::uint8_t number) {
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
    if (ip_protocol_number(protocol) == number) return std::string(lower_name(protocol));
  }
  return std::to_string(number);
}

std::string field_text(NftField field, std::span<const std::uint8_t> bytes) {
  switch (field) {
    case NftField::kIPv4Address:
    case NftField::kIPv6Address:
      return IpAddress::from_bytes(bytes).value_or(IpAddress()).to_string();
    case NftField::kInetProtocol:
      return protocol_text(bytes[0]);
    case NftField::kInetService:
      return std::to_string(bytes[0] << 8 | bytes[1]);
    case NftField::kMark:
      break;  // no set of ours has one
  }
  return {};
}

}  // namespace

std::set<Cidr> widest(const std::set<Cidr>& ranges) {
  std::set<Cidr> result;
  for (const Cidr& range : ranges) {
    const bool inside = std::ranges::any_of(ranges, [&range](const Cidr& other) {
      return other.prefix_length() < range.prefix_length() && other.contains(range.address());
    });
    if (!inside) result.insert(range);
  }
  return result;
}

NftElement encode_source_range(const SourceRange& range) {
  NftElement element{served_key(range.to), served_key(range.to)};
  append_address(element.key, range.from.address());
  append_address(element.key_end, last_address(range.from));
  return element;
}

std::map<std::string, NftElements> encode_elements(const HelperElements& elements) {
  std::map<std::string, NftElements> sets;
  encode_into(sets, kClusterIps, elements.cluster_ips, plain(served_key));
  encode_into(sets, kMasqueraded, elements.masqueraded, plain(served_key));
  encode_into(sets, kUnmasqueraded, elements.unmasqueraded, plain(served_key));
  encode_into(sets, kMasqueradedNodePorts, elements.masqueraded_node_ports, plain(node_port_key));
  encode_into(sets, kFirewalled, elements.firewalled, plain(served_key));
  encode_into(sets, kServiceAddresses, elements.service_addresses,
              plain([](const IpAddress& a) { return address_key(a, 1); }));
  encode_into(sets, kHealthCheckPorts, elements.health_check_ports, plain(port_key));
  encode_into(sets, kLocalRealServers, elements.local_real_servers,
              plain([](const IpAddress& a) { return address_key(a, 2); }));
  std::map<ServedAddress, std::set<Cidr>> ranges;
  for (const SourceRange& range : elements.source_ranges) ranges[range.to].insert(range.from);
  std::set<SourceRange> written;
  for (const auto& [to, from] : ranges) {
    for (const Cidr& range : widest(from)) written.insert({to, range});
  }
  encode_into(sets, kSourceRanges, written, encode_source_range);
  return sets;
}

std::string element_text(std::span<const NftField> key, const NftElement& element) {
  std::string text;
  std::size_t at = 0;
  for (const NftField field : key) {
    const std::size_t length = sys::nft_field_length(field);
    if (at + length > element.key.size()) return text;
    if (!text.empty()) text += " . ";
    const std::string first = field_text(field, std::span(element.key).subspan(at, length));
    text += first;
    if (at + length <= element.key_end.size()) {
      const std::string last = field_text(field, std::span(element.key_end).subspan(at, length));
      if (last != first) text += "-" + last;
    }
    at += (length + 3) / 4 * 4;
  }
  return text;
}

NftElements subtract(const NftElements& left, const NftElements& right) {
  NftElements result;
  std::ranges::set_difference(left, right, std::back_inserter(result));
  return result;
}

}  // namespace sluice::dataplane::ipvs
