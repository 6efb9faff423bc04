// SPDX-License-Identifier: Apache-2.0
// Mechanism: one proxy mode on this node, from the question whether it can be served here to the removal of the last
// object that it ever made. No mode depends on another one. Daemon's registry holds all of them; which plane serves
// is the succession's decision (sync/succession.h), and what is left is removed by asking each mode for its own
// (sync/leftover_sweep.h).
//
// The contract.
//
// - Leftovers are recognised by what they are, not by records of a process: objects of ours from an earlier process,
//   and those of the real kube-proxy, in whatever version, flavour or engine it ran. An object has one owner: chains
//   that kube-proxy's modes iptables and ipvs share belong to iptables; those of mode ipvs alone, and its IP sets,
//   belong to ipvs, although iptables holds them.
// - Objects of others stay: the administrator's rules, kubelet's, a network plugin's, virtual servers that no record
//   lists as ours. If an object's owner cannot be determined, it stays and is reported (Leftovers::unsure).
// - leftovers() excludes what serves: objects of a data plane of this mechanism that serves a family are not left over;
//   a second flavour's rules, or what kube-proxy left in the same place, are. Not called while a plane of this
//   mechanism is being programmed or retires: whose an object is, is not known then.
// - remove() works in bounded pieces, so that its caller can serve changes in between. Each piece leaves the node
//   in a state that is safe: a guard is removed after what it guards (the martian rule after route_localnet is 0
//   again), entry points before what they lead to. Killed after any piece, or within one, a later process finds the
//   rest by leftovers().
// - Settings of the node that a mode needs (sysctls) are its objects too: recorded with their old values before they
//   are changed, and restored by remove(). One that another process has changed since is left.
// - probe(), open() and leftovers() write nothing: only apply() of a data plane, prepare_node() and remove() do. A
//   kernel module that serving needs may be loaded by probe(), never by leftovers().
// - All calls come from one thread, the one that calls the data planes. None waits for time to pass or for connections
//   to end; callers have the clock. A call takes as long as listing the mode's objects, or one piece's removal.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "dataplane/dataplane.h"
#include "plan/plan.h"

namespace sluice::dataplane {

// The settings with which a data plane of any mode is opened. What only one mode needs (flavour, engine, schedulers,
// timeouts) was passed to its mechanism's constructor.
struct PlaneSettings {
  Family family = Family::kIPv4;
  plan::LocalDetector detector;
  bool localhost_node_ports = false;
  std::vector<IpAddress> api_server_addresses{};  // never served for a Service
};

// Objects of one kind, as text for users: "3 virtual servers", "the device kube-ipvs0".
struct Objects {
  std::string one;        // "virtual server"
  std::string many;       // "virtual servers"; empty if there can be only one, which `one` then names in full
  std::size_t count = 1;  // never 0
  [[nodiscard]] std::string to_string() const;
  friend bool operator==(const Objects&, const Objects&) = default;
};
// Adds to the entry of the same kind, or after all entries.
void add(std::vector<Objects>& to, Objects objects);

// A mechanism's own notes about where the objects are, so that remove() need not list everything again for each piece.
class LeftoverNotes {
 public:
  virtual ~LeftoverNotes() = default;
};

struct Leftovers {
  std::vector<Objects> objects;         // what remove() would remove
  std::vector<std::string> unsure{};    // what may be ours and stays, each with the reason and how to remove it
  std::vector<std::string> problems{};  // what could not be examined, and why
  // Of the kinds that this mode makes, where nothing is on record that it was ever here: others' most likely, and not
  // removed. What a record attributes to others is in none of these lists.
  std::vector<Objects> unrecognised{};
  // Connections that continue through these objects and end when they are removed. A caller may wait until
  // there are none, but no longer than drain_timeout after the mechanism stopped accepting new ones.
  std::uint64_t connections = 0;
  std::chrono::milliseconds drain_timeout{0};
  std::unique_ptr<LeftoverNotes> notes{};  // for the mechanism that made them

  // Nothing of this mode is left, and everything was examined.
  [[nodiscard]] bool none() const { return objects.empty() && unsure.empty() && problems.empty(); }
};

// What one call of remove() did.
struct Removal {
  std::vector<Objects> removed{};
  std::vector<std::string> problems{};  // what this call could not remove, and why
  Leftovers left{};                     // for the next call; without objects when all were tried
};

class Mechanism {
 public:
  virtual ~Mechanism() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;  // "iptables", "ipvs", "nftables"
  // Whether this node can serve the family in this mode. kUnsupported names what is missing;
  // kUnavailable: that could not be found out.
  virtual Result<> probe(Family family) = 0;
  // A data plane that has written nothing yet. It may be opened while another one, of this or of another mechanism,
  // serves the same family.
  virtual Result<std::unique_ptr<DataPlane>> open(const PlaneSettings& settings) = 0;
  // Changes the settings of the node that the mode needs, with their guards, and nothing else: for a process that runs
  // with fewer rights afterwards (--init-only). Otherwise the first apply() of a data plane does.
  virtual Result<> prepare_node(const PlaneSettings&) { return {}; }
  // How the mode is implemented here, as of the last open(): "nft", "legacy", "kernel". Empty before.
  [[nodiscard]] virtual std::string flavour() const = 0;

  // What earlier processes left of this mode, while its data planes serve these families. The call itself does not
  // fail: what could not be examined is in `problems`, the rest is complete.
  virtual Leftovers leftovers(std::span<const Family> serving) = 0;
  // Stops what leftovers() found from taking new connections that the serving planes should get; open ones continue.
  // Called at each look while they end. Returns what could not be done, and why.
  virtual std::vector<std::string> retire(const Leftovers&) { return {}; }
  // Removes the next piece. Each object is tried once: one that is refused is reported and left out of
  // Removal::left, so that it does not keep the others, and calling until no objects are left terminates. One that was
  // removed in the meantime, by any program, is no problem. Called with what leftovers() of this mechanism returned,
  // or with Removal::left, while the same families are served as then.
  virtual Removal remove(Leftovers leftovers) = 0;
};

// Removes piece after piece until nothing more can be done, at once and without waiting for connections.
Removal remove_all(Mechanism& mechanism, Leftovers leftovers);

}  // namespace sluice::dataplane
