// SPDX-License-Identifier: Apache-2.0
// For tests: the rules of an engine that needs no helper rules, as maps. Packets are not there to obey them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>

#include "ipvs/service_rules.h"

namespace sluice::ipvs {

class FakeServiceRules : public ServiceRules {
 public:
  Result<std::size_t> replace(const RuleSettings& settings, const RuleElements& wanted) override;
  Result<std::size_t> change(Family family, const RuleElements& add, const RuleElements& remove) override;
  Result<> clear(Family family) override;
  Result<RuleElements> read(Family family) override;
  Result<bool> intact(const RuleSettings& settings) override;

  [[nodiscard]] bool empty() const;
  // As another program would: the family's rules are lost with their settings.
  void lose(Family family) { families_.erase(family); }
  // The next calls that write fail with this; nothing: they succeed.
  std::optional<Error> refusal;

 private:
  struct OfFamily {
    RuleSettings settings;
    std::map<VirtualServerKey, std::uint32_t> rules;
    std::set<AllowedSource> allowed;
    std::set<IpAddress> addresses;
  };
  std::map<Family, OfFamily> families_;
};

}  // namespace sluice::ipvs
