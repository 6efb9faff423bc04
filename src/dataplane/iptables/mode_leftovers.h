// SPDX-License-Identifier: Apache-2.0
// What modes iptables and ipvs have in common in iptables, and what only mode iptables has there: from kube-proxy today
// and in 1.20, and from us.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "dataplane/iptables/leftover_rules.h"

namespace sluice::dataplane::iptables {

class ModeLeftovers : public LeftoverRules {
 public:
  explicit ModeLeftovers(Family family);

  void chain(std::string_view table_name, std::string_view name) override;
  void rule(std::string_view table_name, std::string_view chain, std::string_view rule) override;

  // Whether the rule that keeps neighbours from 127.0.0.0/8, and that route_localnet must not be without, is removed.
  [[nodiscard]] bool guard_goes() const { return guard_goes_; }
  // Keeps the guard, its chain and the jumps to it.
  void keep_guard();

 protected:
  void forget() override;
  void complete() override;

 private:
  Family family_;
  std::string martian_;  // canonical; empty for IPv6, which has none
  bool kubelet_ = false;
  bool firewall_seen_ = false;
  bool firewall_shared_ = false;
  bool mark_drop_empty_ = false;
  bool guard_goes_ = false;
  std::vector<std::string> martian_rules_;  // as printed
};

}  // namespace sluice::dataplane::iptables
