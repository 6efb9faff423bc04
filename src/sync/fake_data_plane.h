// SPDX-License-Identifier: Apache-2.0
// For tests: a data plane whose kernel is a map, that remembers what it was told, fails when it is told to, and minds
// the contract (dataplane.h) from its own side.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/dataplane.h"

namespace sluice::sync::test {

// What outlives a data plane object, as the kernel does.
struct FakeKernel {
  std::map<plan::ServicePortKey, plan::ServicePortPlanPtr> live;
  dataplane::NodePortAddresses node_port_addresses;
  bool canary = false;
  bool altered = false;  // by somebody else, since the last full apply

  void flush() {
    live.clear();
    canary = false;
  }
};

class FakeDataPlane : public dataplane::DataPlane {
 public:
  FakeDataPlane(Family family, FakeKernel& kernel) : family_(family), kernel_(kernel) {}

  [[nodiscard]] std::string_view name() const override { return "fake"; }
  [[nodiscard]] Family family() const override { return family_; }

  Result<dataplane::ApplyStats> apply(const dataplane::Changes& changes) override {
    applied.push_back(changes);
    check(changes);
    if (during_apply) during_apply();
    std::size_t prefix = changes.ports.size();
    const bool fails = failures > 0 && skip_failures-- <= 0;
    if (fails) {
      --failures;
      skip_failures = 0;
      prefix = fail_after < prefix ? fail_after : prefix;
    }
    if (changes.full && !fails) kernel_.live.clear();
    for (std::size_t i = 0; i < prefix; ++i) {
      const plan::Change& change = changes.ports[i];
      if (change.after) {
        kernel_.live[change.key()] = change.after;
      } else {
        kernel_.live.erase(change.key());
      }
    }
    if (fails) return fail(Errc::kUnavailable, "the fake kernel is busy");
    kernel_.node_port_addresses = changes.node_port_addresses;
    if (changes.full) {
      kernel_.canary = true;
      kernel_.altered = false;
    }
    written_ += prefix;
    return dataplane::ApplyStats{
        .rules_written = prefix, .kernel_transactions = 1, .written_by_table = {{"nat", prefix}}};
  }

  Result<bool> intact() override {
    ++canary_checks;
    if (canary_unreadable) return fail(Errc::kUnavailable, "the fake kernel does not answer");
    return kernel_.canary;
  }

  Result<dataplane::Difference> compare(const dataplane::Changes& wanted) override {
    ++comparisons;
    dataplane::Difference difference;
    std::map<plan::ServicePortKey, plan::ServicePortPlanPtr> plan;
    for (const plan::Change& change : wanted.ports) plan[change.key()] = change.after;
    for (const auto& [key, port] : plan) {
      const auto live = kernel_.live.find(key);
      if (live == kernel_.live.end() || *live->second != *port) difference.missing.push_back(key.printed_name());
    }
    for (const auto& [key, port] : kernel_.live) {
      if (!plan.contains(key)) difference.unexpected.push_back(key.printed_name());
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
  [[nodiscard]] std::vector<dataplane::Refusal> refusals() const override { return refused; }

  [[nodiscard]] const dataplane::Changes& last() const { return applied.back(); }

  std::vector<dataplane::Changes> applied;  // also those that failed
  std::vector<std::string> violations;      // of the contract, by the caller
  std::function<void()> during_apply;
  int failures = 0;            // so many calls fail ...
  int skip_failures = 0;       // ... after so many that do not
  std::size_t fail_after = 0;  // a failing call leaves so many ports live
  bool canary_unreadable = false;
  std::size_t canary_checks = 0;
  std::size_t comparisons = 0;
  std::size_t tended = 0;
  bool tend_fails = false;
  std::optional<std::chrono::milliseconds> tend_again;
  std::vector<dataplane::Refusal> refused;

 private:
  void check(const dataplane::Changes& changes) {
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
  std::size_t written_ = 0;
};

}  // namespace sluice::sync::test
