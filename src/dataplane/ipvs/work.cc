// SPDX-License-Identifier: Apache-2.0
// The order is what keeps traffic going. New real servers are added before old ones are removed, so no virtual server
// is ever empty without need. An address is bound after its virtual server is complete: before, packets to it travel on
// to other nodes or wait, but a local address that nothing serves would refuse them. Large tables are written in
// pieces, so that the Services that all others wait for (the API server's, DNS) do not wait for the last of thousands.
#include "dataplane/ipvs/work.h"

#include <algorithm>
#include <utility>

namespace sluice::dataplane::ipvs {
namespace {

using namespace sluice::ipvs;  // NOLINT(google-build-using-namespace): the names of changes

// Changes of one piece: some ten milliseconds' work for the kernel.
constexpr std::size_t kPieceChanges = 4096;

const RealServer* find_real(const std::vector<RealServer>& sorted, const RealServerKey& key) {
  const auto found = std::lower_bound(sorted.begin(), sorted.end(), key,
                                      [](const RealServer& r, const RealServerKey& k) { return r.key < k; });
  return found != sorted.end() && found->key == key ? &*found : nullptr;
}

bool wants(const RealServers& sorted, const RealServerKey& key) {
  const auto found = std::lower_bound(sorted.begin(), sorted.end(), key,
                                      [](const auto& r, const RealServerKey& k) { return r.first < k; });
  return found != sorted.end() && found->first == key;
}

bool can_drain(const VirtualServerKey& key) {
  return key.protocol == ip_protocol_number(Protocol::kTcp);
}

}  // namespace

LiveVirtualServer as_live(const WantedVirtualServer& wanted) {
  LiveVirtualServer live{wanted.server, {}, false};
  live.real_servers.reserve(wanted.real_servers->size());
  for (const auto& each : *wanted.real_servers) live.real_servers.push_back(to_real_server(each));
  return live;
}

LiveVirtualServer as_live(const VirtualServerState& state) {
  LiveVirtualServer live{state.server, {}, true};
  live.real_servers.reserve(state.real_servers.size());
  for (const RealServerState& each : state.real_servers) live.real_servers.push_back(each.server);
  std::sort(live.real_servers.begin(), live.real_servers.end(),
            [](const RealServer& a, const RealServer& b) { return a.key < b.key; });
  return live;
}

Result<LiveTable> list_live(Engine& engine, Family family) {
  LiveTable table;
  const auto ours = [&](const VirtualServerKey& key) { return key.family == family && key.firewall_mark == 0; };
  SLUICE_CHECK_OK(engine.list(
      ours, [&](const VirtualServerState& state) { table.insert_or_assign(state.server.key, as_live(state)); }));
  return table;
}

void WorkBuilder::drop(const VirtualServerKey& of, const RealServer& live, const WantedVirtualServer& wanted) {
  if (!can_drain(of) || wanted.drain_timeout.count() == 0) {
    drains_.end(of, live.key);
    work_.removals.push_back(RemoveRealServer{of, live.key});
    return;
  }
  if (live.weight != 0) {
    RealServer resting = live;
    resting.weight = 0;
    work_.removals.push_back(EditRealServer{of, resting});
  }
  drains_.begin(of, live.key, now_ + wanted.drain_timeout, now_);
  work_.drained.insert(of);
}

void WorkBuilder::edit(const LiveVirtualServer& live, const WantedVirtualServer& wanted) {
  const VirtualServerKey& key = wanted.server.key;
  if (live.server != wanted.server) put(EditVirtualServer{wanted.server});
  for (const auto& each : *wanted.real_servers) {
    const RealServer server = to_real_server(each);
    const RealServer* there = find_real(live.real_servers, server.key);
    // One that is being drained still exists, at weight 0, though the plan does not list it.
    const bool returns = drains_.end(key, server.key) && !live.complete;
    if (there == nullptr && !returns) {
      put(AddRealServer{key, server});
    } else if (there == nullptr || *there != server) {
      put(EditRealServer{key, server});
    }
  }
  for (const RealServer& server : live.real_servers) {
    if (!wants(*wanted.real_servers, server.key)) drop(key, server, wanted);
  }
}

void WorkBuilder::add(const VirtualServerKey& key, const LiveVirtualServer* live, const WantedVirtualServer* wanted) {
  if (wanted == nullptr) {
    drains_.end_all(key);
    if (live != nullptr) work_.removals.push_back(RemoveVirtualServer{key});
    return;
  }
  if (piece_.changes.size() >= kPieceChanges && key.address != last_address_) end_piece();
  last_address_ = key.address;
  if (live == nullptr) {
    drains_.end_all(key);
    put(AddVirtualServer{wanted->server});
    for (const auto& each : *wanted->real_servers) put(AddRealServer{key, to_real_server(each)});
  } else {
    edit(*live, *wanted);
  }
  if (to_bind_.erase(key.address) > 0) piece_.addresses.push_back(key.address);
}

void WorkBuilder::end_piece() {
  if (piece_.changes.empty() && piece_.addresses.empty()) return;
  work_.pieces.push_back(std::exchange(piece_, {}));
}

Work WorkBuilder::take(std::vector<IpAddress> superfluous) && {
  // Addresses whose virtual servers were already right.
  piece_.addresses.insert(piece_.addresses.end(), to_bind_.begin(), to_bind_.end());
  end_piece();
  work_.superfluous = std::move(superfluous);
  return std::move(work_);
}

}  // namespace sluice::dataplane::ipvs
