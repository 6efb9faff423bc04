// SPDX-License-Identifier: Apache-2.0
// For tests: a data plane whose kernel is a map, that records its calls, fails on demand, and checks
// that callers keep the contract (dataplane.h).
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/dataplane.h"

namespace sluice::dataplane {

// What outlives a data plane object, like the kernel.
struct FakeKernel {
  std::map<plan::ServicePortKey, plan::ServicePortPlanPtr> live;
  NodePortAddresses node_port_addresses;
  bool canary = false;
  bool altered = false;       // by other programs, since the last full apply
  bool node_changed = false;  // its addresses, since the last full apply
  bool retired = false;       // accepts no new connections

  void flush() {
    live.clear();
    canary = false;
  }
};

class FakeDataPlane : public DataPlane {
 public:
  FakeDataPlane(Family family, FakeKernel& kernel) : family_(family), kernel_(kernel) {}

  [[nodiscard]] std::string_view name() const override { return mode; }
  [[nodiscard]] Family family() const override { return family_; }

  Result<Outcome> apply(const Changes& changes) override {
    applied.push_back(changes);
    check(changes);
    if (during_apply) during_apply();
    std::size_t prefix = changes.ports.size();
    const bool ends = fails_at_prefix && fail_after < prefix;
    const bool fails = ends || (failures > 0 && skip_failures-- <= 0);
    if (fails) {
      if (!ends) --failures;
      skip_failures = 0;
      prefix = fail_after < prefix ? fail_after : prefix;
    }
    Outcome outcome;
    std::size_t written = 0;
    if (changes.full && !fails) {
      unremoved_.clear();
      std::erase_if(kernel_.live,
                    [&](const auto& entry) { return !wants(changes, entry.first) && lets_go(entry.first, outcome); });
      tried_.clear();
    }
    for (std::size_t i = 0; i < prefix; ++i) {
      const plan::Change& change = changes.ports[i];
      tried_.erase(change.key());
      if (std::string reason = refuse && change.after ? refuse(change.key()) : ""; !reason.empty()) {
        outcome.refused.push_back({change.key(), std::move(reason)});
        tried_[change.key()] = change.after;
      } else if (change.after) {
        plan::ServicePortPlanPtr& live = kernel_.live[change.key()];
        if (!live || *live != *change.after) ++written;
        live = change.after;
      } else if (lets_go(change.key(), outcome)) {
        written += kernel_.live.erase(change.key());
      }
    }
    if (fails) return fail(Errc::kUnavailable, "the fake kernel is busy");
    outcome.refused.insert(outcome.refused.end(), also_refused.begin(), also_refused.end());
    std::ranges::sort(outcome.refused);
    served_ = true;
    kernel_.node_port_addresses = changes.node_port_addresses;
    if (changes.full) {
      kernel_.canary = true;
      kernel_.altered = false;
      kernel_.node_changed = false;
      kernel_.retired = false;
    }
    outcome.stats = {.rules_written = written, .kernel_transactions = 1, .written_by_table = {{"nat", written}}};
    return outcome;
  }

  Result<Integrity> intact() override {
    ++canary_checks;
    if (canary_unreadable) return fail(Errc::kUnavailable, "the fake kernel does not answer");
    if (!kernel_.canary) return Integrity::kDamaged;
    return kernel_.node_changed ? Integrity::kNodeChanged : Integrity::kKept;
  }
  Result<> retire() override {
    if (retire_fails) return fail(Errc::kUnavailable, "the fake kernel does not answer");
    if (served_) kernel_.retired = true;
    return {};
  }
  [[nodiscard]] const Capabilities& capabilities() const override { return abilities; }

  Result<Difference> compare(const Changes& wanted) override {
    ++comparisons;
    Difference difference;
    std::map<plan::ServicePortKey, plan::ServicePortPlanPtr> plan;
    for (const plan::Change& change : wanted.ports) plan[change.key()] = change.after;
    for (const auto& [key, port] : plan) {
      if (tried_.contains(key)) continue;
      const auto live = kernel_.live.find(key);
      if (live == kernel_.live.end() || *live->second != *port) difference.missing.push_back(key.printed_name());
    }
    for (const auto& [key, port] : kernel_.live) {
      if (!plan.contains(key) && !unremoved_.contains(key)) difference.unexpected.push_back(key.printed_name());
    }
    return difference;
  }

  [[nodiscard]] std::vector<std::pair<std::string, std::size_t>> rules_by_table() const override {
    return {{"nat", kernel_.live.size()}};
  }

  Result<std::optional<std::chrono::milliseconds>> tend() override {
    ++tended;
    if (tend_fails) return fail(Errc::kUnavailable, "the fake kernel does not answer");
    return tend_again;
  }
  [[nodiscard]] bool full_by_time() const override { return wants_full_by_time; }
  [[nodiscard]] std::vector<Refusal> refusals() const override { return refused; }
  [[nodiscard]] std::vector<UnmetRequest> unmet_requests() const override { return unmet; }
  std::optional<KernelWork> kernel_work() override { return work; }
  [[nodiscard]] std::size_t cleanup_failures() const override { return failed_cleanups; }

  [[nodiscard]] const Changes& last() const { return applied.back(); }

  std::string mode = "fake";
  std::vector<Changes> applied;         // also those that failed
  std::vector<std::string> violations;  // of the contract, by the caller
  std::function<void()> during_apply;
  int failures = 0;              // this many calls fail ...
  int skip_failures = 0;         // ... after this many that do not
  std::size_t fail_after = 0;    // a failing call leaves this many ports live
  bool fails_at_prefix = false;  // every call that would make more changes than fail_after fails
  bool canary_unreadable = false;
  std::size_t canary_checks = 0;
  std::size_t comparisons = 0;
  std::size_t tended = 0;
  bool tend_fails = false;
  bool retire_fails = false;
  std::optional<std::chrono::milliseconds> tend_again;
  bool wants_full_by_time = true;
  std::vector<Refusal> refused;
  std::vector<UnmetRequest> unmet;
  std::optional<KernelWork> work;         // what kernel_work() returns
  std::vector<RefusedPort> also_refused;  // besides those that `refuse` says
  std::size_t failed_cleanups = 0;
  Capabilities abilities;
  std::function<std::string(const plan::ServicePortKey&)> refuse;  // why the kernel does not take a port, or ""
  std::set<std::string> held;                                      // Services that the kernel does not release, by name

 private:
  bool lets_go(const plan::ServicePortKey& key, Outcome& outcome) {
    if (!held.contains(key.service.name) || !kernel_.live.contains(key)) return true;
    outcome.unremoved.push_back(key.printed_name() + ": in use");
    unremoved_.insert(key);
    return false;
  }
  static bool wants(const Changes& changes, const plan::ServicePortKey& key) {
    const auto found = std::lower_bound(changes.ports.begin(), changes.ports.end(), key,
                                        [](const plan::Change& change, const auto& k) { return change.key() < k; });
    return found != changes.ports.end() && found->key() == key;
  }
  void check(const Changes& changes) {
    const plan::ServicePortKey* last_key = nullptr;
    for (const plan::Change& change : changes.ports) {
      const std::string port = change.key().printed_name();
      if (change.key().family != family_) violations.push_back(port + " is of the other family");
      if (last_key != nullptr && !(*last_key < change.key())) violations.push_back(port + " is out of order");
      last_key = &change.key();
      if (changes.full && change.before) violations.push_back(port + " has a before in a full apply");
      if (changes.full && !change.after) violations.push_back(port + " has no after in a full apply");
      if (!changes.full) check_partial(change, port);
    }
    if (!changes.full && changes.ports.empty()) violations.emplace_back("an empty partial apply");
    if (!changes.full && changes.node_port_addresses != kernel_.node_port_addresses) {
      violations.emplace_back("node port addresses changed in a partial apply");
    }
  }

  void check_partial(const plan::Change& change, const std::string& port) {
    if (const auto tried = tried_.find(change.key()); tried != tried_.end()) {
      if (!change.before || *change.before != *tried->second)
        violations.push_back(port + " has another before than what was refused");
      return;
    }
    if (change.before && change.after && *change.before == *change.after)
      violations.push_back(port + " did not change");
    if (!kernel_.canary || kernel_.altered) return;  // the caller cannot know yet
    const auto live = kernel_.live.find(change.key());
    const bool known = live != kernel_.live.end();
    if (static_cast<bool>(change.before) != known)
      violations.push_back(port + (known ? " is live, not absent" : " is not live"));
    if (known && change.before && *live->second != *change.before) violations.push_back(port + " is live otherwise");
  }

  const Family family_;
  FakeKernel& kernel_;
  bool served_ = false;
  std::map<plan::ServicePortKey, plan::ServicePortPlanPtr> tried_;  // what was refused
  std::set<plan::ServicePortKey> unremoved_;
};

}  // namespace sluice::dataplane
