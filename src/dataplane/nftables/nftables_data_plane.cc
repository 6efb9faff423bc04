// SPDX-License-Identifier: Apache-2.0
// A full apply reads our table, works out one unit for each Service port over what is there, and writes them in batches,
// the most important first. Each batch leaves the node serving what the batches before it brought: a port's endpoints,
// its frontends and their treatments' chains come in one transaction. That a cluster IP is ours alone, so that ports
// which no Service has are refused there, is written last: until then whatever served before us may serve them.
//
// Neighbours: encode.cc says what a port's elements are, unit.cc what changes of them, layout.cc and treatment.cc what
// the rules are, commit.cc how units are written, idle_parts.cc what becomes of chains and sets that are no longer used.
#include "dataplane/nftables/nftables_data_plane.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <optional>

#include "dataplane/nftables/requests.h"
#include "dataplane/nftables/run.h"
#include "plan/importance.h"

namespace sluice::dataplane::nftables {
namespace {

using sys::NftBatch;
using sys::NftElement;
using sys::NftTable;

constexpr int kFullAttemptsMax = 3;

// Rules go with a chain that is made anew.
bool has_rules_kept(const NftTable& table, const sys::NftChain& chain, const std::vector<std::string>& rules) {
  const auto found = table.chains.find(chain.name);
  const bool stays = found != table.chains.end() && found->second.hook.has_value() == chain.hook.has_value() &&
                     (!chain.hook || (found->second.hook->type == chain.hook->type &&
                                      found->second.hook->number == chain.hook->number &&
                                      found->second.hook->priority == chain.hook->priority));
  return stays && rules_of(table, chain.name) == rules;
}

}  // namespace

NftablesDataPlane::NftablesDataPlane(Options options)
    : options_(std::move(options)),
      fixed_({options_.family, options_.detector, options_.masquerade_bit}, NodePortAddresses{}) {}

Result<std::unique_ptr<NftablesDataPlane>> NftablesDataPlane::open(Options options) {
  const auto generation = sys::nft_generation();
  if (!generation && generation.error().code == Errc::kUnavailable) return tl::unexpected(generation.error());
  if (!generation) {
    return annotate(generation.error(),
                    "mode nftables needs nftables in the kernel (module nf_tables is missing or may not be loaded)");
  }
  return std::unique_ptr<NftablesDataPlane>(new NftablesDataPlane(std::move(options)));
}

const Capabilities& NftablesDataPlane::capabilities() const {
  static const Capabilities kCapabilities{
      {{Gap::kSourceFromLoopback, "node ports are not served on loopback addresses"}}};
  return kCapabilities;
}

// ---- writing

void NftablesDataPlane::note_requests(const Changes& changes) {
  if (changes.full) unmet_requests_.clear();
  for (const plan::Change& change : changes.ports) {
    auto unmet = change.after ? nftables::unmet_requests(*change.after) : std::vector<std::string>();
    if (unmet.empty()) {
      unmet_requests_.erase(change.key());
    } else {
      unmet_requests_.insert_or_assign(change.key(), std::move(unmet));
    }
  }
}

std::vector<UnmetRequest> NftablesDataPlane::unmet_requests() const {
  std::set<UnmetRequest> all;  // ports of one Service have the same annotations
  for (const auto& [port, unmet] : unmet_requests_) {
    for (const std::string& why : unmet) all.insert({port.service, why});
  }
  return {all.begin(), all.end()};
}

Result<Outcome> NftablesDataPlane::apply(const Changes& changes) {
  note_requests(changes);
  if (!changes.full) {
    if (!applied_) return fail(Errc::kInvalid, "nftables: the first apply must be full");
    Run run(options_.batch_objects_max);
    const auto applied = apply_partial(changes.ports, run);
    applied_ = static_cast<bool>(applied);
    if (!applied) return tl::unexpected(applied.error());
    name_held(run);
    std::ranges::sort(run.outcome.refused);
    return std::move(run.outcome);
  }
  fixed_ = FixedPart(fixed_.settings, changes.node_port_addresses);
  touched_ = true;
  for (int attempt = 1;; ++attempt) {
    Run run(options_.batch_objects_max);
    run.surprises_are_refusals = attempt == kFullAttemptsMax;
    applied_ = false;
    const auto applied = apply_full(changes, run);
    const bool may_help = !applied && (means_surprise(applied.error()) || sys::nft_outcome_unknown(applied.error()));
    if (may_help && attempt < kFullAttemptsMax) continue;
    if (!applied) return tl::unexpected(applied.error());
    applied_ = true;
    name_held(run);
    std::ranges::sort(run.outcome.refused);
    return std::move(run.outcome);
  }
}

Result<> NftablesDataPlane::apply_full(const Changes& changes, Run& run) {
  SLUICE_TRY(epoch_, options_.generation->epoch());
  looks_without_elements_ = 0;
  SLUICE_TRY(run.live, Live::read(options_.family, fixed_.sets));
  parts_.clear();
  sums_.clear();
  ready_.clear();
  slots_.clear();
  refused_.clear();
  unremoved_.clear();
  std::vector<plan::ServicePortPlanPtr> ports;
  for (const plan::Change& change : changes.ports) {
    if (change.after) ports.push_back(change.after);
  }
  std::ranges::stable_sort(ports, {}, [](const plan::ServicePortPlanPtr& port) { return plan::importance(*port); });
  const bool anew = must_write_anew(*run.live);
  const bool over_another = anew && run.live->table();
  run.beginning.emplace(options_.family, kTableName);
  if (over_another) {
    // What was served goes, and what is served comes, in one: no moment without rules.
    run.beginning->delete_table();
    run.live->give_up();
    run.batch_objects_max = static_cast<std::size_t>(-1);
  }
  cluster_ips_.assign(run.live->unsettled(kClusterIps));
  hairpins_.assign(run.live->unsettled(kHairpins));
  if (!anew && run.live->table()->dormant) {
    // By itself: the kernel refuses a new base chain in a transaction that changes the table's flags.
    run.beginning->wake_table();
    SLUICE_CHECK_OK(commit({}, run));
    run.beginning.emplace(options_.family, kTableName);
  }
  if (!anew) {
    parts_.assign(*run.live->table(), fixed_.chains, fixed_.sets);
    for (const sys::NftSet& set : fixed_.sets) sums_.add(set.name, run.live->all(set.name));
  }
  put_fixed(*run.beginning, *run.live, anew, run);
  if (!anew) put_marking_chains(ports, run);
  if (!over_another) SLUICE_CHECK_OK(commit({}, run));
  // Batch by batch: all units at once are as large as the whole table.
  std::vector<Unit> units;
  std::size_t objects = 0;
  for (const plan::ServicePortPlanPtr& port : ports) {
    auto unit = unit_over_live(port, *run.live, fixed_.settings);
    if (!unit) {
      refused_.insert_or_assign(port->key, nullptr);
      run.outcome.refused.push_back({port->key, unit.error().what});
      continue;
    }
    drop_live_parts(*unit);
    if (note_if_live(*unit, run)) continue;
    const std::size_t size = size_of(*unit);
    if (!units.empty() && objects + size > run.batch_objects_max) {
      SLUICE_CHECK_OK(commit_or_divide(units, run));
      units.clear();
      objects = 0;
    }
    objects += size;
    units.push_back(*std::move(unit));
  }
  SLUICE_CHECK_OK(over_another ? commit_at_once(std::move(units), run) : commit_or_divide(units, run));
  return commit_rest(run);
}

// Where a map or set has another form, as one of an earlier version may, the table is replaced as a whole: too much leads to
// it. So it is where chains may lead to one that must be a base chain, to which nothing can.
bool NftablesDataPlane::must_write_anew(const Live& live) const {
  if (!live.usable()) return true;
  return std::ranges::any_of(fixed_.chains, [&](const sys::NftChain& chain) {
    const auto found = live.table()->chains.find(chain.name);
    return chain.hook && found != live.table()->chains.end() && !found->second.hook;
  });
}

// So that the chain is there, with its type, hook, priority and policy.
void NftablesDataPlane::put_fixed_chain(NftBatch& batch, const Live& live, const sys::NftChain& chain) const {
  const auto found = live.table()->chains.find(chain.name);
  if (found != live.table()->chains.end() && found->second == chain) return;
  sys::NftChain with_policy = found == live.table()->chains.end() ? chain : found->second;
  if (with_policy.hook && chain.hook) with_policy.hook->policy = chain.hook->policy;
  if (with_policy != chain) {  // what the kernel does not change, it makes anew; nothing leads to a base chain
    batch.delete_rules(chain.name);
    batch.delete_chain(chain.name);
  }
  batch.add_chain(chain);
}

void NftablesDataPlane::put_fixed(NftBatch& batch, const Live& live, bool anew, Run& run) const {
  if (anew) batch.add_table();
  for (const sys::NftSet& set : fixed_.sets) {
    if (!anew && live.table()->sets.contains(set.name)) continue;
    batch.add_set(set);
    run.count(1);
  }
  for (const sys::NftChain& chain : fixed_.chains) {
    if (anew) batch.add_chain(chain);
    if (!anew) put_fixed_chain(batch, live, chain);
  }
  const auto wanted = by_chain(fixed_.rules);
  for (const sys::NftChain& chain : fixed_.chains) {
    const auto found = wanted.find(chain.name);
    if (found == wanted.end() || (!anew && has_rules_kept(*live.table(), chain, found->second))) continue;
    if (!anew) batch.delete_rules(chain.name);
    for (const sys::NftRule& rule : fixed_.rules) {
      if (rule.chain() != chain.name) continue;
      batch.add_rule(rule);
      run.count(1);
    }
    ++run.outcome.stats.chains_written;
  }
  nft::Elements& missing = run.node_addresses_of_beginning;
  std::ranges::copy_if(fixed_.node_addresses(), std::back_inserter(missing),
                       [&](const NftElement& element) { return !live.find(kNodeAddresses, element); });
  batch.add_elements(kNodeAddresses, missing);
  run.count(missing.size());
}

// With another bit of the mark than an earlier process had, nat-postrouting and the chains that set the bit change together:
// in between, who must be hidden would not be.
void NftablesDataPlane::put_marking_chains(const std::vector<plan::ServicePortPlanPtr>& ports, Run& run) const {
  const auto wanted = by_chain(fixed_.rules);
  const auto& there = rules_of(*run.live->table(), kPostrouting);
  if (there.empty() || there == wanted.at(kPostrouting)) return;
  const auto put = [&](const Chain& chain) {
    const bool marks = chain.name.starts_with("hide-") || chain.name.starts_with("by-source-");
    if (marks && parts_.has_chain(chain.name)) put_chain(*run.beginning, chain, false, run.parts_of_beginning, run);
  };
  for (const plan::ServicePortPlanPtr& port : ports) {
    const auto unit = unit_over_live(port, *run.live, fixed_.settings);
    if (!unit) continue;
    for (const Step& step : unit->steps) {
      const bool all_there = std::ranges::all_of(step.to_parts.chains,
                                                 [this](const std::string& chain) { return parts_.has_chain(chain); });
      if (!all_there) continue;  // what they lead to may be missing
      for (const Chain& chain : step.own.chains) put(chain);
      for (const Treatment& treatment : step.to.treatments) {
        if (!treatment.sticky.empty()) continue;
        for (const Chain& chain : chains(treatment, fixed_.settings)) put(chain);
      }
    }
  }
}

Result<> NftablesDataPlane::apply_partial(const std::vector<plan::Change>& ports, Run& run) {
  std::vector<Unit> units;
  for (const plan::Change& change : ports) {
    Known before{change.before, {}};
    if (const auto refused = refused_.find(change.key()); refused != refused_.end()) before.port = refused->second;
    if (before.port) before.slots = known_slots(*before.port);
    auto unit = unit_over_known(before, change.after, change.key(), fixed_.settings);
    if (unit) {
      drop_live_parts(*unit);
      units.push_back(*std::move(unit));
    } else {
      refused_.insert_or_assign(change.key(), before.port);
      run.outcome.refused.push_back({change.key(), unit.error().what});
    }
  }
  return commit_in_batches(connected(std::move(units)), run);
}

PortSlots NftablesDataPlane::known_slots(const plan::ServicePortPlan& port) const {
  const auto found = slots_.find(port.key);
  return found == slots_.end() ? fresh_slots(port) : found->second;
}

// ---- looking

bool NftablesDataPlane::is_expected(const NftTable& table) const {
  const auto wanted = by_chain(fixed_.rules);
  const auto has_rules = [&](const std::string& chain, const RulesDigest& rules) {
    return table.chains.contains(chain) && digest_of(rules_of(table, chain)) == rules;
  };
  if (table.dormant || table.chains.size() != fixed_.chains.size() + parts_.chains().size() ||
      table.sets.size() != fixed_.sets.size() + parts_.sets().size())
    return false;
  for (const sys::NftChain& chain : fixed_.chains) {
    const auto rules = wanted.find(chain.name);
    if (!has_rules(chain.name, digest_of(rules == wanted.end() ? std::vector<std::string>() : rules->second)))
      return false;
    if (table.chains.at(chain.name) != chain) return false;
  }
  for (const auto& [name, part] : parts_.chains()) {
    if (!has_rules(name, part.rules) || table.chains.at(name) != part.chain) return false;
  }
  for (const sys::NftSet& set : fixed_.sets) {
    const auto found = table.sets.find(set.name);
    if (found == table.sets.end() || found->second != set) return false;
  }
  return std::ranges::all_of(parts_.sets(), [&](const auto& part) {
    const auto found = table.sets.find(part.first);
    return found != table.sets.end() && same_set(found->second, part.second.set);
  });
}

Result<NftablesDataPlane::Elements> NftablesDataPlane::look_at_elements() const {
  Elements looked;
  for (const sys::NftSet& set : fixed_.sets) {
    ElementSums there;
    const auto add = [&](const NftElement& element) {
      there.add(set.name, {&element, 1});
      ++looked.listed;
    };
    SLUICE_CHECK_OK(sys::read_nft_elements(options_.family, kTableName, set.name, {[&] { there.clear(); }, add}));
    if (there.of(set.name) == sums_.of(set.name)) continue;
    // Where the kernel was enlarging the set, some may have come twice.
    SLUICE_TRY(const nft::Elements each_once, sys::read_nft_elements(options_.family, kTableName, set.name));
    there.clear();
    there.add(set.name, each_once);
    looked.expected = there.of(set.name) == sums_.of(set.name);
    if (!looked.expected) break;
  }
  return looked;
}

// In an epoch that we know only our own commits have changed tables, and nothing is listed. In another one chains, rules
// and sets are listed at once; elements, of which there may be 250,000 (more than a second of the loop's only thread), as
// often as their number allows.
Result<Integrity> NftablesDataPlane::intact() {
  SLUICE_TRY(const std::uint64_t epoch, options_.generation->epoch());
  const bool without_elements = looks_without_elements_ > 0;
  if (without_elements) --looks_without_elements_;
  if (epoch_ == epoch) return Integrity::kKept;
  SLUICE_TRY(const auto live, sys::read_nft_table(options_.family, kTableName));
  if (!live || !is_expected(*live)) return Integrity::kDamaged;
  if (without_elements) return Integrity::kKept;
  const auto elements = look_at_elements();
  if (!elements && elements.error().code == Errc::kNotFound) return Integrity::kDamaged;
  if (!elements) return tl::unexpected(elements.error());
  if (!elements->expected) return Integrity::kDamaged;
  epoch_ = epoch;
  looks_without_elements_ = elements->listed / options_.listed_per_look_max;
  return Integrity::kKept;
}

Result<Difference> NftablesDataPlane::compare(const Changes& wanted) {
  SLUICE_TRY(Live live, Live::read(options_.family, fixed_.sets));
  std::vector<plan::ServicePortPlanPtr> ports;
  auto refused = refused_;
  for (const plan::Change& change : wanted.ports) {
    const auto instead = refused.extract(change.key());
    const plan::ServicePortPlanPtr& port = instead ? instead.mapped() : change.after;
    if (port) ports.push_back(port);
  }
  // No longer wanted, and not released.
  for (const auto& [key, port] : refused) {
    if (port) ports.push_back(port);
  }
  return nftables::compare(std::move(live), FixedPart(fixed_.settings, wanted.node_port_addresses), ports, parts_,
                           unremoved_);
}

// ---- the end

Result<> NftablesDataPlane::retire() {
  if (!touched_) return {};
  applied_ = false;
  NftBatch batch(options_.family, kTableName);
  for (const char* chain : {kPrerouting, kOutput}) batch.delete_rules(chain);
  const auto committed = put_through(batch);
  // A table that is gone takes no connections either.
  if (!committed && committed.error().code != Errc::kNotFound) return tl::unexpected(committed.error());
  return {};
}

std::vector<std::pair<std::string, std::size_t>> NftablesDataPlane::rules_by_table() const {
  if (!applied_) return {};
  return {{"nat", fixed_.rules.size() + parts_.rules()}};
}

}  // namespace sluice::dataplane::nftables
