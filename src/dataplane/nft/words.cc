// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/words.h"

#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>

// The kernel's headers yield to libc's where these come first.
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <array>
#include <cstddef>

namespace sluice::dataplane::nft {

using sys::NftRule;

sys::NftField Words::address_field() const {
  return family_ == Family::kIPv4 ? sys::NftField::kIPv4Address : sys::NftField::kIPv6Address;
}

NftRule& Words::load_address(NftRule& rule, End end, unsigned slot) const {
  const std::uint32_t length = address_slots() * 4;
  const std::uint32_t source = family_ == Family::kIPv4 ? 12 : 8;  // struct iphdr, struct ipv6hdr
  return rule.load_payload(NFT_PAYLOAD_NETWORK_HEADER, end == End::kSource ? source : source + length, length, slot);
}

NftRule& Words::load_node_port(NftRule& rule, unsigned slot) {
  return rule.load_meta(NFT_META_L4PROTO, slot).load_payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, slot + 1);
}

NftRule& Words::load_served(NftRule& rule, End end, unsigned slot) const {
  return load_node_port(load_address(rule, end, slot), slot + address_slots());
}

NftRule& Words::match_address(NftRule& rule, End end, std::uint32_t operation, const Cidr& cidr) const {
  const std::size_t length = std::size_t{4} * address_slots();
  load_address(rule, end);
  if (cidr.prefix_length() < length * 8) {
    std::array<std::uint8_t, 16> mask{};
    for (unsigned bit = 0; bit < cidr.prefix_length(); ++bit) {
      mask.at(bit / 8) = static_cast<std::uint8_t>(mask.at(bit / 8) | 0x80U >> bit % 8);
    }
    const std::array<std::uint8_t, 16> nothing{};
    rule.mask(std::span(mask).first(length), std::span(nothing).first(length));
  }
  return rule.compare(operation, cidr.address().bytes());
}

NftRule& Words::match_protocol(NftRule& rule, std::uint8_t protocol) {
  return rule.load_meta(NFT_META_L4PROTO).compare(NFT_CMP_EQ, std::span(&protocol, 1));
}

NftRule& Words::match_interface(NftRule& rule, std::uint32_t operation, const std::string& name, bool prefix) {
  std::array<std::uint8_t, IFNAMSIZ> padded{};
  const std::size_t length = std::min(name.size(), padded.size() - 1);
  std::copy_n(name.begin(), length, padded.begin());
  return rule.load_meta(NFT_META_IIFNAME).compare(operation, std::span(padded).first(prefix ? length : padded.size()));
}

NftRule& Words::match_local(NftRule& rule, End end, std::uint32_t operation) {
  return rule.load_fib(NFT_FIB_RESULT_ADDRTYPE, end == End::kSource ? NFTA_FIB_F_SADDR : NFTA_FIB_F_DADDR)
      .compare(operation, std::uint32_t{RTN_LOCAL});
}

NftRule& Words::set_mark(NftRule& rule, std::uint32_t bit) {
  return rule.load_meta(NFT_META_MARK).mask(~bit, bit).store_meta(NFT_META_MARK);
}

NftRule& Words::take_mark(NftRule& rule, std::uint32_t bit) {
  return rule.load_meta(NFT_META_MARK)
      .mask(bit, std::uint32_t{0})
      .compare(NFT_CMP_EQ, bit)
      .load_meta(NFT_META_MARK)
      .mask(~bit, std::uint32_t{0})
      .store_meta(NFT_META_MARK);
}

NftRule& Words::reset_tcp(NftRule& rule) {
  return match_protocol(rule, IPPROTO_TCP).reject(NFT_REJECT_TCP_RST, 0);
}

NftRule& Words::reject(NftRule& rule) const {
  return rule.reject(NFT_REJECT_ICMP_UNREACH, family_ == Family::kIPv4 ? std::uint8_t{ICMP_PORT_UNREACH}
                                                                       : std::uint8_t{ICMP6_DST_UNREACH_NOPORT});
}

}  // namespace sluice::dataplane::nft
