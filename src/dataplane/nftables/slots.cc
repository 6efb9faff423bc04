// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nftables/slots.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <numeric>

#include "dataplane/nftables/requests.h"

namespace sluice::dataplane::nftables {
namespace {

using plan::AddressPort;

// How many slots each weight means: the weights over their greatest common divisor, made smaller in proportion where
// they are too many. Who has any weight keeps a slot, so there may be as many more than the bound as there are servers.
class Shares {
 public:
  Shares(const plan::ServicePortPlan& port, plan::Pool pool) : even_(scheduler_of(port) == Scheduler::kTurns) {
    std::size_t servers = 0;
    for (const plan::RealServer& server : port.real_servers) {
      if (!server.in(pool)) continue;
      divisor_ = std::gcd(divisor_, std::uint64_t{server.weight});
      total_ += server.weight;
      ++servers;
    }
    slots_max_ = std::max(kWeightedSlotsMax, 4 * servers);
    if (slots_max_ + servers > kSlotsMax) slots_max_ = servers < kSlotsMax ? kSlotsMax - servers : 1;
  }
  [[nodiscard]] std::size_t of(std::uint16_t weight) const {
    if (weight == 0) return 0;
    if (even_) return 1;
    if (total_ / divisor_ <= slots_max_) return weight / divisor_;
    return std::max<std::uint64_t>(1, (weight * slots_max_ + total_ / 2) / total_);
  }

 private:
  bool even_;
  std::uint64_t slots_max_ = 0;
  std::uint64_t divisor_ = 0;
  std::uint64_t total_ = 0;
};

std::vector<std::optional<AddressPort>> known(const Slots& slots) {
  return {slots.begin(), slots.end()};
}

}  // namespace

Slots fresh_slots(const plan::ServicePortPlan& port, plan::Pool pool) {
  const Shares shares(port, pool);
  Slots slots;
  for (const plan::RealServer& server : port.real_servers) {
    if (server.in(pool)) slots.insert(slots.end(), shares.of(server.weight), {server.address, server.port});
  }
  return slots;
}

Slots rearranged(const std::vector<std::optional<AddressPort>>& before, const Slots& wanted) {
  std::map<AddressPort, std::size_t> missing;
  for (const AddressPort& each : wanted) ++missing[each];
  std::vector<std::optional<AddressPort>> slots = before;
  for (auto& slot : slots) {
    if (!slot) continue;
    const auto found = missing.find(*slot);
    if (found == missing.end() || found->second == 0) {
      slot.reset();
    } else {
      --found->second;
    }
  }
  // What is new goes into the slots that are free, and behind them all.
  std::size_t free = 0;
  for (const auto& [server, count] : missing) {
    for (std::size_t i = 0; i < count; ++i) {
      while (free < slots.size() && slots[free]) ++free;
      if (free == slots.size()) slots.emplace_back();
      slots[free] = server;
    }
  }
  // The last ones go into the slots that are still free.
  Slots result;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    while (!slots.back()) slots.pop_back();
    if (!slots[i]) {
      slots[i] = slots.back();
      slots.pop_back();
    }
    result.push_back(*slots[i]);
  }
  return result;
}

PortSlots fresh_slots(const plan::ServicePortPlan& port) {
  return {fresh_slots(port, plan::Pool::kCluster), fresh_slots(port, plan::Pool::kLocal)};
}

PortSlots rearranged(const PortSlots& before, const PortSlots& wanted) {
  return {rearranged(known(before.cluster), wanted.cluster), rearranged(known(before.local), wanted.local)};
}

}  // namespace sluice::dataplane::nftables
