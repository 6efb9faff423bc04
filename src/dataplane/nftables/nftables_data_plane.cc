// SPDX-License-Identifier: Apache-2.0
// A full apply reads our table, works out one unit for each Service port over what is there, and writes them in batches,
// the most important first. Each batch leaves the node serving what the batches before it brought: a port's endpoints,
// its frontends and their treatments' chains come in one transaction. That a cluster IP is ours alone, so that ports
// which no Service has are refused there, is said last: until then whatever served before us may serve them.
//
// The kernel refuses a batch as a whole. Halves of it are tried then, down to the port at fault, which costs twice the
// logarithm of the batch in commits. A refusal that can only mean that what is live is not what we think (something to
// be removed is not there, something to be added is) concerns no port: a full apply reads again, a partial one fails.
//
// Neighbours: encode.cc says what a port's elements are, unit.cc what changes of them, layout.cc and treatment.cc what
// the rules are.
#include "dataplane/nftables/nftables_data_plane.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <optional>

namespace sluice::dataplane::nftables {
namespace {

using sys::NftBatch;
using sys::NftElement;
using sys::NftTable;

constexpr int kFullAttemptsMax = 3;
// Where so many ports of one call were refused, the others that share a batch with one of them wait for the next call.
constexpr std::size_t kRefusalsMax = 16;

bool means_surprise(const Error& error) {
  return error.code == Errc::kNotFound || error.code == Errc::kAlreadyExists;
}
// Not the ports' fault. A smaller batch may go through where a large one found no memory.
bool means_distress(const Error& error) {
  return error.code == Errc::kUnavailable || error.code == Errc::kPermission;
}

std::size_t size_of(const Unit& unit) {
  return unit.changes.size();
}

nft::ElementChanges merged(std::span<const Unit> units) {
  nft::ElementChanges all;
  const auto append = [](nft::ElementsBySet& to, const nft::ElementsBySet& from) {
    for (const auto& [set, elements] : from) {
      nft::Elements& there = to[set];
      there.insert(there.end(), elements.begin(), elements.end());
    }
  };
  for (const Unit& unit : units) {
    append(all.remove, unit.changes.remove);
    append(all.add, unit.changes.add);
  }
  return all;
}

}  // namespace

struct NftablesDataPlane::Run {
  explicit Run(std::size_t batch_max) : batch_elements_max(batch_max) {}
  Outcome outcome;
  std::optional<Live> live;           // of a full apply
  std::optional<NftBatch> beginning;  // what the first batch begins with
  std::size_t batch_elements_max = 0;
  std::size_t refusals = 0;

  void count(std::size_t objects) { outcome.stats.rules_written += objects; }
};

// What a batch brings of chains and sets.
struct NftablesDataPlane::PutParts {
  std::vector<sys::NftSet> sets;
  std::vector<Parts::LiveChain> chains;
  std::vector<Treatment> treatments;
  std::set<std::string> names;  // of the chains
};

NftablesDataPlane::NftablesDataPlane(Options options)
    : options_(std::move(options)),
      fixed_({options_.family, options_.detector, options_.masquerade_bit}, NodePortAddresses{}) {}

Result<std::unique_ptr<NftablesDataPlane>> NftablesDataPlane::open(Options options) {
  const auto generation = sys::nft_generation();
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

void NftablesDataPlane::warn_of_schedulers(const Changes& changes) {
  for (const plan::Change& change : changes.ports) {
    const plan::ObjectKey& service = change.key().service;
    if (!change.after || scheduler_of(*change.after) != Scheduler::kUnknown) {
      warned_.erase(service);
      continue;
    }
    const std::string& text = change.after->sluice_annotations.find(kSchedulerAnnotation)->second;
    if (std::exchange(warned_[service], text) == text) continue;
    options_.warn(service,
                  fmt::format("{}: mode nftables chooses by chance or in turn (rr, wrr), \"{}\" is neither; by chance",
                              kSchedulerAnnotation, text));
  }
}

Result<Outcome> NftablesDataPlane::apply(const Changes& changes) {
  warn_of_schedulers(changes);
  if (!changes.full) {
    if (!applied_) return fail(Errc::kInvalid, "nftables: the first apply must be full");
    Run run(options_.batch_elements_max);
    SLUICE_CHECK_OK(apply_partial(changes.ports, run));
    std::ranges::sort(run.outcome.refused);
    return std::move(run.outcome);
  }
  fixed_ = FixedPart(fixed_.settings, changes.node_port_addresses);
  for (int attempt = 1;; ++attempt) {
    Run run(options_.batch_elements_max);
    applied_ = false;
    const auto applied = apply_full(changes, run);
    if (!applied && attempt < kFullAttemptsMax && means_surprise(applied.error())) continue;
    if (!applied) return tl::unexpected(applied.error());
    applied_ = true;
    std::ranges::sort(run.outcome.refused);
    return std::move(run.outcome);
  }
}

Result<> NftablesDataPlane::apply_full(const Changes& changes, Run& run) {
  SLUICE_TRY(run.live, Live::read(options_.family, fixed_.sets));
  parts_.clear();
  ready_.clear();
  slots_.clear();
  refused_.clear();
  std::vector<plan::ServicePortPlanPtr> ports;
  for (const plan::Change& change : changes.ports) {
    if (change.after) ports.push_back(change.after);
  }
  std::ranges::stable_sort(ports, {}, [](const plan::ServicePortPlanPtr& port) { return importance(*port); });
  const bool anew = must_write_anew(*run.live, ports);
  const bool over_another = anew && run.live->table();
  run.beginning.emplace(options_.family, kTableName);
  if (over_another) {
    // What was served goes, and what is served comes, in one: no moment without rules.
    run.beginning->delete_table();
    run.live->give_up();
    run.batch_elements_max = static_cast<std::size_t>(-1);
  }
  cluster_ips_.assign(run.live->unsettled(kClusterIps));
  hairpins_.assign(run.live->unsettled(kHairpins));
  if (!anew) parts_.assign(*run.live->table(), fixed_.chains, fixed_.sets);
  put_fixed(*run.beginning, *run.live, anew, run);
  if (!over_another) SLUICE_CHECK_OK(commit({}, run));
  // Batch by batch: all units at once are as large as the whole table.
  std::vector<Unit> units;
  std::size_t elements = 0;
  for (const plan::ServicePortPlanPtr& port : ports) {
    auto unit = unit_over_live(port, *run.live, fixed_.settings);
    if (!unit) {
      refused_.insert_or_assign(port->key, nullptr);
      run.outcome.refused.push_back({port->key, unit.error().what});
      continue;
    }
    if (!units.empty() && elements + size_of(*unit) > run.batch_elements_max) {
      SLUICE_CHECK_OK(commit_or_divide(units, run));
      units.clear();
      elements = 0;
    }
    elements += size_of(*unit);
    units.push_back(*std::move(unit));
  }
  if (!units.empty()) SLUICE_CHECK_OK(commit_or_divide(units, run));
  if (over_another) SLUICE_CHECK_OK(commit({}, run));  // where there was nothing to begin with
  return commit_rest(run);
}

// Where chains or sets are others than ours, as those of an earlier version are, the table is replaced as a whole.
bool NftablesDataPlane::must_write_anew(const Live& live, const std::vector<plan::ServicePortPlanPtr>& ports) const {
  if (!live.usable()) return true;
  const sys::NftTable& table = *live.table();
  for (const sys::NftChain& chain : fixed_.chains) {
    const auto found = table.chains.find(chain.name);
    if (found == table.chains.end() || found->second != chain) return true;
  }
  const auto other_chain = [&](const std::string& name) {
    const auto found = table.chains.find(name);
    return found != table.chains.end() && found->second.hook;
  };
  const auto other_set = [&](const sys::NftSet& set) {
    const auto found = table.sets.find(set.name);
    return found != table.sets.end() && !same_set(found->second, set);
  };
  return std::ranges::any_of(ports, [&](const plan::ServicePortPlanPtr& port) {
    const auto unit = unit_over_live(port, live, fixed_.settings);
    return unit && std::ranges::any_of(unit->steps, [&](const Step& step) {
             return std::ranges::any_of(step.to_parts.chains, other_chain) ||
                    std::ranges::any_of(step.own.sets, other_set);
           });
  });
}

void NftablesDataPlane::put_fixed(NftBatch& batch, const Live& live, bool anew, Run& run) const {
  if (anew) {
    batch.add_table();
    for (const sys::NftSet& set : fixed_.sets) batch.add_set(set);
    for (const sys::NftChain& chain : fixed_.chains) batch.add_chain(chain);
    run.count(fixed_.sets.size());
  }
  const auto wanted = by_chain(fixed_.rules);
  for (const sys::NftChain& chain : fixed_.chains) {
    const auto found = wanted.find(chain.name);
    if (found == wanted.end() || (!anew && rules_of(*live.table(), chain.name) == found->second)) continue;
    if (!anew) batch.delete_rules(chain.name);
    for (const sys::NftRule& rule : fixed_.rules) {
      if (rule.chain() != chain.name) continue;
      batch.add_rule(rule);
      run.count(1);
    }
    ++run.outcome.stats.chains_written;
  }
  nft::Elements missing;
  std::ranges::copy_if(fixed_.node_addresses(), std::back_inserter(missing),
                       [&](const NftElement& element) { return !live.find(kNodeAddresses, element); });
  batch.add_elements(kNodeAddresses, missing);
  run.count(missing.size());
}

void NftablesDataPlane::put_chain(NftBatch& batch, const Chain& chain, PutParts& put, Run& run) const {
  if (!put.names.insert(chain.name).second || parts_.has(chain)) return;
  batch.add_chain({chain.name, std::nullopt});
  if (parts_.has_chain(chain.name)) batch.delete_rules(chain.name);
  for (const sys::NftRule& rule : chain.rules) batch.add_rule(rule);
  run.count(chain.rules.size());
  ++run.outcome.stats.chains_written;
  put.chains.push_back({{chain.name, std::nullopt}, texts(chain.rules)});
}

void NftablesDataPlane::put_parts(NftBatch& batch, const Step& step, PutParts& put, Run& run) const {
  for (const sys::NftSet& set : step.own.sets) {
    if (parts_.has(set)) continue;
    batch.add_set(set);
    run.count(1);
    put.sets.push_back(set);
  }
  for (const Chain& chain : step.own.chains) put_chain(batch, chain, put, run);
  for (const Treatment& treatment : step.to.treatments) {
    if (!treatment.sticky.empty() || ready_.contains(treatment)) continue;
    for (const Chain& chain : chains(treatment, fixed_.settings)) put_chain(batch, chain, put, run);
    put.treatments.push_back(treatment);
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

Result<> NftablesDataPlane::commit_in_batches(std::vector<Unit> units, Run& run) {
  std::size_t begin = 0;
  std::size_t elements = 0;
  const auto all = std::span(units);
  for (std::size_t i = 0; i < units.size(); ++i) {
    if (i > begin && elements + size_of(units[i]) > run.batch_elements_max) {
      SLUICE_CHECK_OK(commit_or_divide(all.subspan(begin, i - begin), run));
      begin = i;
      elements = 0;
    }
    elements += size_of(units[i]);
  }
  return begin < units.size() ? commit_or_divide(all.subspan(begin), run) : Result<>();
}

Result<> NftablesDataPlane::commit_or_divide(std::span<Unit> units, Run& run) {
  const auto committed = commit(units, run);
  if (committed) return {};
  const Error& error = committed.error();
  const bool divisible = units.size() > 1;
  if (means_surprise(error) || error.code == Errc::kPermission || (means_distress(error) && !divisible))
    return tl::unexpected(error);
  if (run.refusals >= kRefusalsMax) {
    for (Unit& unit : units) refuse(unit, error, true, run);
    return {};
  }
  if (!divisible) {
    refuse(units[0], error, false, run);
    ++run.refusals;
    return {};
  }
  SLUICE_CHECK_OK(commit_or_divide(units.first(units.size() / 2), run));
  return commit_or_divide(units.subspan(units.size() / 2), run);
}

void NftablesDataPlane::refuse(Unit& unit, const Error& error, bool untried, Run& run) {
  for (const Step& step : unit.steps) {
    refused_.insert_or_assign(step.key, step.before);
    run.outcome.refused.push_back(
        {step.key, untried ? "not tried, since several others were refused" : error.what, untried});
  }
}

Result<> NftablesDataPlane::commit(std::span<Unit> units, Run& run) {
  for (const Unit& unit : units) {
    for (const Step& step : unit.steps) {
      cluster_ips_.want(step.to.cluster_ips);
      cluster_ips_.give_up(step.from.cluster_ips);
      hairpins_.want(step.to.hairpins);
      hairpins_.give_up(step.from.hairpins);
    }
  }
  NftBatch batch = run.beginning ? *run.beginning : NftBatch(options_.family, kTableName);
  const ApplyStats stats_before = run.outcome.stats;
  PutParts parts;
  for (const Unit& unit : units) {
    for (const Step& step : unit.steps) put_parts(batch, step, parts, run);
  }
  const nft::ElementChanges changes = merged(units);
  const bool full = run.live.has_value();
  const auto put = [&](const std::string& set, const nft::Elements& elements, auto method) {
    (batch.*method)(set, elements);
    run.count(elements.size());
  };
  // Removals come first: a range, or another value of the same key, may be in the way.
  for (const auto& [set, elements] : changes.remove) put(set, elements, &NftBatch::remove_elements);
  for (const auto& [set, elements] : changes.add) put(set, elements, &NftBatch::add_elements);
  put(kHairpins, hairpins_.missing(), &NftBatch::add_elements);
  if (!full) {
    put(kClusterIps, cluster_ips_.missing(), &NftBatch::add_elements);
    put(kClusterIps, cluster_ips_.superfluous(), &NftBatch::remove_elements);
    put(kHairpins, hairpins_.superfluous(), &NftBatch::remove_elements);
  }
  auto committed = batch.messages() == 0 ? Result<>() : options_.commit(batch);
  if (!committed) {
    run.outcome.stats = stats_before;
    for (const Unit& unit : units) {
      for (const Step& step : unit.steps) {
        cluster_ips_.give_up(step.to.cluster_ips);
        cluster_ips_.want(step.from.cluster_ips);
        hairpins_.give_up(step.to.hairpins);
        hairpins_.want(step.from.hairpins);
      }
    }
    return committed;
  }
  if (batch.messages() > 0) ++run.outcome.stats.kernel_transactions;
  run.beginning.reset();
  for (const sys::NftSet& set : parts.sets) parts_.put(set);
  for (Parts::LiveChain& chain : parts.chains) parts_.put(std::move(chain));
  ready_.insert(parts.treatments.begin(), parts.treatments.end());
  hairpins_.note_added();
  if (!full) {
    cluster_ips_.note_added();
    cluster_ips_.note_removed();
    hairpins_.note_removed();
    cluster_ips_.forget_changes();
    hairpins_.forget_changes();
  }
  for (Unit& unit : units) note_committed(unit, run);
  return {};
}

void NftablesDataPlane::note_committed(Unit& unit, Run& run) {
  for (const Live::Place& place : unit.settles) run.live->settle(place);
  for (Step& step : unit.steps) {
    parts_.use(step.to_parts);
    parts_.give_up(step.from_parts);
    refused_.erase(step.key);
    if (step.after && step.slots != fresh_slots(*step.after)) {
      slots_.insert_or_assign(step.key, std::move(step.slots));
    } else {
      slots_.erase(step.key);
    }
  }
}

Result<> NftablesDataPlane::commit_elements(const std::string& set, std::span<const NftElement> elements,
                                            PutElements put, Run& run) {
  while (!elements.empty()) {
    const auto some = elements.first(std::min(elements.size(), options_.batch_elements_max));
    NftBatch batch(options_.family, kTableName);
    (batch.*put)(set, some);
    SLUICE_CHECK_OK(options_.commit(batch));
    ++run.outcome.stats.kernel_transactions;
    run.count(some.size());
    elements = elements.subspan(some.size());
  }
  return {};
}

// Beyond this point all that is wanted is served. What nobody wants goes: what leads somewhere first, then where it led.
Result<> NftablesDataPlane::commit_rest(Run& run) {
  SLUICE_CHECK_OK(commit_elements(kClusterIps, cluster_ips_.missing(), &NftBatch::add_elements, run));
  SLUICE_CHECK_OK(commit_elements(kClusterIps, cluster_ips_.superfluous(), &NftBatch::remove_elements, run));
  SLUICE_CHECK_OK(commit_elements(kHairpins, hairpins_.superfluous(), &NftBatch::remove_elements, run));
  for (SharedElements* shared : {&cluster_ips_, &hairpins_}) {
    shared->note_added();
    shared->note_removed();
    shared->forget_changes();
  }
  const nft::Elements addresses = fixed_.node_addresses();
  for (const sys::NftSet& set : fixed_.sets) {
    if (set.name == kClusterIps || set.name == kHairpins) continue;
    nft::Elements rest = run.live->unsettled(set.name);
    if (set.name == kNodeAddresses) rest = nft::subtract(rest, addresses);
    SLUICE_CHECK_OK(commit_elements(set.name, rest, &NftBatch::remove_elements, run));
  }
  return remove_idle_parts();
}

// In a transaction of its own: kernels before 6.2 count a chain as used until an element that led to it is gone for
// good.
Result<> NftablesDataPlane::remove_idle_parts() {
  const PartNames idle = parts_.idle();
  if (idle.chains.empty() && idle.sets.empty()) return {};
  NftBatch batch(options_.family, kTableName);
  for (const std::string& chain : idle.chains) batch.delete_rules(chain);
  for (const std::string& chain : idle.chains) batch.delete_chain(chain);
  for (const std::string& set : idle.sets) batch.delete_set(set);
  SLUICE_CHECK_OK(options_.commit(batch));
  parts_.forget(idle);
  std::erase_if(ready_, [&](const Treatment& treatment) {
    return std::ranges::any_of(chain_names(treatment),
                               [&](const std::string& chain) { return idle.chains.contains(chain); });
  });
  return {};
}

// ---- looking

bool NftablesDataPlane::is_expected(const NftTable& table) const {
  const auto wanted = by_chain(fixed_.rules);
  const auto has_rules = [&](const std::string& chain, const std::vector<std::string>& rules) {
    return table.chains.contains(chain) && rules_of(table, chain) == rules;
  };
  if (table.dormant || table.chains.size() != fixed_.chains.size() + parts_.chains().size() ||
      table.sets.size() != fixed_.sets.size() + parts_.sets().size())
    return false;
  for (const sys::NftChain& chain : fixed_.chains) {
    const auto rules = wanted.find(chain.name);
    if (!has_rules(chain.name, rules == wanted.end() ? std::vector<std::string>() : rules->second)) return false;
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

Result<Integrity> NftablesDataPlane::intact() {
  SLUICE_TRY(const auto live, sys::read_nft_table(options_.family, kTableName));
  return live && is_expected(*live) ? Integrity::kKept : Integrity::kDamaged;
}

Result<Difference> NftablesDataPlane::compare(const Changes& wanted) {
  SLUICE_TRY(Live live, Live::read(options_.family, fixed_.sets));
  std::vector<plan::ServicePortPlanPtr> ports;
  for (const plan::Change& change : wanted.ports) {
    const auto refused = refused_.find(change.key());
    const plan::ServicePortPlanPtr& port = refused == refused_.end() ? change.after : refused->second;
    if (port) ports.push_back(port);
  }
  return nftables::compare(std::move(live), FixedPart(fixed_.settings, wanted.node_port_addresses), ports, parts_);
}

// ---- the end

Result<> NftablesDataPlane::retire() {
  if (!applied_) return {};
  NftBatch batch(options_.family, kTableName);
  for (const char* chain : {kPrerouting, kOutput}) batch.delete_rules(chain);
  const auto committed = options_.commit(batch);
  // A table that is gone takes no connections either.
  if (!committed && committed.error().code != Errc::kNotFound) return tl::unexpected(committed.error());
  return {};
}

// Chains and sets that no Service needs any more. Connections go on by the kernel's connection tracking, which needs no
// rule of ours.
Result<std::optional<std::chrono::milliseconds>> NftablesDataPlane::tend() {
  SLUICE_CHECK_OK(remove_idle_parts());
  return std::optional<std::chrono::milliseconds>();
}

std::vector<std::pair<std::string, std::size_t>> NftablesDataPlane::rules_by_table() const {
  if (!applied_) return {};
  std::size_t rules = fixed_.rules.size();
  for (const auto& [name, part] : parts_.chains()) rules += part.rules.size();
  return {{"nat", rules}};
}

}  // namespace sluice::dataplane::nftables
