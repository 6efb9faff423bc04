// SPDX-License-Identifier: Apache-2.0
// Derives from what is live and what is wanted what must be done, in order. Pure except for the drains, which it begins
// and ends.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/clock.h"
#include "dataplane/ipvs/drain.h"
#include "dataplane/ipvs/wanted.h"
#include "ipvs/change.h"
#include "ipvs/engine.h"

namespace sluice::dataplane::ipvs {

using TableChange = sluice::ipvs::Change;

// A virtual server as it is in the kernel, or as it is known to be. Its real servers are sorted by key.
struct LiveVirtualServer {
  VirtualServer server;
  std::vector<RealServer> real_servers;
  bool complete = false;  // read from the kernel, so that drained ones are included
};
LiveVirtualServer as_live(const WantedVirtualServer& wanted);
LiveVirtualServer as_live(const sluice::ipvs::VirtualServerState& state);
using LiveTable = std::map<VirtualServerKey, LiveVirtualServer>;
// The family's virtual servers without those of firewall marks, which are never ours.
Result<LiveTable> list_live(sluice::ipvs::Engine& engine, Family family);

// A part of the work, done before the next one begins: so the first Services are served while the last ones are still
// waiting.
struct Piece {
  std::vector<TableChange> changes;  // add, or edit in place
  std::vector<IpAddress> addresses;  // to bind after that
};

struct Work {
  std::vector<Piece> pieces;
  std::vector<TableChange> removals;   // weights of 0, and what is removed at once
  std::set<VirtualServerKey> drained;  // where a drain began: it may have no connections
  std::vector<IpAddress> superfluous;  // addresses to unbind
};

class WorkBuilder {
 public:
  // `to_bind` are the addresses that are wanted and not bound yet.
  WorkBuilder(Drains& drains, Clock::SteadyTime now, std::set<IpAddress> to_bind)
      : drains_(drains), now_(now), to_bind_(std::move(to_bind)) {}

  // Makes `live` (null: there is none) what is `wanted` (null: nothing). In the order in which they must be served,
  // those of one address after each other; removals at any time.
  void add(const VirtualServerKey& key, const LiveVirtualServer* live, const WantedVirtualServer* wanted);
  // What follows must wait until everything before is done.
  void end_piece();
  Work take(std::vector<IpAddress> superfluous) &&;

 private:
  void edit(const LiveVirtualServer& live, const WantedVirtualServer& wanted);
  void drop(const VirtualServerKey& of, const RealServer& live, const WantedVirtualServer& wanted);
  void put(TableChange change) { piece_.changes.push_back(std::move(change)); }

  Drains& drains_;
  Clock::SteadyTime now_;
  std::set<IpAddress> to_bind_;
  Piece piece_;
  IpAddress last_address_;
  Work work_;
};

}  // namespace sluice::dataplane::ipvs
