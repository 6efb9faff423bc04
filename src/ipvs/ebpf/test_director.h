// SPDX-License-Identifier: Apache-2.0
// For tests: a virtual server without packets. It keeps what the engine and its BPF programs keep (views, cells, the
// cursor, templates, destinations) and does with it what they do, so that a history of changes and connections can be
// played and each choice be seen.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "base/ip.h"
#include "bpf/shared/view.h"
#include "ipvs/ebpf/view.h"

namespace sluice::ipvs::ebpf {

struct TestReal {
  IpAddress address;
  std::uint16_t port = 0;
  std::int32_t weight = 1;
  std::uint32_t upper = 0;
  std::uint32_t lower = 0;
};

struct TestFlow {
  IpAddress client;
  std::uint16_t client_port = 0;
  IpAddress destination;
  bool active = true;  // a TCP connection is, a UDP one is not
  bool one_packet = false;
};

class TestDirector {
 public:
  TestDirector(std::uint32_t scheduler, std::uint32_t flags);
  // Ids are given in the order of first coming; one that was removed and comes again has its old id.
  std::uint32_t add(const TestReal& real);
  void edit(std::uint32_t id, const TestReal& real);
  void remove(std::uint32_t id);
  void set_scheduler(std::uint32_t scheduler);
  void make_persistent(unsigned prefix_length) { persistent_ = true, prefix_length_ = prefix_length; }

  // The real server, counted, or 0.
  std::uint32_t open(const TestFlow& flow);
  // The connection is no longer active, but is still in the table.
  void turn_inactive(std::uint32_t id);
  // It is gone from the table.
  void expire(std::uint32_t id, bool active);

  [[nodiscard]] const sluice_cell& cell(std::uint32_t id) const { return cells_[id]; }
  [[nodiscard]] const std::vector<ViewMember>& members() const { return members_; }  // the newest first
  [[nodiscard]] std::uint64_t cursor() const { return cursor_; }

 private:
  std::uint32_t choose(const TestFlow& flow);
  const sluice_view& publish();
  [[nodiscard]] std::size_t position_of(std::uint32_t id) const;
  void set_settings(std::uint32_t id, const TestReal& real);

  std::uint32_t scheduler_;
  std::uint32_t flags_;
  bool persistent_ = false;
  unsigned prefix_length_ = 32;
  std::vector<ViewMember> members_;
  std::vector<sluice_cell> cells_{1};
  std::map<std::uint32_t, std::int32_t> last_weights_;
  std::map<std::pair<IpAddress, std::uint16_t>, std::uint32_t> ids_;
  std::vector<sluice_line> lines_{1};
  __u64 cursor_ = 0;
  std::uint32_t generation_ = 0;
  std::map<IpAddress, std::uint32_t> templates_;      // by client network
  std::map<IpAddress, std::uint32_t> remembered_;     // lblc
  std::map<IpAddress, sluice_destination_set> sets_;  // lblcr
};

std::uint32_t address_word(const IpAddress& address);

}  // namespace sluice::ipvs::ebpf
