// SPDX-License-Identifier: Apache-2.0
// Mode ipvs as a mechanism: its data planes on one engine, and what it and kube-proxy's mode ipvs leave on any.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/ipvs/cleanup.h"
#include "dataplane/ipvs/ipvs_data_plane.h"
#include "dataplane/mechanism.h"
#include "dataplane/rules_in_iptables.h"
#include "ipvs/engine.h"
#include "sys/node_notes.h"
#include "sys/sysctl_journal.h"

namespace sluice::dataplane::ipvs {

struct MechanismSettings {
  Options plane;  // defaults for what open() is not given
  bool masquerade_all = false;
  unsigned masquerade_bit = 14;
  bool strict_arp = false;
  // Also an engine whose table cannot be found, and which another process may use (Presence::kOutOfSight).
  bool remove_engines_out_of_sight = false;
  // Reports which of the node's settings a data plane changed, or could not; called from apply().
  std::function<void(const sys::SysctlReport&)> settings_changed = [](const sys::SysctlReport&) {};
};

// The world around the mode.
struct Surroundings {
  using OpenEngine = std::function<Result<std::unique_ptr<sluice::ipvs::Engine>>()>;
  OpenEngine open_engine;  // the one that serves
  // Every engine that may have objects here, without loading it: a module that is not loaded has none.
  std::function<std::vector<OpenEngine>()> engines_in_use;
  std::unique_ptr<RulesInIptables> kube_proxys_rules;
  sys::NotesAccess notes = sys::kernel_notes();
};

class IpvsMechanism : public Mechanism {
 public:
  // How many virtual servers one call of remove() removes.
  static constexpr std::size_t kPiece = 1000;

  IpvsMechanism(MechanismSettings settings, Surroundings surroundings, sys::SysctlJournal journal);

  [[nodiscard]] std::string_view name() const override { return "ipvs"; }
  Result<> probe(Family family) override;
  Result<std::unique_ptr<DataPlane>> open(const PlaneSettings& settings) override;
  Result<> prepare_node(const PlaneSettings& settings) override;
  [[nodiscard]] std::string flavour() const override { return flavour_; }
  Leftovers leftovers(std::span<const Family> serving) override;
  std::vector<std::string> retire(const Leftovers& leftovers) override;
  Removal remove(Leftovers leftovers) override;

 private:
  struct Notes;

  void make_settings(const sluice::ipvs::Description& engine);
  // Whether the family is served, and by an engine of that kind.
  [[nodiscard]] bool serves(std::span<const Family> serving, Family family,
                            const std::function<bool(const sluice::ipvs::Description&)>& with) const;
  [[nodiscard]] bool serves_by(const sluice::ipvs::Engine& engine, std::span<const Family> serving,
                               Family family) const;
  // Of an engine whose virtual servers and rules, if it has any, are all to be removed.
  [[nodiscard]] bool may_leave(sluice::ipvs::Engine& engine, bool in_node, std::span<const Family> serving,
                               Leftovers& leftovers) const;
  void open_engines(std::span<const Family> serving, Evidence& evidence, Notes& notes, Leftovers& leftovers) const;
  void find_virtual_servers(std::span<const Family> serving, Notes& notes, Leftovers& leftovers);
  void judge(const std::vector<sluice::ipvs::VirtualServerState>& servers, const std::set<std::string>& others,
             const Evidence& evidence, Notes& notes, Leftovers& leftovers) const;
  static void find_table(Family family, const char* name, Notes& notes, Leftovers& leftovers);
  void find_addresses(std::span<const Family> serving, Notes& notes, Leftovers& leftovers) const;
  void find_rules(bool serves, Notes& notes, Leftovers& leftovers);
  void note_suspects(const Notes& notes, Removal& removal) const;
  void remove_virtual_servers(Notes& notes, Removal& removal) const;
  void remove_addresses(Notes& notes, Removal& removal) const;
  // Of engines that have rules; then the engines themselves.
  static void remove_rules_of_engines(Notes& notes, Removal& removal);
  static void remove_engines(Notes& notes, Removal& removal);
  void restore_settings(Notes& notes, Removal& removal) const;
  void remove_rules(Notes& notes, Removal& removal);
  void remove_ip_sets(Notes& notes, Removal& removal) const;

  MechanismSettings settings_;
  Surroundings surroundings_;
  sys::SysctlJournal journal_;
  std::string flavour_;
  bool warned_of_strict_arp_ = false;
  std::map<Family, sluice::ipvs::Description> opened_;  // the engine of the last plane
};

}  // namespace sluice::dataplane::ipvs
