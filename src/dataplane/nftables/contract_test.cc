// SPDX-License-Identifier: Apache-2.0
// The data plane under the contract suite, on the real kernel.
#include "dataplane/contract_suite.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "base/ip_literals.h"
#include "dataplane/nftables/test_kernel.h"

namespace sluice::dataplane::nftables {
namespace {

class KernelRig : public PlaneRig {
 public:
  KernelRig() {
    run({"ip", "link", "set", "lo", "up"});
    run({"ip", "address", "add", "192.0.2.1/24", "dev", "lo"});
  }

  std::unique_ptr<DataPlane> open() override { return open_plane(hand_); }

  std::vector<std::string> everything() override {
    std::vector<std::string> lines;
    std::istringstream text(run({"nft", "-n", "list", "ruleset"}));
    for (std::string line; std::getline(text, line);) lines.push_back(line);
    std::sort(lines.begin(), lines.end());
    return lines;
  }

  std::set<std::string> reached_by(const IpAddress& address, std::uint16_t port) override {
    plan::Packet packet;
    packet.from = ip("198.51.100.9");
    packet.interface = "eth0";
    packet.to = address;
    packet.port = port;
    RuleMachine machine = machine_of_kernel(Family::kIPv4);
    std::set<std::string> reached;
    for (const Ending& ending : machine.endings(packet)) {
      if (ending.kind == Ending::Kind::kTranslated) reached.insert(ending.target);
    }
    return reached;
  }

  // The table of kube-proxy, and one that hooks in before us.
  void add_foreign_objects() override {
    run({"nft", "-f", "-"},
        "table ip kube-proxy {\n"
        "  map service-ips {\n type ipv4_addr . inet_proto . inet_service : verdict\n }\n"
        "  chain services {\n ip daddr . meta l4proto . th dport vmap @service-ips\n }\n"
        "  chain nat-prerouting {\n type nat hook prerouting priority dstnat; jump services\n }\n"
        "}\n"
        "table inet firewall {\n"
        "  chain forward {\n type filter hook forward priority 0; ip saddr 198.51.100.0/24 drop\n }\n"
        "}\n");
    foreign_ = foreign();
  }
  bool foreign_objects_stand() override { return foreign() == foreign_; }

  void others_act() override { change_another_table(); }
  void damage() override { run({"nft", "flush", "chain", "ip", kTableName, kServicesChain}); }
  // Where node ports are served comes with each apply(); no other address matters.
  bool change_node() override {
    run({"ip", "address", "add", fmt::format("192.0.2.{}/24", ++last_address_), "dev", "lo"});
    return false;
  }

  void refuse(model::Service& service) override {
    const auto bytes = service.cluster_ips.front().bytes();
    hand_.refusal =
        [bytes = std::vector<char>(bytes.begin(), bytes.end())](const sys::NftBatch& batch) -> std::optional<Error> {
      const auto data = batch.bytes();
      const bool holds = std::search(data.begin(), data.end(), bytes.begin(), bytes.end()) != data.end();
      if (!holds) return std::nullopt;
      return Error{Errc::kUnsupported, "nftables: not supported", EOPNOTSUPP};
    };
  }
  void let_in(model::Service&) override {
    hand_.refusal = [](const auto&) { return std::nullopt; };
  }
  void end_process_after(std::size_t changes) override { hand_.commits_left = changes; }

 private:
  static std::string foreign() {
    return run({"nft", "list", "table", "ip", "kube-proxy"}) + run({"nft", "list", "table", "inet", "firewall"});
  }

  Hand hand_;
  std::string foreign_;
  int last_address_ = 1;
};

INSTANTIATE_TEST_SUITE_P(Nftables, PlaneContract,
                         testing::Values(PlaneUnderTest{"nftables",
                                                        [](const std::function<void(PlaneRig&)>& body) {
                                                          in_fresh_netns([&] {
                                                            KernelRig rig;
                                                            body(rig);
                                                          });
                                                        }}),
                         plane_name);

}  // namespace
}  // namespace sluice::dataplane::nftables
