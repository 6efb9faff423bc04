// SPDX-License-Identifier: Apache-2.0
#include "daemon/waits.h"

#include <fmt/format.h>

#include <utility>

namespace sluice::daemon {

std::vector<view::Wait> waits_of(const kube::Source& source, const NodeGate& gate) {
  std::vector<view::Wait> waits;
  for (kube::Waiting& each : source.waiting()) {
    std::string why = std::exchange(each.reason, "");
    waits.push_back({each.words(), std::move(why), each.since});
  }
  if (!waits.empty()) return waits;
  if (auto waiting = gate.waiting()) waits.push_back({std::move(waiting->what), "", waiting->since});
  return waits;
}

std::string why_node_is_unknown(const kube::Source& source, const std::string& source_words,
                                const std::string& node_name) {
  std::string why;
  for (const kube::Waiting& each : source.waiting()) why += (why.empty() ? "" : "; ") + each.words();
  return why.empty() ? fmt::format("no Node \"{}\" is known from {}", node_name, source_words) : "waiting for " + why;
}

}  // namespace sluice::daemon
