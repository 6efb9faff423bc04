// SPDX-License-Identifier: Apache-2.0
// IptablesDataPlane: kube-proxy's iptables mode for one family, written so that its cost follows the change.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/iptables/encode.h"
#include "dataplane/iptables/tool.h"
#include "dataplane/iptables/update.h"

namespace sluice::dataplane::iptables {

struct Options {
  Family family = Family::kIPv4;
  plan::LocalDetector detector;  // the same that the plan is made with
  unsigned masquerade_bit = 14;
  bool localhost_node_ports = true;
  std::optional<Flavour> flavour;  // absent: the one that this node uses
  // After each full apply that left the martian rule in force, which keeps neighbours from 127.0.0.0/8; was it there
  // before? Only now may the node be set to route such addresses.
  std::function<void(bool guard_was_there)> guarded = [](bool) {};
};

// Of every plane of this mode.
const Capabilities& mode_capabilities();

class IptablesDataPlane : public DataPlane {
 public:
  // Finds the programs, checks whether they work here, and reads nf_conntrack_tcp_be_liberal, all once. kUnsupported
  // if the family cannot be served.
  static Result<std::unique_ptr<IptablesDataPlane>> open(const Options& options);

  [[nodiscard]] std::string_view name() const override { return "iptables"; }
  [[nodiscard]] Family family() const override { return encoder_.settings().family; }
  [[nodiscard]] const Capabilities& capabilities() const override { return mode_capabilities(); }
  // A port that is refused is left as it was, apart from chains of its own that no packet reaches.
  Result<Outcome> apply(const Changes& changes) override;
  Result<Integrity> intact() override;
  Result<Difference> compare(const Changes& wanted) override;
  // Removes the jumps for new packets. Those of established connections are translated by conntrack and need no rule
  // of nat; the rules that let them pass the node's filter stay, so there is nothing to tend.
  Result<> retire() override;
  Result<std::optional<std::chrono::milliseconds>> tend() override {
    return std::optional<std::chrono::milliseconds>();
  }
  // As kube-proxy: not in large cluster mode.
  [[nodiscard]] bool full_by_time() const override { return !large_cluster(); }
  [[nodiscard]] std::vector<std::pair<std::string, std::size_t>> rules_by_table() const override;

  [[nodiscard]] const Tool& tool() const { return tool_; }

 private:
  IptablesDataPlane(Tool tool, EncodeSettings settings, std::function<void(bool)> guarded)
      : tool_(std::move(tool)), encoder_(std::move(settings)), guarded_(std::move(guarded)) {}
  Result<Outcome> apply_full(const Changes& changes);
  Result<Outcome> apply_incremental(const Changes& changes);
  [[nodiscard]] std::vector<PortUpdate> updates_of(const Changes& changes) const;
  [[nodiscard]] std::vector<PortUpdate> all_but(const Changes& changes) const;
  [[nodiscard]] Changes everything() const;
  [[nodiscard]] bool large_cluster() const;
  void count_endpoints(const Changes& changes);
  void note_refused(std::vector<RefusedUpdate> refused,
                    const std::function<plan::ServicePortPlanPtr(std::size_t)>& port_at, Outcome& outcome);
  void note_unremoved(std::vector<UnremovedObject> unremoved, Outcome& outcome);

  Tool tool_;
  Encoder encoder_;
  std::function<void(bool)> guarded_;
  // What is served, to write dispatch chains as a whole when that is cheaper. The plan shares these.
  std::map<plan::ServicePortKey, plan::ServicePortPlanPtr> served_;
  struct Refused {
    plan::ServicePortPlanPtr tried;
    Remains remains;
  };
  std::map<plan::ServicePortKey, Refused> refused_;
  bool applied_ = false;  // or tried to
  // As a comparison would name them; they are not wanted, and the kernel does not release them.
  std::set<std::string> unremoved_;
  std::size_t endpoints_ = 0;  // of all ports that are wanted, also those not ready
  NodePortAddresses addresses_;
  std::array<std::ptrdiff_t, 2> port_rules_{};  // filter, nat
};

// Whether this node can run the iptables mode for `family` at all; kUnsupported names what is missing.
Result<> probe(Family family, std::optional<Flavour> flavour = std::nullopt);

}  // namespace sluice::dataplane::iptables
