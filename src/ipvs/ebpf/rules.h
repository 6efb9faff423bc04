// SPDX-License-Identifier: Apache-2.0
// The rules of Services in the engine's maps, which its programs follow by themselves (bpf/lib/rules.bpf.h).
#pragma once

#include <functional>

#include "ipvs/ebpf/own_device.h"
#include "ipvs/ebpf/tables.h"
#include "ipvs/service_rules.h"

namespace sluice::ipvs::ebpf {

class EbpfRules : public ServiceRules {
 public:
  // The tables are the engine's.
  struct Source {
    std::function<Result<Tables*>()> find;  // null where there are none
    // With everything that packets need; `anew`: all that is served follows.
    std::function<Result<Tables*>(bool anew)> make;
    // A device that does not take the programs, or that came after the others got theirs: tend() sees to it.
    std::function<bool(int device)> may_lack_programs;
  };
  explicit EbpfRules(Source source) : source_(std::move(source)) {}

  Result<std::size_t> replace(const RuleSettings& settings, const RuleElements& wanted) override;
  Result<std::size_t> change(Family family, const RuleElements& add, const RuleElements& remove) override;
  Result<> retire(Family family) override;
  Result<> clear(Family family) override;
  Result<RuleElements> read(Family family) override;
  Result<bool> intact(const RuleSettings& settings) override;
  // Where packets to addresses of the rules are led.
  OwnDevice& device() { return device_; }

 private:
  // Everything that packets need, the device too where there are addresses for it.
  Result<Tables*> make(bool anew, bool with_device);

  Source source_;
  OwnDevice device_;
};

// Whether there are neither rules nor settings of them, of either family.
Result<bool> has_no_rules(const Tables& tables);
// Writes what is known of the namespace's devices for packets: which are pods' by the rules' settings. Forgets those that are gone.
Result<> describe_devices(const Tables& tables);

}  // namespace sluice::ipvs::ebpf
