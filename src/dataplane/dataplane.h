// SPDX-License-Identifier: Apache-2.0
// DataPlane: one mechanism that can make this node's kernel forward by a Plan, for one address family.
//
// The contract. A data plane never touches objects it does not own (its tables, its chains, its marks). It is stateless
// in spirit: what is live is read from the kernel, and a fresh process that is given the whole plan makes the kernel
// equal to it, changing nothing that is right already. Traffic goes on while the process is dead. New real servers are
// in the kernel before old ones go. All calls come from one thread; apply() may block for as long as the mechanism
// needs.
#pragma once

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "plan/plan.h"

namespace sluice::dataplane {

// Which addresses node ports answer on, for one family, as worked out from nodePortAddresses and the node's interfaces.
struct NodePortAddresses {
  bool all_local = true;             // every local address
  std::vector<IpAddress> addresses;  // otherwise exactly these, sorted
  friend bool operator==(const NodePortAddresses&, const NodePortAddresses&) = default;
};

struct Changes {
  // false: what is live is what the `before` sides say, and only the listed ports change.
  // true: nothing is known of what is live; `ports` (before is null) are all that shall be served, everything else of
  // ours goes.
  bool full = false;
  std::vector<plan::Change> ports;        // of this data plane's family, in order of their keys
  NodePortAddresses node_port_addresses;  // a change of these comes with full
  std::size_t endpoints_known = 0;        // of this family: above 1000 kube-proxy's large cluster mode is on
};

struct ApplyStats {
  std::size_t rules_written = 0;  // handed to the kernel by this call
  std::size_t chains_written = 0;
  std::size_t kernel_transactions = 0;
  std::vector<std::pair<std::string, std::size_t>>
      written_by_table{};  // those of rules_written that rules_by_table() counts, by table
};

// How live compares with wanted; what `sluice status` prints and drift repair acts on.
struct Difference {
  std::vector<std::string> missing;     // wanted, not live
  std::vector<std::string> unexpected;  // live in our chains, not wanted
  [[nodiscard]] bool empty() const { return missing.empty() && unexpected.empty(); }
};

// An address of a Service that this data plane declines to serve, since serving it would take something away from the
// node itself.
struct Refusal {
  plan::ServicePortKey port;
  IpAddress address;
  std::string reason;  // "192.0.2.7 is an address of this node (eth0)"
  friend auto operator<=>(const Refusal&, const Refusal&) = default;
};

class DataPlane {
 public:
  virtual ~DataPlane() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;  // "iptables"
  [[nodiscard]] virtual Family family() const = 0;
  // Makes the kernel forward by the changes. On failure what is live is a prefix of the changes, or untouched; calling
  // again with `full` is always right then. kUnsupported is returned before anything is touched.
  virtual Result<ApplyStats> apply(const Changes& changes) = 0;
  // Has somebody else thrown our objects away (a flush, a firewall reload)? Cheap; asked every sync period.
  virtual Result<bool> intact() = 0;
  // Reads what is live and compares it with the whole plan, given as for a full apply. Changes nothing.
  virtual Result<Difference> compare(const Changes& wanted) = 0;
  // Does what is left from earlier calls and due by now, such as the end of a drain; answers when to ask again, at the
  // latest. Nothing where all is done. Asked after every apply().
  virtual Result<std::optional<std::chrono::milliseconds>> tend() { return std::optional<std::chrono::milliseconds>(); }
  // As of the last apply(), in order.
  [[nodiscard]] virtual std::vector<Refusal> refusals() const { return {}; }
  // Numbers for kube-proxy's metrics: rules that exist by our will, by table.
  [[nodiscard]] virtual std::vector<std::pair<std::string, std::size_t>> rules_by_table() const = 0;
};

}  // namespace sluice::dataplane
