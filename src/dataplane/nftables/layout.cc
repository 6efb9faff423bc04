// SPDX-License-Identifier: Apache-2.0
// All of our rules stand in chains of type nat, also those that refuse and drop. Connection tracking leads only the
// first packet of a connection through such chains (nf_nat_inet_fn() in net/netfilter/nf_nat_core.c), so packets of
// established connections meet no rule of ours; chains of type filter would cost each of them a look at its state.
//
//   client -> PRE_ROUTING (from a process of this node: LOCAL_OUT)
//               services: the frontend's treatment, by address or node port; else, for a cluster IP, refuse
//               a treatment: source ranges, a bit of the mark where the client must be hidden, a real server
//          -> POST_ROUTING: masquerade by that bit, or because a pod has reached itself
#include "dataplane/nftables/layout.h"

// The kernel's headers yield to libc's where these come first.
#include <netinet/in.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>

namespace sluice::dataplane::nftables {
namespace {

using nft::End;
using nft::kNatDestination;
using nft::kNatSource;
using nft::Words;
using sys::NftField;
using sys::NftHook;
using sys::NftRule;

void write_services(std::vector<NftRule>& rules, const Words& words, bool node_ports_on_all_addresses) {
  NftRule& frontends = rules.emplace_back(kServicesChain, "addresses of Services");
  words.load_served(frontends).verdict_of(kFrontends);

  NftRule& node_ports = rules.emplace_back(kServicesChain, "node ports");
  if (node_ports_on_all_addresses) {
    Words::match_local(node_ports, End::kDestination, NFT_CMP_EQ);
    const Cidr loopback =
        words.family() == Family::kIPv4 ? Cidr(IpAddress::from_v4(0x7f000000), 8) : *Cidr::parse("::1/128");
    words.match_address(node_ports, End::kDestination, NFT_CMP_NEQ, loopback);
  } else {
    words.load_address(node_ports, End::kDestination).lookup(kNodeAddresses);
  }
  Words::load_node_port(node_ports).verdict_of(kNodePorts);

  // An address that the node itself has is the node's own business: a local cache may listen on the cluster DNS's.
  NftRule& unserved = rules.emplace_back(kServicesChain, "cluster IPs, ports that no Service has");
  words.load_address(unserved, End::kDestination).lookup(kClusterIps);
  Words::match_local(unserved, End::kDestination, NFT_CMP_NEQ).verdict(kGoto, kRefuseChain);
}

void write_postrouting(std::vector<NftRule>& rules, const Words& words, std::uint32_t bit) {
  // The bit goes, for this packet may come by again in a tunnel.
  Words::take_mark(rules.emplace_back(kPostrouting, "marked above"), bit).masquerade(NF_NAT_RANGE_PROTO_RANDOM_FULLY);
  NftRule& hairpin = rules.emplace_back(kPostrouting, "a pod that reached itself through a Service");
  hairpin.load_conntrack(NFT_CT_STATUS).mask(std::uint32_t{IPS_DST_NAT}, 0U).compare(NFT_CMP_NEQ, 0U);
  words.load_address(words.load_address(hairpin, End::kSource), End::kDestination, words.address_slots())
      .lookup(kHairpins)
      .masquerade(NF_NAT_RANGE_PROTO_RANDOM_FULLY);
}

}  // namespace

std::vector<sys::NftSet> sets(Family family) {
  using enum NftField;
  const NftField address = Words(family).address_field();
  const std::vector<NftField> served{address, kInetProtocol, kInetService};
  const std::vector<NftField> node_port{kInetProtocol, kInetService};
  const std::vector<NftField> endpoint{address, kInetService};
  const auto with = [](std::vector<NftField> key, NftField more) {
    key.push_back(more);
    return key;
  };
  const auto verdicts = [](const char* name, std::vector<NftField> key) {
    sys::NftSet made{name, std::move(key)};
    made.verdicts = true;
    return made;
  };
  const auto endpoints = [&](const char* name, const std::vector<NftField>& key) {
    sys::NftSet made{name, with(key, kMark)};
    made.value = endpoint;
    return made;
  };
  return {
      verdicts(kFrontends, served),
      verdicts(kNodePorts, node_port),
      endpoints(kEndpoints, served),
      endpoints(kNodePortEndpoints, node_port),
      {kSourceRanges, with(served, address), true},
      {kClusterIps, {address}},
      {kHairpins, {address, address}},
      {kNodeAddresses, {address}},
  };
}

std::vector<sys::NftChain> fixed_chains() {
  return {
      {kServicesChain, std::nullopt},
      {kRefuseChain, std::nullopt},
      {kPrerouting, NftHook{"nat", NF_INET_PRE_ROUTING, kNatDestination}},
      {kOutput, NftHook{"nat", NF_INET_LOCAL_OUT, kNatDestination}},
      {kPostrouting, NftHook{"nat", NF_INET_POST_ROUTING, kNatSource}},
  };
}

std::vector<NftRule> fixed_rules(const RuleSettings& settings, bool node_ports_on_all_addresses) {
  const Words words(settings.family);
  std::vector<NftRule> rules;
  Words::reset_tcp(rules.emplace_back(kRefuseChain));
  words.reject(rules.emplace_back(kRefuseChain));
  write_services(rules, words, node_ports_on_all_addresses);
  write_postrouting(rules, words, settings.masquerade_bit);
  for (const char* chain : {kPrerouting, kOutput})
    rules.emplace_back(chain).verdict(static_cast<std::uint32_t>(NFT_JUMP), kServicesChain);
  return rules;
}

}  // namespace sluice::dataplane::nftables
