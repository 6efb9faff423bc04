// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nftables/unit.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "dataplane/nftables/layout.h"

namespace sluice::dataplane::nftables {
namespace {

void append(nft::Elements& to, nft::Elements&& from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

void append(nft::ElementsBySet& to, nft::ElementsBySet&& from) {
  for (auto& [set, elements] : from) append(to[set], std::move(elements));
}

// Live elements that belong to a Service port by their keys, whether it wants them or not.
std::vector<Live::Place> belonging(const plan::ServicePortPlan& port, const Live& live) {
  std::vector<Live::Place> places;
  for (const plan::Frontend& frontend : port.frontends) {
    const FrontendKeys keys = keys_of(frontend, port.key.protocol);
    for (const char* set : {keys.endpoints, kSourceRanges}) {
      if (set == kSourceRanges && frontend.kind == plan::FrontendKind::kNodePort) continue;
      const auto found = live.beginning_with(set, keys.key);
      places.insert(places.end(), found.begin(), found.end());
    }
  }
  return places;
}

// All frontends of a Service port have the same order, so the first that has any says it.
PortSlots slots_over_live(const plan::ServicePortPlan& port, const Live& live) {
  LiveSlots there;
  for (const plan::Frontend& frontend : port.frontends) {
    const FrontendKeys keys = keys_of(frontend, port.key.protocol);
    nft::Elements elements;
    for (const Live::Place& place : live.beginning_with(keys.endpoints, keys.key)) elements.push_back(live.at(place));
    LiveSlots of_frontend = decode_slots(elements);
    if (there.cluster.empty()) there.cluster = std::move(of_frontend.cluster);
    if (there.local.empty()) there.local = std::move(of_frontend.local);
  }
  const PortSlots fresh = fresh_slots(port);
  return {rearranged(there.cluster, fresh.cluster), rearranged(there.local, fresh.local)};
}

// Those of a sticky port are written into its rules, in an order that says nothing.
bool keeps_order(const plan::ServicePortPlan& port) {
  return sticky_word(port).empty();
}

PartNames names_of(const OwnParts& own, const std::vector<Treatment>& treatments) {
  PartNames names;
  for (const sys::NftSet& set : own.sets) names.sets.insert(set.name);
  for (const Chain& chain : own.chains) names.chains.insert(chain.name);
  for (const Treatment& treatment : treatments) {
    for (std::string& name : chain_names(treatment)) names.chains.insert(std::move(name));
  }
  return names;
}

std::size_t root_of(std::vector<std::size_t>& parents, std::size_t index) {
  while (parents[index] != index) index = parents[index] = parents[parents[index]];
  return index;
}

}  // namespace

Result<Unit> unit_over_live(const plan::ServicePortPlanPtr& wanted, const Live& live, const RuleSettings& settings) {
  Unit unit;
  Step step;
  step.key = wanted->key;
  step.after = wanted;
  step.slots = keeps_order(*wanted) ? slots_over_live(*wanted, live) : fresh_slots(*wanted);
  SLUICE_TRY(step.to, encode(*wanted, step.slots));
  step.own = own_parts(*wanted, step.slots, step.to.treatments, settings);
  step.to_parts = names_of(step.own, step.to.treatments);
  std::set<std::pair<std::string, std::size_t>> met;
  for (auto& [set, elements] : step.to.elements) {
    for (sys::NftElement& element : elements) {
      const auto place = live.find(set, element);
      if (place) {
        met.emplace(set, place->index);
        unit.settles.push_back(*place);
        if (live.at(*place) == element) continue;
        unit.changes.remove[set].push_back(live.at(*place));
      }
      unit.changes.add[set].push_back(std::move(element));
    }
  }
  step.to.elements.clear();
  for (const Live::Place& place : belonging(*wanted, live)) {
    // Two frontends may have one key: an external IP that is a load-balancer IP, too.
    if (!met.emplace(*place.set, place.index).second) continue;
    unit.settles.push_back(place);
    unit.changes.remove[*place.set].push_back(live.at(place));
  }
  unit.steps.push_back(std::move(step));
  return unit;
}

Result<Unit> unit_over_known(const Known& before, const plan::ServicePortPlanPtr& after,
                             const plan::ServicePortKey& key, const RuleSettings& settings) {
  Unit unit;
  Step step;
  step.key = key;
  step.before = before.port;
  step.after = after;
  if (before.port) {
    SLUICE_TRY(step.from, encode(*before.port, before.slots));
    step.from_parts =
        names_of(own_parts(*before.port, before.slots, step.from.treatments, settings), step.from.treatments);
  }
  if (after) {
    const PortSlots fresh = fresh_slots(*after);
    step.slots = keeps_order(*after) ? rearranged(before.slots, fresh) : fresh;
    SLUICE_TRY(step.to, encode(*after, step.slots));
    step.own = own_parts(*after, step.slots, step.to.treatments, settings);
    step.to_parts = names_of(step.own, step.to.treatments);
  }
  for (const auto& [set, elements] : step.to.elements) {
    nft::Elements add = nft::subtract(elements, nft::elements_of(step.from.elements, set));
    if (!add.empty()) unit.changes.add[set] = std::move(add);
  }
  for (const auto& [set, elements] : step.from.elements) {
    nft::Elements remove = nft::subtract(elements, nft::elements_of(step.to.elements, set));
    if (!remove.empty()) unit.changes.remove[set] = std::move(remove);
  }
  step.from.elements.clear();
  step.to.elements.clear();
  unit.steps.push_back(std::move(step));
  return unit;
}

std::vector<Unit> connected(std::vector<Unit> units) {
  if (units.size() < 2) return units;
  std::vector<std::size_t> parents(units.size());
  std::iota(parents.begin(), parents.end(), std::size_t{0});
  for (const char* set : {kFrontends, kNodePorts}) {
    std::map<std::vector<std::uint8_t>, std::size_t> owners;
    for (std::size_t i = 0; i < units.size(); ++i) {
      for (const nft::ElementsBySet* changes : {&units[i].changes.add, &units[i].changes.remove}) {
        for (const sys::NftElement& element : nft::elements_of(*changes, set)) {
          const auto [owner, first] = owners.emplace(element.key, i);
          if (!first) parents[root_of(parents, i)] = root_of(parents, owner->second);
        }
      }
    }
  }
  std::vector<Unit> result;
  std::map<std::size_t, std::size_t> places;  // by root, in the result
  for (std::size_t i = 0; i < units.size(); ++i) {
    const auto [place, first] = places.emplace(root_of(parents, i), result.size());
    if (first) {
      result.push_back(std::move(units[i]));
      continue;
    }
    Unit& unit = result[place->second];
    std::move(units[i].steps.begin(), units[i].steps.end(), std::back_inserter(unit.steps));
    append(unit.changes.add, std::move(units[i].changes.add));
    append(unit.changes.remove, std::move(units[i].changes.remove));
    unit.settles.insert(unit.settles.end(), units[i].settles.begin(), units[i].settles.end());
  }
  return result;
}

}  // namespace sluice::dataplane::nftables
