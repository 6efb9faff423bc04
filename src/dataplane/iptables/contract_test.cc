// SPDX-License-Identifier: Apache-2.0
// The data plane under the contract suite, on the real kernel and with the real programs, in both flavours.
#include "dataplane/contract_suite.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <map>
#include <optional>

#include "dataplane/iptables/iptables_data_plane.h"
#include "dataplane/iptables/test_netns.h"
#include "dataplane/iptables/test_programs.h"

namespace sluice::dataplane::iptables {
namespace {

class KernelRig : public PlaneRig {
 public:
  explicit KernelRig(const std::string& flavour) : flavour_(flavour), tool_(tool_for(Family::kIPv4, flavour)) {
    run({"ip", "link", "set", "lo", "up"});
    run({"ip", "address", "add", "192.0.2.1/24", "dev", "lo"});
    // Some of the tables appear when they are first read.
    for (const char* table : {"nat", "filter", "mangle"}) run({tool_.command, "-t", table, "-S"});
  }

  std::unique_ptr<DataPlane> open() override {
    Options options;
    options.flavour = flavour_named(flavour_);
    auto plane = IptablesDataPlane::open(options);
    if (!plane) {
      ADD_FAILURE() << plane.error().what;
      std::abort();
    }
    return *std::move(plane);
  }
  std::vector<std::string> everything() override { return saved_lines(tool_); }

  std::set<std::string> reached_by(const IpAddress& address, std::uint16_t port) override {
    std::map<std::string, std::vector<std::string>> chains;  // of nat
    for (const std::string& line : saved_lines(tool_)) {
      if (!line.starts_with("nat -A ")) continue;
      const std::size_t end = line.find(' ', 7);
      chains[line.substr(7, end - 7)].push_back(line.substr(end) + " ");
    }
    std::set<std::string> reached;
    const auto walk = [&](const auto& self, const std::string& chain) -> void {
      for (const std::string& rule : chains[chain]) {
        if (rule.find(" --dport ") != std::string::npos &&
            (rule.find(fmt::format(" -d {}/32 ", address.to_string())) == std::string::npos ||
             rule.find(fmt::format(" --dport {} ", port)) == std::string::npos)) {
          continue;
        }
        if (const std::string to = after(rule, " --to-destination "); !to.empty()) reached.insert(to);
        if (const std::string jump = after(rule, " -j KUBE-"); !jump.empty()) self(self, "KUBE-" + jump);
      }
    };
    walk(walk, "PREROUTING");
    return reached;
  }

  void add_foreign_objects() override {
    run({tool_.command, "-w", "5", "-t", "nat", "-N", "MY-SERVICES"});
    run({tool_.command, "-w", "5", "-t", "nat", "-A", "MY-SERVICES", "-d", "10.96.0.1/32", "-j", "RETURN"});
    run({tool_.command, "-w", "5", "-t", "nat", "-A", "PREROUTING", "-j", "MY-SERVICES"});
    run({tool_.command, "-w", "5", "-A", "FORWARD", "-s", "198.51.100.0/24", "-j", "DROP"});
  }
  bool foreign_objects_stand() override {
    const auto lines = saved_lines(tool_);
    return lines_with(lines, "nat -A MY-SERVICES -d 10.96.0.1/32 -j RETURN").size() == 1 &&
           lines_with(lines, "nat -A PREROUTING -j MY-SERVICES").size() == 1 &&
           lines_with(lines, "filter -A FORWARD -s 198.51.100.0/24 -j DROP").size() == 1;
  }
  void damage() override { run({tool_.command, "-w", "5", "-t", "nat", "-F"}); }
  // Where node ports are served is given with each apply(); no other address matters.
  bool change_node() override {
    run({"ip", "address", "add", fmt::format("192.0.2.{}/24", ++last_address_), "dev", "lo"});
    return false;
  }

  void refuse(model::Service& service) override { service.affinity_seconds = 0; }  // xt_recent takes 1 and more
  void let_in(model::Service& service) override { service.affinity_seconds.reset(); }

  // Another program's chain that jumps to the Service's.
  bool hold(const model::Service& service) override {
    run({tool_.command, "-w", "5", "-t", "nat", "-N", "MY-HOLD"});
    const std::string address = fmt::format(" -d {}/32 ", service.cluster_ips.front().to_string());
    for (const std::string& line : lines_with(saved_lines(tool_), address)) {
      const std::string chain = after(line, " -j KUBE-SVC-");
      if (line.starts_with("nat -A KUBE-SERVICES ") && !chain.empty())
        run({tool_.command, "-w", "5", "-t", "nat", "-A", "MY-HOLD", "-j", "KUBE-SVC-" + chain});
    }
    EXPECT_THAT(lines_with(saved_lines(tool_), "nat -A MY-HOLD"), testing::SizeIs(1));
    return true;
  }
  void let_go() override { run({tool_.command, "-w", "5", "-t", "nat", "-F", "MY-HOLD"}); }

  // A restore program of its own, which commits so many blocks and dies.
  void end_process_after(std::size_t changes) override {
    programs_.reset();
    if (changes == kNever) return;
    programs_.emplace(false);
    const std::string name = tool_.restore.substr(tool_.restore.rfind('/') + 1);
    programs_->add(name,
                   fmt::format("awk '/^\\*/ && n == {0} {{ exit }} {{ print }} /^COMMIT/ {{ n++ }}' > \"{1}/in\"\n"
                               "blocks=$(grep -c ^COMMIT \"{1}/in\")\n"
                               "PATH=${{PATH#*:}} {2} \"$@\" < \"{1}/in\" || exit\n"
                               "[ \"$blocks\" -lt {0} ]",
                               changes, programs_->folder(), name));
  }

 private:
  static std::string after(const std::string& rule, std::string_view mark) {
    const std::size_t at = rule.find(mark);
    if (at == std::string::npos) return "";
    const std::size_t begin = at + mark.size();
    return rule.substr(begin, rule.find(' ', begin) - begin);
  }

  std::string flavour_;
  Tool tool_;
  std::optional<Programs> programs_;
  int last_address_ = 1;
};

PlaneUnderTest on_kernel(const std::string& flavour) {
  return {flavour, [flavour](const std::function<void(PlaneRig&)>& body) {
            in_fresh_netns([&] {
              KernelRig rig(flavour);
              body(rig);
            });
          }};
}

INSTANTIATE_TEST_SUITE_P(Iptables, PlaneContract, testing::Values(on_kernel("nft"), on_kernel("legacy")), plane_name);

}  // namespace
}  // namespace sluice::dataplane::iptables
