// SPDX-License-Identifier: Apache-2.0
// Which real servers are being drained, until when, and when to check them again. Only a schedule; it makes no
// calls.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "ipvs/real_server.h"
#include "ipvs/virtual_server.h"

namespace sluice::dataplane::ipvs {

class Drains {
 public:
  using Time = Clock::SteadyTime;
  // Between two checks of one virtual server: the first interval, doubled each time, and the largest.
  static constexpr std::chrono::milliseconds kIntervalMin{1'000};
  static constexpr std::chrono::milliseconds kIntervalMax{16'000};

  // A drain that has already begun keeps its deadline.
  void begin(const sluice::ipvs::VirtualServerKey& of, const sluice::ipvs::RealServerKey& real_server, Time deadline,
             Time now);
  // Returns whether it was being drained.
  bool end(const sluice::ipvs::VirtualServerKey& of, const sluice::ipvs::RealServerKey& real_server);
  void end_all(const sluice::ipvs::VirtualServerKey& of);
  // Ends those of virtual servers for which `keep` returns false.
  template <typename Keep>
  void end_unless(Keep keep) {
    std::erase_if(drains_, [&](const auto& entry) { return !keep(entry.first); });
  }

  [[nodiscard]] std::optional<Time> deadline(const sluice::ipvs::VirtualServerKey& of,
                                             const sluice::ipvs::RealServerKey& real_server) const;
  [[nodiscard]] bool contains(const sluice::ipvs::VirtualServerKey& of,
                              const sluice::ipvs::RealServerKey& real_server) const {
    return deadline(of, real_server).has_value();
  }
  // Its real servers that are being drained, with their deadlines.
  [[nodiscard]] std::map<sluice::ipvs::RealServerKey, Time> of(const sluice::ipvs::VirtualServerKey& key) const;
  // The virtual servers to check now, and when the next one is due.
  [[nodiscard]] std::vector<sluice::ipvs::VirtualServerKey> due(Time now) const;
  [[nodiscard]] std::optional<Time> next() const;
  // It was checked: the next check is later, but not later than its next deadline.
  void looked_at(const sluice::ipvs::VirtualServerKey& of, Time now);
  [[nodiscard]] std::size_t size() const;

 private:
  struct OfVirtualServer {
    std::map<sluice::ipvs::RealServerKey, Time> deadlines;
    std::chrono::milliseconds interval = kIntervalMin;
    Time next{};
  };
  std::map<sluice::ipvs::VirtualServerKey, OfVirtualServer> drains_;
};

}  // namespace sluice::dataplane::ipvs
