// SPDX-License-Identifier: Apache-2.0
// What a kernel lacks is known before the first sync, and not by a sync that fails: `numgen` and `fib` may be left out of a
// build, ranges of several fields came with Linux 5.6, `reject` in prerouting with 5.9.
#include "dataplane/nftables/probe.h"

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/nftables/affinity.h"
#include "dataplane/nftables/fixed_part.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::nftables {
namespace {

constexpr const char* kProbeTable = "sluice-nftables-probe";

// Each kind of treatment.
std::vector<Treatment> samples() {
  using Kind = Treatment::Kind;
  std::vector<Treatment> all;
  for (const FoundBy found_by : {FoundBy::kAddress, FoundBy::kNodePort}) {
    for (const Hide hide : {Hide::kNobody, Hide::kOthersThanPods, Hide::kEverybody})
      all.push_back({.kind = Kind::kForward, .found_by = found_by, .hide = hide, .slots = 2});
    all.push_back({.kind = Kind::kPolicyLocal, .found_by = found_by, .filtered = true, .slots = 2, .local_slots = 1});
  }
  all.push_back({.kind = Kind::kForward, .slots = 2, .in_turn = "probe"});
  return all;
}

OwnParts affinity_sample(const RuleSettings& settings) {
  plan::ServicePortPlan port;
  port.key = {{"probe", "probe"}, "", Protocol::kTcp, settings.family};
  port.affinity_seconds = 1;
  PortSlots slots;
  slots.cluster.push_back(
      {settings.family == Family::kIPv4 ? IpAddress::from_v4(0xc0000201) : IpAddress::parse("2001:db8::1").value(),
       80});
  const Treatment sticky{.kind = Treatment::Kind::kForward, .slots = 1, .sticky = sticky_word(port)};
  return own_parts(port, slots, {sticky}, settings);
}

}  // namespace

Result<> probe_kernel(Family family) {
  const FixedPart fixed({family, {}, 1}, NodePortAddresses{});
  const OwnParts own = affinity_sample(fixed.settings);
  sys::NftBatch batch(family, kProbeTable);
  // Another program's table of that name is not in the way: like the rest, its end is undone.
  batch.add_table();
  batch.delete_table();
  batch.add_table();
  for (const std::vector<sys::NftSet>* sets : {&fixed.sets, &own.sets}) {
    for (const sys::NftSet& set : *sets) batch.add_set(set);
  }
  for (const sys::NftChain& chain : fixed.chains) batch.add_chain(chain);
  for (const sys::NftRule& rule : fixed.rules) batch.add_rule(rule);
  std::set<std::string> made;
  const auto put = [&](const std::vector<Chain>& chains) {
    for (const Chain& chain : chains) {
      if (!made.insert(chain.name).second) continue;
      batch.add_chain({chain.name, std::nullopt});
      for (const sys::NftRule& rule : chain.rules) batch.add_rule(rule);
    }
  };
  put(own.chains);
  for (const Treatment& treatment : samples()) put(chains(treatment, fixed.settings));
  const auto checked = batch.check();
  if (checked || checked.error().code == Errc::kPermission) return checked;
  Error error = checked.error();
  if (error.code == Errc::kUnavailable || sys::nft_outcome_unknown(error)) {
    error.code = Errc::kUnavailable;
    return tl::unexpected(std::move(error));
  }
  error.what = "this kernel's nf_tables does not have all that mode nftables needs (Linux 5.9): " + error.what;
  error.code = Errc::kUnsupported;
  return tl::unexpected(std::move(error));
}

}  // namespace sluice::dataplane::nftables
