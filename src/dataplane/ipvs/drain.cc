// SPDX-License-Identifier: Apache-2.0
// A real server that is no longer wanted may still have connections. Weight 0 keeps those and accepts no new ones;
// it must later be removed, when its connections have ended or their time is over. kube-proxy checks
// once a minute and waits forever. Here the first check is after a second, since most connections are short, and the
// later ones at growing intervals, since what has not ended in a minute will last; each check costs one request per
// virtual server, however many of its real servers are drained.
#include "dataplane/ipvs/drain.h"

#include <algorithm>

namespace sluice::dataplane::ipvs {

using sluice::ipvs::RealServerKey;
using sluice::ipvs::VirtualServerKey;

void Drains::begin(const VirtualServerKey& of, const RealServerKey& real_server, Time deadline, Time now) {
  OfVirtualServer& drains = drains_[of];
  if (!drains.deadlines.emplace(real_server, deadline).second) return;
  drains.interval = kIntervalMin;
  drains.next = std::min(now + kIntervalMin, deadline);
}

bool Drains::end(const VirtualServerKey& of, const RealServerKey& real_server) {
  const auto drains = drains_.find(of);
  if (drains == drains_.end() || drains->second.deadlines.erase(real_server) == 0) return false;
  if (drains->second.deadlines.empty()) drains_.erase(drains);
  return true;
}

void Drains::end_all(const VirtualServerKey& of) {
  drains_.erase(of);
}

std::optional<Drains::Time> Drains::deadline(const VirtualServerKey& of, const RealServerKey& real_server) const {
  const auto drains = drains_.find(of);
  if (drains == drains_.end()) return std::nullopt;
  const auto found = drains->second.deadlines.find(real_server);
  if (found == drains->second.deadlines.end()) return std::nullopt;
  return found->second;
}

std::map<RealServerKey, Drains::Time> Drains::of(const VirtualServerKey& key) const {
  const auto drains = drains_.find(key);
  return drains == drains_.end() ? std::map<RealServerKey, Time>() : drains->second.deadlines;
}

std::vector<VirtualServerKey> Drains::due(Time now) const {
  std::vector<VirtualServerKey> keys;
  for (const auto& [key, drains] : drains_) {
    if (drains.next <= now) keys.push_back(key);
  }
  return keys;
}

std::optional<Drains::Time> Drains::next() const {
  std::optional<Time> next;
  for (const auto& [key, drains] : drains_) next = next ? std::min(*next, drains.next) : drains.next;
  return next;
}

void Drains::looked_at(const VirtualServerKey& of, Time now) {
  const auto found = drains_.find(of);
  if (found == drains_.end()) return;
  OfVirtualServer& drains = found->second;
  drains.interval = std::min(2 * drains.interval, kIntervalMax);
  drains.next = now + drains.interval;
  for (const auto& [key, deadline] : drains.deadlines)
    drains.next = std::min(drains.next, std::max(deadline, now + kIntervalMin));
}

std::size_t Drains::size() const {
  std::size_t count = 0;
  for (const auto& [key, drains] : drains_) count += drains.deadlines.size();
  return count;
}

}  // namespace sluice::dataplane::ipvs
