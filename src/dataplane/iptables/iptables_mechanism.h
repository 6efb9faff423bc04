// SPDX-License-Identifier: Apache-2.0
// Mode iptables as a mechanism: its data planes, and what it leaves in either flavour.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "dataplane/iptables/tool.h"
#include "dataplane/mechanism.h"
#include "sys/sysctl_journal.h"

namespace sluice::dataplane::iptables {

// The owner of the node's settings in the journal.
inline constexpr const char* kSysctlOwner = "iptables";
// Packets from and to 127.0.0.0/8 may cross interfaces: needed for node ports on loopback, and never set without the
// martian rule of KUBE-FIREWALL, which keeps neighbours out (CVE-2020-8558).
inline constexpr const char* kRouteLocalnet = "net/ipv4/conf/all/route_localnet";

struct MechanismSettings {
  std::optional<Flavour> flavour{};  // absent: the one that this node uses
  unsigned masquerade_bit = 14;
  // Reports which of the node's settings a data plane changed, or could not; called from apply().
  std::function<void(const sys::SysctlReport&)> settings_changed = [](const sys::SysctlReport&) {};
};

class IptablesMechanism : public Mechanism {
 public:
  // Settings outside of the journal are also read and written through `sysctls`.
  IptablesMechanism(MechanismSettings settings, sys::SysctlJournal journal,
                    sys::SysctlAccess sysctls = sys::system_sysctls());

  [[nodiscard]] std::string_view name() const override { return "iptables"; }
  Result<> probe(Family family) override;
  Result<std::unique_ptr<DataPlane>> open(const PlaneSettings& settings) override;
  Result<> prepare_node(const PlaneSettings& settings) override;
  [[nodiscard]] std::string flavour() const override { return flavour_; }
  Leftovers leftovers(std::span<const Family> serving) override;
  Removal remove(Leftovers leftovers) override;

 private:
  struct Notes;
  struct Opened {
    Flavour flavour = Flavour::kNft;
    bool localhost_node_ports = false;
  };
  void guarded(bool guard_was_there) const;
  void restore_settings(Notes& notes, Removal& removal) const;

  MechanismSettings settings_;
  sys::SysctlJournal journal_;
  sys::SysctlAccess sysctls_;
  std::map<Family, Opened> opened_;
  std::string flavour_;
};

}  // namespace sluice::dataplane::iptables
