// SPDX-License-Identifier: Apache-2.0
// Two routes and the node's share make a treatment: where pods, the node and outsiders get the same pool, it is "one of
// so many"; where they do not, which is policy Local, the chain distinguishes them.
#include "dataplane/nftables/encode.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "dataplane/nft/source_ranges.h"
#include "dataplane/nftables/affinity.h"
#include "dataplane/nftables/layout.h"
#include "dataplane/nftables/requests.h"

namespace sluice::dataplane::nftables {
namespace {

using nft::Bytes;
using plan::AddressPort;
using plan::Frontend;
using plan::FrontendKind;
using plan::Pool;
using plan::Routes;
using plan::Verdict;
using sys::NftElement;
using Kind = Treatment::Kind;

void append_number(Bytes& bytes, std::uint32_t number) {
  std::array<std::uint8_t, sizeof number> as_bytes{};
  std::memcpy(as_bytes.data(), &number, sizeof number);  // the machine's order, as numgen makes it
  bytes.insert(bytes.end(), as_bytes.begin(), as_bytes.end());
}

std::uint32_t number_at(std::span<const std::uint8_t> bytes) {
  std::uint32_t number = 0;
  std::memcpy(&number, bytes.data(), sizeof number);
  return number;
}

// address . port, as a value or the end of a key.
void append(Bytes& bytes, const AddressPort& server) {
  const auto address = server.address.bytes();
  bytes.insert(bytes.end(), address.begin(), address.end());
  bytes.insert(bytes.end(),
               {static_cast<std::uint8_t>(server.port >> 8), static_cast<std::uint8_t>(server.port & 0xff), 0, 0});
}

Hide hide_of(const Routes& routes) {
  if (routes.pod.masquerade) return Hide::kEverybody;
  return routes.outside.masquerade ? Hide::kOthersThanPods : Hide::kNobody;
}

// Of one Service port.
class Encoder {
 public:
  Encoder(const plan::ServicePortPlan& port, const PortSlots& slots)
      : port_(port), slots_(slots), sticky_(sticky_word(port)) {}

  Encoded encode() && {
    for (const Frontend& frontend : port_.frontends) put_frontend(frontend);
    if (std::ranges::any_of(encoded_.treatments, &Treatment::forwards)) put_hairpins();
    for (auto& [set, elements] : encoded_.elements) std::ranges::sort(elements);
    std::ranges::sort(encoded_.treatments);
    const auto twice = std::ranges::unique(encoded_.treatments);
    encoded_.treatments.erase(twice.begin(), twice.end());
    return std::move(encoded_);
  }

 private:
  [[nodiscard]] Treatment treatment_of(const Frontend& frontend) const {
    const Routes& routes = port_.routes(frontend);
    Treatment treatment;
    treatment.filtered = frontend.filtered;
    treatment.found_by = frontend.kind == FrontendKind::kNodePort ? FoundBy::kNodePort : FoundBy::kAddress;
    if (routes.pod.pool == routes.outside.pool && routes.node.pool == routes.outside.pool) {
      if (routes.outside.verdict == Verdict::kDrop) return Treatment{Kind::kDrop};
      treatment.kind = Kind::kForward;
      treatment.hide = hide_of(routes);
      treatment.pool = routes.outside.pool;
      treatment.slots = static_cast<std::uint16_t>(slots_.of(treatment.pool).size());
    } else {
      treatment.kind = Kind::kPolicyLocal;
      treatment.slots = static_cast<std::uint16_t>(slots_.cluster.size());
      if (routes.outside.verdict == Verdict::kForward)
        treatment.local_slots = static_cast<std::uint16_t>(slots_.local.size());
    }
    if (treatment.slots == 0 && treatment.local_slots == 0) {
      Treatment refuse;
      refuse.filtered = treatment.filtered;
      return refuse;
    }
    if (!sticky_.empty()) {
      treatment.sticky = sticky_;
      treatment.slots = std::min<std::uint16_t>(treatment.slots, 1);
      treatment.local_slots = std::min<std::uint16_t>(treatment.local_slots, 1);
    }
    if (sticky_.empty() && takes_turns(scheduler_of(port_))) treatment.in_turn = own_word(port_);
    return treatment;
  }

  void put_frontend(const Frontend& frontend) {
    const Treatment treatment = treatment_of(frontend);
    const FrontendKeys keys = keys_of(frontend, port_.key.protocol);
    NftElement element{keys.key, {}};
    element.verdict = verdict_of(treatment);
    nft::Elements& frontends = encoded_.elements[keys.set];
    // An external IP may be a load-balancer IP, too; the first one counts, as in plan::route().
    if (std::ranges::find(frontends, keys.key, &NftElement::key) != frontends.end()) return;
    frontends.push_back(std::move(element));
    if (treatment.sticky.empty()) {
      for (const Pool pool : {Pool::kCluster, Pool::kLocal}) {
        if (treatment.uses(pool)) put_endpoints(keys, pool);
      }
    }
    if (treatment.filtered) put_source_ranges({frontend.address, port_.key.protocol, frontend.port});
    if (frontend.kind == FrontendKind::kClusterIp) encoded_.cluster_ips.push_back({nft::encode(frontend.address), {}});
    encoded_.treatments.push_back(treatment);
  }

  void put_source_ranges(const nft::ServedAddress& served) {
    std::set<Cidr> ranges(port_.source_ranges.begin(), port_.source_ranges.end());
    if (port_.node_ip_in_source_ranges) {
      for (const Frontend& frontend : port_.frontends) {
        if (frontend.kind == FrontendKind::kLoadBalancerIp)
          ranges.insert(Cidr(frontend.address, static_cast<unsigned>(8 * frontend.address.bytes().size())));
      }
    }
    nft::Elements& elements = encoded_.elements[kSourceRanges];
    for (const Cidr& range : nft::widest(ranges)) elements.push_back(nft::encode(nft::SourceRange{served, range}));
  }

  void put_endpoints(const FrontendKeys& keys, Pool pool) {
    nft::Elements& elements = encoded_.elements[keys.endpoints];
    std::uint32_t number = pool == Pool::kCluster ? 0 : kLocalSlots;
    for (const AddressPort& server : slots_.of(pool)) {
      NftElement& element = elements.emplace_back();
      element.key.reserve(keys.key.size() + sizeof number);
      element.key = keys.key;
      append_number(element.key, number++);
      append(element.value, server);
    }
  }

  // A pod of this node may call itself. One of another node may too, where its packets come by here and keep their
  // source: as a "pod" that a policy Local lets choose from the whole cluster.
  void put_hairpins() {
    const bool sources_kept = port_.externally_accessible && port_.external.policy_local() &&
                              !port_.external.pod.masquerade && port_.external.pod.pool == Pool::kCluster;
    std::set<IpAddress> addresses;
    for (const plan::RealServer& server : port_.real_servers) {
      if (server.on_this_node || sources_kept) addresses.insert(server.address);
    }
    for (const IpAddress& address : addresses) encoded_.hairpins.push_back({nft::encode_pair(address), {}});
  }

  const plan::ServicePortPlan& port_;
  const PortSlots& slots_;
  std::string sticky_;
  Encoded encoded_;
};

}  // namespace

FrontendKeys keys_of(const Frontend& frontend, Protocol protocol) {
  if (frontend.kind == FrontendKind::kNodePort)
    return {kNodePorts, kNodePortEndpoints, nft::encode(nft::NodePort{protocol, frontend.port})};
  return {kFrontends, kEndpoints, nft::encode(nft::ServedAddress{frontend.address, protocol, frontend.port})};
}

Result<Encoded> encode(const plan::ServicePortPlan& port, const PortSlots& slots) {
  if (slots.cluster.size() > kSlotsMax || slots.local.size() > kSlotsMax) {
    return fail(Errc::kExhausted, fmt::format("{} endpoints; mode nftables serves up to {} of a Service port",
                                              std::max(slots.cluster.size(), slots.local.size()), kSlotsMax));
  }
  return Encoder(port, slots).encode();
}

LiveSlots decode_slots(std::span<const NftElement> elements) {
  LiveSlots live;
  for (const NftElement& element : elements) {
    if (element.key.size() < 4 || element.value.size() < 8) continue;
    const std::uint32_t number = number_at(std::span(element.key).last(4));
    auto& slots = number < kLocalSlots ? live.cluster : live.local;
    const std::size_t slot = number % kLocalSlots;
    // One that none of our processes wrote may be anywhere.
    if (number >= 2 * kLocalSlots) continue;
    if (slots.size() <= slot) slots.resize(slot + 1);
    const auto value = std::span(element.value);
    const auto address = IpAddress::from_bytes(value.first(value.size() - 4));
    if (address)
      slots[slot] =
          AddressPort{*address, static_cast<std::uint16_t>(value[value.size() - 4] << 8 | value[value.size() - 3])};
  }
  return live;
}

}  // namespace sluice::dataplane::nftables
