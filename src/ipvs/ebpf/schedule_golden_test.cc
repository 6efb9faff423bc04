// SPDX-License-Identifier: Apache-2.0
// What the kernel chose: 129 histories of real servers and connections, recorded from ip_vs of Linux 7.2.7
// (test/golden/sched), are played again, and every choice and every count has to be the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "base/test_paths.h"
#include "ipvs/ebpf/test_director.h"

namespace sluice::ipvs::ebpf {
namespace {

// The files hold one step in each line, so a line is read for the fields that it is known to have.
std::string field(const std::string& line, const std::string& name) {
  const std::size_t at = line.find("\"" + name + "\": ");
  if (at == std::string::npos) return "";
  std::size_t from = at + name.size() + 4;
  if (line[from] == '"') return line.substr(from + 1, line.find('"', from + 1) - from - 1);
  return line.substr(from, line.find_first_of(",}]\n", from) - from);
}

std::uint32_t number(const std::string& line, const std::string& name) {
  const std::string text = field(line, name);
  std::uint32_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

struct End {
  IpAddress address;
  std::uint16_t port = 0;
};

End end_of(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  std::string address = text.substr(0, colon);
  if (address.front() == '[') address = address.substr(1, address.size() - 2);
  return {IpAddress::parse(address).value_or(IpAddress{}),
          static_cast<std::uint16_t>(std::stoul(text.substr(colon + 1)))};
}

unsigned prefix_of(const std::string& mask) {
  if (mask.empty()) return 32;
  const auto address = IpAddress::parse(mask);
  unsigned bits = 0;
  for (const std::uint8_t byte : address->bytes()) bits += static_cast<unsigned>(__builtin_popcount(byte));
  return bits;
}

class History {
 public:
  explicit History(const std::filesystem::path& path) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
      if (line.find("\"op\": ") != std::string::npos) {
        steps_.push_back(line);
      } else {
        head_ += line + "\n";
      }
    }
  }

  void play() {
    std::uint32_t flags = 0;
    if (head_.find("-fallback\"") != std::string::npos) flags |= SLUICE_SCHED_FALLBACK;
    if (head_.find("-port\"") != std::string::npos) flags |= SLUICE_SCHED_PORT;
    const auto scheduler = scheduler_number(field(head_, "scheduler"));
    ASSERT_TRUE(scheduler) << head_;
    TestDirector director(*scheduler, flags);
    if (!field(head_, "persistent").empty()) director.make_persistent(prefix_of(field(head_, "netmask")));
    ASSERT_FALSE(steps_.empty());
    for (const std::string& step : steps_) {
      SCOPED_TRACE(step);
      this->step(director, step);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  [[nodiscard]] std::size_t opens() const { return opens_; }

 private:
  void step(TestDirector& director, const std::string& line) {
    const std::string op = field(line, "op");
    if (op == "add_dest" || op == "edit_dest") {
      const End end = end_of(field(line, "real"));
      const TestReal real{end.address, end.port, static_cast<std::int32_t>(number(line, "weight")), number(line, "u"),
                          number(line, "l")};
      if (op == "add_dest") {
        reals_[director.add(real)] = field(line, "real");
      } else {
        director.edit(id_of(field(line, "real")), real);
      }
    } else if (op == "del_dest") {
      director.remove(id_of(field(line, "real")));
    } else if (op == "set_sched") {
      director.set_scheduler(*scheduler_number(field(line, "scheduler")));
    } else if (op == "open") {
      open(director, line);
    } else if (op == "close") {
      director.turn_inactive(connections_.at(field(line, "id")));
    } else if (op == "counts") {
      counts(director, line);
    } else {
      FAIL() << "a step that this test does not know";
    }
  }

  std::uint32_t id_of(const std::string& real) const {
    const auto found =
        std::find_if(reals_.begin(), reals_.end(), [&](const auto& each) { return each.second == real; });
    return found == reals_.end() ? 0 : found->first;
  }

  void open(TestDirector& director, const std::string& line) {
    ++opens_;
    const std::string vip = field(line, "vip").empty() ? field(head_, "vip") : field(line, "vip");
    const TestFlow flow{*IpAddress::parse(field(line, "src")), static_cast<std::uint16_t>(number(line, "sport")),
                        *IpAddress::parse(vip), field(head_, "proto") == "tcp", field(head_, "ops") == "true"};
    const std::uint32_t id = director.open(flow);
    std::string pick = id == 0 ? "null" : reals_.at(id);
    // A real server without a port takes the connection on the port that the client asked for.
    if (pick.ends_with(":0")) pick = pick.substr(0, pick.size() - 1) + field(head_, "vport");
    ASSERT_EQ(pick, field(line, "pick"));
    connections_[field(line, "id")] = id;
  }

  void counts(const TestDirector& director, const std::string& line) {
    std::size_t compared = 0;
    for (const auto& [id, real] : reals_) {
      const std::size_t at = line.find("\"" + real + "\": [");
      if (at == std::string::npos) continue;
      const sluice_cell& cell = director.cell(id);
      const auto total = static_cast<std::uint32_t>(cell.load);
      const auto active = static_cast<std::uint32_t>(cell.load >> 32);
      std::ostringstream got;
      got << "[" << cell.weight << ", " << active << ", " << total - active << "]";
      const std::size_t from = at + real.size() + 4;
      EXPECT_EQ(got.str(), line.substr(from, line.find(']', from) - from + 1)) << real;
      ++compared;
    }
    std::size_t recorded = 0;
    for (std::size_t at = line.find("\": ["); at != std::string::npos; at = line.find("\": [", at + 1)) ++recorded;
    EXPECT_EQ(compared, recorded);
  }

  std::string head_;
  std::vector<std::string> steps_;
  std::map<std::uint32_t, std::string> reals_;
  std::map<std::string, std::uint32_t> connections_;
  std::size_t opens_ = 0;
};

TEST(ScheduleGolden, EveryRecordedHistoryGivesTheSameChoices) {
  std::size_t files = 0;
  std::size_t opens = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source_path("test/golden/sched"))) {
    if (entry.path().extension() != ".json") continue;
    SCOPED_TRACE(entry.path().filename().string());
    History history(entry.path());
    history.play();
    ++files;
    opens += history.opens();
  }
  EXPECT_EQ(files, 129U);
  EXPECT_EQ(opens, 2954U);
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
