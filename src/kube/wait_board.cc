// SPDX-License-Identifier: Apache-2.0
// Three reflectors use one API server. When it is down all three report it, each with its own text; users want to
// read it once.
#include "kube/wait_board.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sluice::kube {

std::string Waiting::words() const {
  std::string noun;
  switch (what) {
    case WaitsFor::kFolder:
      noun = "folder " + name;
      break;
    case WaitsFor::kServer:
      noun = "API server " + name;
      break;
    case WaitsFor::kObjects:
      noun = fmt::format("the list of {}s", name);
      break;
    case WaitsFor::kNode:
      noun = fmt::format("Node \"{}\"", name);
      break;
  }
  return reason.empty() ? noun : noun + ": " + reason;
}

void WaitBoard::wait(const std::string& who, WaitsFor what, const std::string& name, const std::string& reason) {
  const MutexLock lock(mutex_);
  Entry& entry = entries_[who];
  const bool same = entry.reported > 0 && entry.waiting.what == what && entry.waiting.name == name;
  if (!same) entry.waiting = {what, name, {}, clock_.wall_now()};
  entry.waiting.reason = reason;
  entry.reported = ++reported_;
}

void WaitBoard::done(const std::string& who) {
  const MutexLock lock(mutex_);
  entries_.erase(who);
}

std::vector<Waiting> WaitBoard::list() const {
  std::map<std::pair<WaitsFor, std::string>, Entry> merged;
  {
    const MutexLock lock(mutex_);
    for (const auto& [who, entry] : entries_) {
      const auto [at, first] = merged.try_emplace({entry.waiting.what, entry.waiting.name}, entry);
      if (first) continue;
      Entry& known = at->second;
      const auto since = std::min(known.waiting.since, entry.waiting.since);
      if (entry.reported > known.reported) known = entry;
      known.waiting.since = since;
    }
  }
  std::vector<Waiting> result;
  for (auto& [key, entry] : merged) result.push_back(std::move(entry.waiting));
  return result;
}

}  // namespace sluice::kube
