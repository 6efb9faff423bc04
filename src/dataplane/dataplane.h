// SPDX-License-Identifier: Apache-2.0
// DataPlane: makes this node's kernel forward by a Plan, for one address family, in one proxy mode. Opened by a
// Mechanism (mechanism.h); which plane serves and which retires is the succession's decision (sync/succession.h). The
// contract suite (contract_suite.cc) checks every plane against what follows.
//
// The contract.
//
// - What is live belongs to the kernel, not to this object: it outlives us, and others may change it. The first apply()
//   of a plane is full: it reads what is live, makes it equal to what is wanted, and changes nothing that is already
//   right. After that the plane knows what is live, so a partial apply reads nothing and costs what it changes.
// - A plane never touches what it does not own: its tables, its chains, its addresses, its marks, the virtual servers
//   that a plan of ours put there. Objects of others stay through every call.
// - New before old. A destination exists before packets are sent to it, and is removed after they no longer are.
//   So every prefix of what apply() writes serves: killed at any moment, a process loses no established connection, and
//   the next one's full apply completes the rest.
// - A Service port that the kernel refuses costs the others nothing. It is in the Outcome with its reason; what
//   the kernel accepted of it, or what was live before, may be live; the plane records which. The port's next Change
//   has as `before` what was refused. Where `after` is the same, that is one more attempt, which costs that port. Neither
//   intact() nor compare() reports its absence.
// - An object that is no longer wanted and that the kernel does not release is reported in the same way: it is in
//   Outcome::unremoved, costs the others nothing, and is not drift. The next full apply tries to remove it again.
// - After an Error of apply() it is not known what is live, which may be any prefix of the changes; a full apply is
//   right then. kUnsupported is returned before anything is touched.
// - retire() ends a plane's service and not its connections: new ones are no longer accepted, existing ones continue
//   as long as tend() requests another call. A plane that has retired is neither applied nor checked for being
//   intact. Its objects stay until Mechanism::remove() removes them.
// - All calls come from one thread. apply(), compare() and retire() may block for as long as the kernel needs; none
//   waits for time to pass or for a connection to end.
#pragma once

#include <algorithm>
#include <array>
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

// Which addresses node ports are served on, for one family, derived from nodePortAddresses and the node's interfaces.
struct NodePortAddresses {
  bool all_local = true;             // every local address
  std::vector<IpAddress> addresses;  // otherwise exactly these, sorted
  friend bool operator==(const NodePortAddresses&, const NodePortAddresses&) = default;
};

struct Changes {
  // false: what is live is what the `before` sides say, and only the listed ports change.
  // true: what is live is not known; `ports` (before is null) are all that must be served, everything else of
  // ours is removed.
  bool full = false;
  std::vector<plan::Change> ports;        // of this data plane's family, in order of their keys
  NodePortAddresses node_port_addresses;  // a change of these comes with full
};

struct ApplyStats {
  std::size_t rules_written = 0;  // handed to the kernel by this call
  std::size_t chains_written = 0;
  std::size_t kernel_transactions = 0;
  // Those of rules_written that rules_by_table() counts, by table.
  std::vector<std::pair<std::string, std::size_t>> written_by_table{};
};

// A Service port of which the kernel does not accept everything.
struct RefusedPort {
  plan::ServicePortKey port;
  std::string reason;    // the kernel's, as text, and what was requested
  bool untried = false;  // set aside without an attempt, since several like it were refused; the next call tries it
  friend auto operator<=>(const RefusedPort&, const RefusedPort&) = default;
};

// The result of an apply() that succeeded.
struct Outcome {
  ApplyStats stats;
  std::vector<RefusedPort> refused;  // sorted, each port once; everything else is live
  // Objects of ours that are no longer wanted and that the kernel does not release, each with its reason: all of them
  // after a full apply, else those of this call. Neither intact() nor compare() reports them.
  std::vector<std::string> unremoved;
};

// How live compares with wanted; what `sluice status` prints and drift repair acts on.
struct Difference {
  std::vector<std::string> missing;     // wanted, not live
  std::vector<std::string> unexpected;  // live in our chains, not wanted
  [[nodiscard]] bool empty() const { return missing.empty() && unexpected.empty(); }
};

// An address of a Service that this data plane declines to serve, because serving it would take something from the
// node itself. What the plan refuses is in none of its frontends; see plan::Planner::refusals().
using plan::Refusal;

// What a Service requests by annotation and does not get here, although it is served.
struct UnmetRequest {
  plan::ObjectKey service;
  std::string why;  // a sentence for users: what is requested, and what happens instead
  friend auto operator<=>(const UnmetRequest&, const UnmetRequest&) = default;
};

enum class Integrity : std::uint8_t {
  kKept,         // as it was written
  kDamaged,      // others removed or changed objects of ours
  kNodeChanged,  // the node's own addresses or routes differ from those of the last apply
};

// What a plan may require and a plane of this mode cannot do, on any node.
enum class Gap : std::uint8_t {
  kDropByPolicy,          // to drop what a traffic policy leaves without an endpoint, instead of sending it elsewhere
  kPoolBySource,          // different endpoints for different clients of one address and port
  kSourceFromLoopback,    // a client on 127.0.0.1 or ::1 that reaches an endpoint on another node
  kRefuseOwnPackets,      // to refuse what the node itself sends to an external address without endpoint
  kMasqueradeOwnPackets,  // to replace the source of what the node itself sends to an address under policy Local
  kFilterBeforeRefusal,   // to drop what source ranges do not admit where there is no endpoint, instead of refusing it
};
inline constexpr std::array kGaps{Gap::kDropByPolicy,     Gap::kPoolBySource,         Gap::kSourceFromLoopback,
                                  Gap::kRefuseOwnPackets, Gap::kMasqueradeOwnPackets, Gap::kFilterBeforeRefusal};
std::string_view to_string(Gap gap);  // "drop-by-policy"

// What a plane's own programs do in the kernel. Planes that share them, of both families, report the same.
struct KernelWork {
  std::vector<std::string> lines{};                              // for `sluice status`
  std::vector<std::pair<std::string, std::uint64_t>> dropped{};  // packets so far, by each reason there is
  friend bool operator==(const KernelWork&, const KernelWork&) = default;
};

struct Limitation {
  Gap gap = Gap::kDropByPolicy;
  std::string_view why;  // a sentence for users, shown in `sluice status`, by tests that are skipped, and in the manual
};

struct Capabilities {
  std::vector<Limitation> lacks{};
  [[nodiscard]] bool can(Gap gap) const {
    return std::none_of(lacks.begin(), lacks.end(), [&](const Limitation& each) { return each.gap == gap; });
  }
};

class DataPlane {
 public:
  virtual ~DataPlane() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;  // the mode's: "iptables"
  [[nodiscard]] virtual Family family() const = 0;
  [[nodiscard]] virtual const Capabilities& capabilities() const = 0;

  virtual Result<Outcome> apply(const Changes& changes) = 0;
  // Whether what apply() wrote is still there. Cheap, so it may check a part each time; called every sync period, after
  // the first apply(). If there is damage and a changed node it reports damage. Both need a full apply.
  virtual Result<Integrity> intact() = 0;
  // Reads what is live and compares it with the whole plan, given as for a full apply. Changes nothing.
  virtual Result<Difference> compare(const Changes& wanted) = 0;
  // From now on no new connections. Writes at most what the plane has live; may be called again after an Error.
  virtual Result<> retire() = 0;
  // Does what is left from earlier calls and due now, such as the end of a drain, and returns after which time to
  // call again at the latest; nothing if all is done, which after retire() means that the last connection has ended.
  // Called after every apply() and retire().
  virtual Result<std::optional<std::chrono::milliseconds>> tend() = 0;

  // Whether everything is to be applied anew once an hour although nothing seems to be wrong. As of the last apply().
  [[nodiscard]] virtual bool full_by_time() const { return true; }
  // As of the last apply(), in order.
  [[nodiscard]] virtual std::vector<Refusal> refusals() const { return {}; }
  // As of the last apply(), in order, each once.
  [[nodiscard]] virtual std::vector<UnmetRequest> unmet_requests() const { return {}; }
  // How many transactions that only remove what is no longer wanted the kernel has refused, since the plane was opened.
  [[nodiscard]] virtual std::size_t cleanup_failures() const { return 0; }
  // Nothing: it has no programs of its own. Called every sync period.
  virtual std::optional<KernelWork> kernel_work() { return std::nullopt; }
  // The number of our rules, by table, for the metrics.
  [[nodiscard]] virtual std::vector<std::pair<std::string, std::size_t>> rules_by_table() const = 0;
};

}  // namespace sluice::dataplane
