// SPDX-License-Identifier: Apache-2.0
// How units are written: in batches, each with the chains and sets that its units need.
//
// The kernel refuses a batch as a whole. Halves of it are tried then, down to the port at fault, which costs twice the
// logarithm of the batch in commits. A refusal that may mean that what is live is not what we think (something to be
// removed is not there, something to be added is) is no port's fault at first: a full apply reads again, a partial one
// fails, so that a full one follows. What is refused in that way after several readings is a port's fault like any other,
// and stays so while that port is refused.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <utility>

#include "dataplane/nftables/nftables_data_plane.h"
#include "dataplane/nftables/run.h"

namespace sluice::dataplane::nftables {
namespace {

using sys::NftBatch;
using sys::NftElement;

// Not the ports' fault. A smaller batch may go through where a large one found no memory.
bool means_distress(const Error& error) {
  return error.code == Errc::kUnavailable || error.code == Errc::kPermission;
}

// Whether no part of what was refused is at fault. EBUSY is of an object that another one uses: where there is one unit, of that unit.
bool concerns_all(const Error& error, bool divisible) {
  return error.code == Errc::kPermission || (means_distress(error) && !divisible && error.sys_errno != EBUSY);
}

// Whether some of it is live: what a full apply has found, or what a partial one removes.
bool concerns_live(const Unit& unit) {
  return !unit.settles.empty() ||
         std::ranges::any_of(unit.steps, [](const Step& step) { return step.before && !step.after; });
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

void NftablesDataPlane::put_chain(NftBatch& batch, const Chain& chain, bool anew, PutParts& put, Run& run) const {
  if (!put.names.insert(chain.name).second || (!anew && parts_.has(chain))) return;
  const auto there = parts_.chains().find(chain.name);
  if (there != parts_.chains().end()) batch.delete_rules(chain.name);
  // Another program's base chain, to which nothing can lead.
  if (there != parts_.chains().end() && there->second.chain.hook) batch.delete_chain(chain.name);
  batch.add_chain({chain.name, std::nullopt});
  for (const sys::NftRule& rule : chain.rules) batch.add_rule(rule);
  run.count(chain.rules.size());
  ++run.outcome.stats.chains_written;
  put.chains.push_back({{chain.name, std::nullopt}, digest_of(chain.rules)});
}

// A set that is there in another form makes room for ours, in the same transaction; rules that use it go first, and come
// again in it.
void NftablesDataPlane::put_own_sets(NftBatch& batch, const Step& step, PutParts& put, Run& run) const {
  if (is_reshaped(step)) {
    for (const Chain& chain : step.own.chains) {
      if (parts_.has_chain(chain.name)) batch.delete_rules(chain.name);
    }
  }
  for (const sys::NftSet& set : step.own.sets) {
    if (parts_.sets().contains(set.name)) batch.delete_set(set.name);
    batch.add_set(set);
    run.count(1);
    put.sets.push_back(set);
  }
}

void NftablesDataPlane::put_parts(NftBatch& batch, const Step& step, PutParts& put, Run& run) const {
  put_own_sets(batch, step, put, run);
  const bool anew = is_reshaped(step);
  for (const Chain& chain : step.own.chains) put_chain(batch, chain, anew, put, run);
  for (const Treatment& treatment : step.to.treatments) {
    if (!treatment.sticky.empty() || ready_.contains(treatment)) continue;
    for (const Chain& chain : chains(treatment, fixed_.settings)) put_chain(batch, chain, false, put, run);
    if (treatment.in_turn.empty()) put.treatments.push_back(treatment);
  }
}

// Whether a set of its own is there in another form.
bool NftablesDataPlane::is_reshaped(const Step& step) const {
  return std::ranges::any_of(
      step.own.sets, [this](const sys::NftSet& set) { return parts_.sets().contains(set.name) && !parts_.has(set); });
}

// Those that a port has to itself and that are there as they must be: rules of a large one are worked out, not kept. Where
// a set is there in another form, all chains are to be written: put_own_sets() takes their rules away.
void NftablesDataPlane::drop_live_parts(Unit& unit) const {
  for (Step& step : unit.steps) {
    const bool reshaped = is_reshaped(step);
    std::erase_if(step.own.sets, [this](const sys::NftSet& set) { return parts_.has(set); });
    if (!reshaped) std::erase_if(step.own.chains, [this](const Chain& chain) { return parts_.has(chain); });
  }
}

// How many objects it writes. What it shares with others is of the first one that needs it, and of few kinds.
std::size_t NftablesDataPlane::size_of(const Unit& unit) const {
  std::size_t size = unit.changes.size();
  for (const Step& step : unit.steps) {
    size += step.own.sets.size();
    for (const Chain& chain : step.own.chains) size += 1 + chain.rules.size();
    for (const Treatment& treatment : step.to.treatments) {
      if (treatment.in_turn.empty() || ready_.contains(treatment)) continue;
      for (const Chain& chain : chains(treatment, fixed_.settings)) size += 1 + chain.rules.size();
    }
  }
  return size;
}

Result<> NftablesDataPlane::commit_in_batches(std::vector<Unit> units, Run& run) {
  std::size_t begin = 0;
  std::size_t objects = 0;
  const auto all = std::span(units);
  for (std::size_t i = 0; i < units.size(); ++i) {
    const std::size_t size = size_of(units[i]);
    if (i > begin && objects + size > run.batch_objects_max) {
      SLUICE_CHECK_OK(commit_or_divide(all.subspan(begin, i - begin), run));
      begin = i;
      objects = 0;
    }
    objects += size;
  }
  return begin < units.size() ? commit_or_divide(all.subspan(begin), run) : Result<>();
}

Result<> NftablesDataPlane::commit_or_divide(std::span<Unit> units, Run& run) {
  const auto committed = commit(units, run);
  if (committed) return {};
  const Error& error = committed.error();
  if (sys::nft_outcome_unknown(error)) return tl::unexpected(error);
  const bool divisible = units.size() > 1;
  if (concerns_all(error, divisible)) return tl::unexpected(error);
  const auto was_refused = [this](const Unit& unit) {
    return std::ranges::all_of(unit.steps, [this](const Step& step) { return refused_.contains(step.key); });
  };
  if (means_surprise(error) && !run.surprises_are_refusals && std::ranges::none_of(units, was_refused))
    return tl::unexpected(error);
  if (run.refusals >= kRefusalsMax) {
    // What is live must neither stay for long nor go because of others' refusals.
    const auto waiting = std::ranges::stable_partition(units, concerns_live);
    for (const Unit& unit : waiting) refuse(unit, error, true, run);
    const auto live = units.first(units.size() - waiting.size());
    if (live.empty()) return {};
    if (!waiting.empty()) return commit_or_divide(live, run);
  }
  if (!divisible && units[0].steps.size() > 1) return commit_apart(units[0], error, run);
  if (!divisible) {
    refuse(units[0], error, false, run);
    ++run.refusals;
    return {};
  }
  SLUICE_CHECK_OK(commit_or_divide(units.first(units.size() / 2), run));
  return commit_or_divide(units.subspan(units.size() / 2), run);
}

// Of several ports that share an address, those at fault must not keep the others from what they give up and get. A port
// can get an address only after another one has given it up, so what did not go through is tried again after what did.
Result<> NftablesDataPlane::commit_apart(const Unit& unit, const Error& error, Run& run) {
  struct Apart {
    Unit unit;
    Error error;
  };
  std::vector<Apart> left;
  for (const Step& step : unit.steps) {
    const Known before{step.before, step.before ? known_slots(*step.before) : PortSlots{}};
    SLUICE_TRY(Unit alone, unit_over_known(before, step.after, step.key, fixed_.settings));
    drop_live_parts(alone);
    left.push_back({std::move(alone), error});
  }
  for (bool progress = true; std::exchange(progress, false);) {
    std::vector<Apart> refused;
    for (Apart& each : left) {
      const auto committed = commit({&each.unit, 1}, run);
      if (committed) {
        progress = true;
        continue;
      }
      const Error& why = committed.error();
      if (concerns_all(why, false) || sys::nft_outcome_unknown(why)) return tl::unexpected(why);
      if (!means_surprise(committed.error())) each.error = committed.error();
      refused.push_back(std::move(each));
    }
    left = std::move(refused);
  }
  for (const Apart& each : left) refuse(each.unit, each.error, false, run);
  run.refusals += left.size();
  return {};
}

void NftablesDataPlane::refuse(const Unit& unit, const Error& error, bool untried, Run& run) {
  for (const Step& step : unit.steps) {
    const std::string reason = untried ? "not tried, since several others were refused" : error.what;
    if (step.after) {
      refused_.insert_or_assign(step.key, step.before);
      run.outcome.refused.push_back({step.key, reason, untried});
    } else if (step.before) {
      refused_.insert_or_assign(step.key, step.before);
      run.outcome.unremoved.push_back(fmt::format("Service port {}: {}", step.key.printed_name(), reason));
    } else {
      refused_.erase(step.key);
    }
  }
}

void NftablesDataPlane::count_shared(const Unit& unit) {
  for (const Step& step : unit.steps) {
    cluster_ips_.want(step.to.cluster_ips);
    cluster_ips_.give_up(step.from.cluster_ips);
    hairpins_.want(step.to.hairpins);
    hairpins_.give_up(step.from.hairpins);
  }
}

void NftablesDataPlane::discount_shared(const Unit& unit) {
  for (const Step& step : unit.steps) {
    cluster_ips_.give_up(step.to.cluster_ips);
    cluster_ips_.want(step.from.cluster_ips);
    hairpins_.give_up(step.to.hairpins);
    hairpins_.want(step.from.hairpins);
  }
}

// A port of which all is live as it must be waits for no batch, so others' refusals cannot touch it.
bool NftablesDataPlane::note_if_live(Unit& unit, Run& run) {
  if (unit.changes.size() > 0) return false;
  for (const Step& step : unit.steps) {
    if (!step.own.sets.empty() || !step.own.chains.empty()) return false;
    for (const Treatment& treatment : step.to.treatments) {
      if (!treatment.sticky.empty() || ready_.contains(treatment)) continue;
      const auto all = chains(treatment, fixed_.settings);
      if (!std::ranges::all_of(all, [this](const Chain& chain) { return parts_.has(chain); })) return false;
      if (treatment.in_turn.empty()) ready_.insert(treatment);
    }
  }
  count_shared(unit);
  note_committed(unit, run);
  return true;
}

// What a commit of some units is, and what is live after it.
struct NftablesDataPlane::Draft {
  NftBatch batch;
  PutParts parts;
  ElementSums sums;
};

NftablesDataPlane::Draft NftablesDataPlane::draft(std::span<Unit> units, Run& run) {
  Draft draft{run.beginning ? *run.beginning : NftBatch(options_.family, kTableName), {}, sums_};
  if (run.beginning) {
    draft.parts = run.parts_of_beginning;
    draft.sums.add(kNodeAddresses, run.node_addresses_of_beginning);
  }
  for (const Unit& unit : units) {
    for (const Step& step : unit.steps) put_parts(draft.batch, step, draft.parts, run);
  }
  const auto put = [&](const std::string& set, const nft::Elements& elements, Verb verb) {
    if (verb == Verb::kAdd) {
      draft.batch.add_elements(set, elements);
      draft.sums.add(set, elements);
    } else {
      draft.batch.remove_elements(set, elements);
      draft.sums.remove(set, elements);
    }
    run.count(elements.size());
  };
  const nft::ElementChanges changes = merged(units);
  // Removals come first: a range, or another value of the same key, may be in the way.
  for (const auto& [set, elements] : changes.remove) put(set, elements, Verb::kRemove);
  for (const auto& [set, elements] : changes.add) put(set, elements, Verb::kAdd);
  put(kHairpins, hairpins_.missing(), Verb::kAdd);
  if (run.live) return draft;
  put(kClusterIps, cluster_ips_.missing(), Verb::kAdd);
  put(kClusterIps, cluster_ips_.superfluous(), Verb::kRemove);
  put(kHairpins, hairpins_.superfluous(), Verb::kRemove);
  return draft;
}

Result<> NftablesDataPlane::put_through(const NftBatch& batch) {
  return options_.generation->commit([&] { return options_.commit(batch); });
}

Result<> NftablesDataPlane::commit(std::span<Unit> units, Run& run) {
  for (const Unit& unit : units) count_shared(unit);
  const bool full = run.live.has_value();
  const ApplyStats stats_before = run.outcome.stats;
  Draft drafted = draft(units, run);
  auto committed = drafted.batch.messages() == 0 ? Result<>() : put_through(drafted.batch);
  if (!committed) {
    run.outcome.stats = stats_before;
    for (const Unit& unit : units) discount_shared(unit);
    return committed;
  }
  if (drafted.batch.messages() > 0) ++run.outcome.stats.kernel_transactions;
  run.beginning.reset();
  sums_ = std::move(drafted.sums);
  PutParts& parts = drafted.parts;
  for (const sys::NftSet& set : parts.sets) parts_.put(set);
  for (Parts::LiveChain& chain : parts.chains) parts_.put(std::move(chain));
  ready_.insert(parts.treatments.begin(), parts.treatments.end());
  hairpins_.note_added();
  if (!full) {
    cluster_ips_.note_added();
    cluster_ips_.note_removed();
    hairpins_.note_removed();
  }
  for (Unit& unit : units) note_committed(unit, run);
  return {};
}

// Whether the kernel would accept it. Nothing is done.
Result<> NftablesDataPlane::check(std::span<Unit> units, Run& run) {
  for (const Unit& unit : units) count_shared(unit);
  const ApplyStats stats_before = run.outcome.stats;
  const Draft drafted = draft(units, run);
  run.outcome.stats = stats_before;
  for (const Unit& unit : units) discount_shared(unit);
  return options_.check(drafted.batch);
}

// What a trial of units found out; all others are accepted.
struct NftablesDataPlane::Trial {
  std::map<const Unit*, Error> refused{};
  std::set<const Unit*> untried{};
};

Result<> NftablesDataPlane::find_refused(std::span<Unit> units, Run& run, Trial& trial) {
  if (units.empty()) return {};
  const auto accepted = check(units, run);
  if (accepted) return {};
  const Error& error = accepted.error();
  const bool divisible = units.size() > 1;
  if (concerns_all(error, divisible) || sys::nft_outcome_unknown(error)) return tl::unexpected(error);
  if (run.refusals >= kRefusalsMax) {
    for (const Unit& unit : units) trial.untried.insert(&unit);
    return {};
  }
  if (!divisible) {
    ++run.refusals;
    trial.refused.emplace(&units[0], error);
    return {};
  }
  SLUICE_CHECK_OK(find_refused(units.first(units.size() / 2), run, trial));
  return find_refused(units.subspan(units.size() / 2), run, trial);
}

// The old table may serve everything, so the transaction that replaces it brings as much as the kernel takes at once.
Result<> NftablesDataPlane::commit_at_once(std::vector<Unit> units, Run& run) {
  std::vector<Unit> later;
  while (true) {
    const auto committed = commit(units, run);
    if (committed) break;
    const Error& error = committed.error();
    const bool too_many = means_distress(error);
    if (concerns_all(error, units.size() > 1) || sys::nft_outcome_unknown(error) || units.empty()) return committed;
    SLUICE_CHECK_OK(check({}, run));  // none of them is at fault where the kernel refuses the table alone
    Trial trial;
    if (!too_many) SLUICE_CHECK_OK(find_refused(units, run, trial));
    const bool at_fault = !trial.refused.empty();
    std::vector<Unit> now;
    std::vector<Unit> put_off;
    for (Unit& unit : units) {
      const bool in_time = at_fault ? !trial.untried.contains(&unit) : now.size() < units.size() / 2;
      if (const auto refused = trial.refused.find(&unit); refused != trial.refused.end()) {
        refuse(unit, refused->second, false, run);
      } else {
        (in_time ? now : put_off).push_back(std::move(unit));
      }
    }
    units = std::move(now);
    later.insert(later.begin(), std::make_move_iterator(put_off.begin()), std::make_move_iterator(put_off.end()));
  }
  run.batch_objects_max = options_.batch_objects_max;
  return commit_in_batches(std::move(later), run);
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

Result<> NftablesDataPlane::commit_elements(const std::string& set, std::span<const NftElement> elements, Verb verb,
                                            Run& run) {
  NftBatch batch(options_.family, kTableName);
  if (verb == Verb::kAdd) batch.add_elements(set, elements);
  if (verb == Verb::kRemove) batch.remove_elements(set, elements);
  SLUICE_CHECK_OK(put_through(batch));
  if (verb == Verb::kAdd) sums_.add(set, elements);
  if (verb == Verb::kRemove) sums_.remove(set, elements);
  ++run.outcome.stats.kernel_transactions;
  run.count(elements.size());
  return {};
}

Result<> NftablesDataPlane::add_elements(const std::string& set, std::span<const NftElement> elements, Run& run) {
  while (!elements.empty()) {
    const auto some = elements.first(std::min(elements.size(), options_.batch_objects_max));
    SLUICE_CHECK_OK(commit_elements(set, some, Verb::kAdd, run));
    elements = elements.subspan(some.size());
  }
  return {};
}

Result<> NftablesDataPlane::remove_elements(const std::string& set, std::span<const NftElement> elements, Run& run) {
  while (!elements.empty()) {
    const auto some = elements.first(std::min(elements.size(), options_.batch_objects_max));
    SLUICE_CHECK_OK(remove_or_divide(set, some, run));
    elements = elements.subspan(some.size());
  }
  return {};
}

Result<> NftablesDataPlane::remove_or_divide(const std::string& set, std::span<const NftElement> elements, Run& run) {
  const auto removed = commit_elements(set, elements, Verb::kRemove, run);
  if (removed) return {};
  const Error& error = removed.error();
  const bool divisible = elements.size() > 1;
  if (concerns_all(error, divisible) || sys::nft_outcome_unknown(error)) return tl::unexpected(error);
  if (means_surprise(error) && !run.surprises_are_refusals) return tl::unexpected(error);
  if (divisible && run.refusals < kRefusalsMax) {
    SLUICE_CHECK_OK(remove_or_divide(set, elements.first(elements.size() / 2), run));
    return remove_or_divide(set, elements.subspan(elements.size() / 2), run);
  }
  ++run.refusals;
  for (const NftElement& element : elements) {
    unremoved_[set].push_back(element);
    run.outcome.unremoved.push_back(
        fmt::format("element {} of nftables set {}: {}", nft::element_text(fixed_.set(set), element), set, error.what));
  }
  return {};
}

// Beyond this point all that is wanted is served. What is not wanted goes: what leads somewhere first, then where it led.
// Chains and sets go later (idle_parts.cc).
Result<> NftablesDataPlane::commit_rest(Run& run) {
  SLUICE_CHECK_OK(add_elements(kHairpins, hairpins_.missing(), run));
  SLUICE_CHECK_OK(add_elements(kClusterIps, cluster_ips_.missing(), run));
  SLUICE_CHECK_OK(remove_elements(kClusterIps, cluster_ips_.superfluous(), run));
  SLUICE_CHECK_OK(remove_elements(kHairpins, hairpins_.superfluous(), run));
  for (SharedElements* shared : {&cluster_ips_, &hairpins_}) {
    shared->note_added();
    shared->note_removed();
  }
  const nft::Elements addresses = fixed_.node_addresses();
  for (const sys::NftSet& set : fixed_.sets) {
    if (set.name == kClusterIps || set.name == kHairpins) continue;
    nft::Elements rest = run.live->unsettled(set.name);
    if (set.name == kNodeAddresses) rest = nft::subtract(rest, addresses);
    SLUICE_CHECK_OK(remove_elements(set.name, rest, run));
  }
  return {};
}

}  // namespace sluice::dataplane::nftables
