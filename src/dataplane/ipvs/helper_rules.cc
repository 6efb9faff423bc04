// SPDX-License-Identifier: Apache-2.0
// Why IPVS needs rules beside it, and where they must be. IPVS takes packets that are for this node, at the end of
// LOCAL_IN (priorities 98 and 99) or in LOCAL_OUT (-99 and -98), rewrites their destination and sends them on by
// LOCAL_OUT and POST_ROUTING (ip_vs_ops4 in net/netfilter/ipvs/ip_vs_core.c, kernel 6.1). So a Service's address is
// still visible in PRE_ROUTING, in LOCAL_IN at priority 0, and in LOCAL_OUT before -99; in POST_ROUTING it is the
// real server's.
//
//   client -> PRE_ROUTING  mark-prerouting: sets a bit of the packet's mark if the client must be hidden
//          -> LOCAL_IN     filter-input: source ranges, and what is not served at a Service's address
//          -> IPVS         the real server's address
//          -> POST_ROUTING masquerade-postrouting: by the mark, or because a pod has reached itself
//          -> real server
//
// Chains of type nat see only the first packet of a connection; connection tracking does the same to the others. What
// the rules need of Services they look up in sets, so one Service needs as many rules as ten thousand. A
// key is built in registers like an element of the set: address, protocol, port, each in its own register.
#include "dataplane/ipvs/helper_rules.h"

#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>

// The kernel's headers yield to libc's where these come first.
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>

#include <utility>

#include "dataplane/nft/words.h"

namespace sluice::dataplane::ipvs {
namespace {

using nft::End;
using nft::kNatDestination;
using nft::kNatSource;
using nft::Words;
using sys::NftChain;
using sys::NftField;
using sys::NftHook;
using sys::NftRule;

// enum nf_ip_hook_priorities in linux/netfilter_ipv4.h, the same for IPv6.
constexpr std::int32_t kMangle = -150;
constexpr std::int32_t kFilter = 0;

constexpr const char* kMarkPrerouting = "mark-prerouting";
constexpr const char* kMarkOutput = "mark-output";
constexpr const char* kServices = "services";
constexpr const char* kMasquerade = "masquerade-postrouting";
constexpr const char* kFilterInput = "filter-input";
constexpr const char* kFilterForward = "filter-forward";
constexpr const char* kFilterOutput = "filter-output";
constexpr const char* kSourceRangesChain = "source-ranges";
constexpr const char* kUnserved = "unserved";

// The rules of one family.
class Writer {
 public:
  explicit Writer(const HelperSettings& settings)
      : words_(settings.family), policy_(settings.masquerade), bit_(std::uint32_t{1} << settings.masquerade_bit) {}

  std::vector<NftRule> write() && {
    write_marks();
    write_masquerade();
    write_filter();
    return std::move(rules_);
  }

 private:
  NftRule& rule(const char* chain, const char* comment = "") { return rules_.emplace_back(chain, comment); }

  NftRule& match_served(NftRule& rule, const char* set, End end = End::kDestination) const {
    return words_.load_served(rule, end).lookup(set);
  }
  NftRule& set_mark(NftRule& rule) const { return Words::set_mark(rule, bit_); }

  // New connections to cluster IPs from sources other than this node's pods. Those opened by a process of this node
  // have no input interface, and count among these.
  void write_cluster_ips() {
    using Kind = plan::LocalDetector::Kind;
    const Kind kind = policy_.detector.kind;
    if (policy_.masquerade_all) {
      set_mark(match_served(rule(kServices, "cluster IPs, from everywhere"), kClusterIps));
    } else if (kind == Kind::kNone) {
      // Pods cannot be distinguished from others. Only this node is certainly not a pod, when it sends from the
      // Service's own address.
      set_mark(match_served(rule(kServices, "cluster IPs, from this node"), kClusterIps, End::kSource));
    } else {
      NftRule& marked = rule(kServices, "cluster IPs, from others than this node's pods");
      if (kind == Kind::kCidr) {
        words_.match_address(marked, End::kSource, NFT_CMP_NEQ, policy_.detector.cidr);
      } else {
        Words::match_interface(marked, NFT_CMP_NEQ, policy_.detector.interface, kind == Kind::kInterfacePrefix);
      }
      set_mark(match_served(marked, kClusterIps));
    }
  }

  void write_marks() {
    rule(kMarkPrerouting).verdict(static_cast<std::uint32_t>(NFT_JUMP), kServices);
    rule(kMarkOutput).verdict(static_cast<std::uint32_t>(NFT_JUMP), kServices);
    const Cidr loopback =
        words_.family() == Family::kIPv4 ? Cidr(IpAddress::from_v4(0x7f000000), 8) : *Cidr::parse("::1/128");
    words_.match_address(rule(kServices, "this node itself"), End::kSource, NFT_CMP_EQ, loopback)
        .verdict(static_cast<std::uint32_t>(NFT_RETURN));
    write_cluster_ips();
    set_mark(match_served(rule(kServices, "external and load-balancer addresses, policy Cluster"), kMasqueraded));
    NftRule& node_ports = rule(kServices, "node ports, policy Cluster");
    Words::match_local(node_ports, End::kDestination, NFT_CMP_EQ);
    set_mark(Words::load_node_port(node_ports).lookup(kMasqueradedNodePorts));
  }

  void write_masquerade() {
    NftRule& hairpin = rule(kMasquerade, "a pod that reached itself through a Service");
    words_.load_address(words_.load_address(hairpin, End::kSource), End::kDestination, words_.address_slots())
        .lookup(kLocalRealServers)
        .masquerade(0);
    // The bit is cleared, since this packet may come by again in a tunnel.
    Words::take_mark(rule(kMasquerade, "marked above"), bit_).masquerade(NF_NAT_RANGE_PROTO_RANDOM_FULLY);
  }

  void jump_to_source_ranges(const char* chain) {
    match_served(rule(chain, "loadBalancerSourceRanges"), kFirewalled)
        .verdict(static_cast<std::uint32_t>(NFT_JUMP), kSourceRangesChain);
  }

  void write_filter() {
    for (const char* chain : {kFilterInput, kFilterForward, kFilterOutput}) jump_to_source_ranges(chain);
    NftRule& allowed = rule(kSourceRangesChain);
    words_.load_address(words_.load_served(allowed), End::kSource, words_.served_slots());
    allowed.lookup(kSourceRanges).verdict(static_cast<std::uint32_t>(NFT_RETURN));
    rule(kSourceRangesChain).verdict(NF_DROP);

    NftRule& unserved = rule(kFilterInput, "new connections to Service addresses");
    unserved.load_conntrack(NFT_CT_STATE)
        .mask(NF_CT_STATE_BIT(IP_CT_NEW), std::uint32_t{0})
        .compare(NFT_CMP_NEQ, std::uint32_t{0});
    words_.load_address(unserved, End::kDestination)
        .lookup(kServiceAddresses)
        .verdict(static_cast<std::uint32_t>(NFT_JUMP), kUnserved);
    write_unserved();
  }

  // The remaining packets to a Service's address are for this node only because the address is on kube-ipvs0: without
  // these rules its ssh server would be reachable there.
  void write_unserved() {
    const auto leave = [](NftRule& rule) { rule.verdict(static_cast<std::uint32_t>(NFT_RETURN)); };
    for (const char* set : {kClusterIps, kMasqueraded, kUnmasqueraded}) leave(match_served(rule(kUnserved), set));
    leave(Words::match_protocol(rule(kUnserved), IPPROTO_TCP)
              .load_payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2)
              .lookup(kHealthCheckPorts));
    NftRule& ping = rule(kUnserved, "ping is answered");
    const bool v4 = words_.family() == Family::kIPv4;
    Words::match_protocol(ping, v4 ? std::uint8_t{IPPROTO_ICMP} : std::uint8_t{IPPROTO_ICMPV6});
    const std::uint8_t echo = v4 ? ICMP_ECHO : ICMP6_ECHO_REQUEST;
    leave(ping.load_payload(NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1).compare(NFT_CMP_EQ, std::span(&echo, 1)));
    Words::reset_tcp(rule(kUnserved));
    words_.reject(rule(kUnserved));
  }

  Words words_;
  plan::MasqueradePolicy policy_;
  std::uint32_t bit_;
  std::vector<NftRule> rules_;
};

}  // namespace

std::vector<sys::NftSet> helper_sets(Family family) {
  const NftField address = family == Family::kIPv4 ? NftField::kIPv4Address : NftField::kIPv6Address;
  const std::vector<NftField> served{address, NftField::kInetProtocol, NftField::kInetService};
  return {
      {kClusterIps, served},
      {kMasqueraded, served},
      {kUnmasqueraded, served},
      {kMasqueradedNodePorts, {NftField::kInetProtocol, NftField::kInetService}},
      {kUnmasqueradedNodePorts, {NftField::kInetProtocol, NftField::kInetService}},
      {kFirewalled, served},
      {kSourceRanges, {address, NftField::kInetProtocol, NftField::kInetService, address}, true},
      {kServiceAddresses, {address}},
      {kHealthCheckPorts, {NftField::kInetService}},
      {kLocalRealServers, {address, address}},
  };
}

std::vector<NftChain> helper_chains() {
  return {
      {kServices, std::nullopt},
      {kSourceRangesChain, std::nullopt},
      {kUnserved, std::nullopt},
      {kMarkPrerouting, NftHook{"nat", NF_INET_PRE_ROUTING, kNatDestination}},
      {kMarkOutput, NftHook{"nat", NF_INET_LOCAL_OUT, kNatDestination}},
      {kMasquerade, NftHook{"nat", NF_INET_POST_ROUTING, kNatSource}},
      {kFilterInput, NftHook{"filter", NF_INET_LOCAL_IN, kFilter}},
      {kFilterForward, NftHook{"filter", NF_INET_FORWARD, kFilter}},
      {kFilterOutput, NftHook{"filter", NF_INET_LOCAL_OUT, kMangle}},
  };
}

std::vector<NftRule> helper_rules(const HelperSettings& settings) {
  return Writer(settings).write();
}

}  // namespace sluice::dataplane::ipvs
