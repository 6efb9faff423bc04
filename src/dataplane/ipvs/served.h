// SPDX-License-Identifier: Apache-2.0
// What all Service ports of one family together want, and what a change of some of them changes. Pure; its cost follows
// the change.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "dataplane/ipvs/helper_elements.h"
#include "dataplane/ipvs/wanted.h"
#include "dataplane/nft/element_counts.h"

namespace sluice::dataplane::ipvs {

class Served {
 public:
  explicit Served(NodeAddresses node) : node_(std::move(node)) {}

  struct VirtualServerChange {
    VirtualServerKey key;
    std::optional<WantedVirtualServer> before;
    std::optional<WantedVirtualServer> after;
    bool first = false;  // plan::comes_first() of its Service port
  };
  struct Delta {
    std::vector<VirtualServerChange> virtual_servers;  // in order of their keys; only those that differ
    HelperElements added;                              // wanted now, and not before
    HelperElements removed;
    std::set<IpAddress> first_addresses;  // of those added
  };
  // Takes in the `after` sides. The previous state of these ports is known here; the `before` sides are not
  // used.
  Delta update(const std::vector<plan::Change>& changes, const WantedSettings& settings);

  // Every port that is served, as changes from nothing.
  [[nodiscard]] std::vector<plan::Change> all_ports() const;
  // The port that has the virtual server; null if none wants it.
  [[nodiscard]] const plan::ServicePortKey* owner(const VirtualServerKey& key) const;
  [[nodiscard]] std::size_t virtual_servers() const { return claims_.size(); }
  // Every port that wants a virtual server on one of the addresses.
  [[nodiscard]] std::map<IpAddress, std::set<plan::ServicePortKey>> ports_on(
      const std::set<IpAddress>& addresses) const;
  // The first wanted virtual servers after `after`, at most so many, in order of their keys.
  [[nodiscard]] std::vector<WantedVirtualServer> wanted_after(const std::optional<VirtualServerKey>& after,
                                                              std::size_t most, const WantedSettings& settings) const;
  // Those that `port` wants and has.
  [[nodiscard]] std::vector<WantedVirtualServer> wanted_by(const plan::ServicePortKey& port,
                                                           const WantedSettings& settings) const;
  [[nodiscard]] bool has_service(const plan::ObjectKey& service) const;
  // Of all ports together.
  [[nodiscard]] HelperElements elements() const;
  // Those on kube-ipvs0.
  [[nodiscard]] const nft::ElementCounts<IpAddress>& service_addresses() const { return counts_.service_addresses; }
  [[nodiscard]] const NodeAddresses& node() const { return node_; }
  [[nodiscard]] std::vector<Refusal> refusals() const;  // in order
  [[nodiscard]] std::set<NodePort> node_ports() const;
  [[nodiscard]] std::set<IpAddress> addresses() const;  // but those of node ports
  // In words, of each Service port that has any.
  [[nodiscard]] const std::map<plan::ServicePortKey, std::vector<std::string>>& bad_annotations() const {
    return bad_annotations_;
  }

 private:
  using Computed = std::map<plan::ServicePortKey, WantedPort>;
  void add_port(const plan::ServicePortPlanPtr& port, const WantedPort& wanted, Delta& delta);
  void remove_port(const plan::ServicePortKey& key, const WantedPort& wanted);  // all but its elements
  const WantedPort& compute(const plan::ServicePortKey& key, const WantedSettings& settings, Computed& computed) const;
  [[nodiscard]] std::optional<WantedVirtualServer> winner(const VirtualServerKey& key, const WantedSettings& settings,
                                                          Computed& computed) const;

  NodeAddresses node_;
  std::map<plan::ServicePortKey, plan::ServicePortPlanPtr> ports_;
  // Which ports want a virtual server. In one plan that is one Service port (plan/claims.h); but if one takes it over
  // from another and only the first half is done, both want it, and the smaller key gets it.
  std::map<VirtualServerKey, std::set<plan::ServicePortKey>> claims_;
  nft::ElementCounts<NodePort> node_ports_;
  std::map<plan::ServicePortKey, std::vector<Refusal>> refusals_;
  std::map<plan::ServicePortKey, std::vector<std::string>> bad_annotations_;
  HelperCounts counts_;
};

}  // namespace sluice::dataplane::ipvs
