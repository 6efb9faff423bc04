// SPDX-License-Identifier: Apache-2.0
// What `sluice status` shows of the engine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "ipvs/ebpf/hooks.h"
#include "ipvs/ebpf/test_traffic.h"
#include "sys/bpf_place.h"

namespace sluice::ipvs::ebpf {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

class Work : public Traffic {
 protected:
  EngineWork work() {
    const auto shown = engine_->work();
    EXPECT_TRUE(shown && *shown) << (shown ? "none" : shown.error().what);
    return shown && *shown ? **shown : EngineWork{};
  }
  std::uint64_t dropped(std::string_view reason) {
    for (const auto& [each, packets] : work().dropped) {
      if (each == reason) return packets;
    }
    ADD_FAILURE() << "no reason " << reason;
    return 0;
  }

  const VirtualServerKey kKey = VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.1"), 53);
};

TEST_F(Work, CountsConnectionsDevicesAndDroppedPackets) {
  ASSERT_TRUE(engine_->work());
  EXPECT_FALSE(*engine_->work()) << "it has made nothing yet";
  const VirtualServerKey direct = VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.1"), 54);
  RealServer real = masqueraded("10.2.0.1", 54);
  real.method = ForwardMethod::kDirectRoute;
  serve(kKey, "rr", {masqueraded("10.2.0.1", 5353)});
  serve(direct, "rr", {real});
  EXPECT_EQ(work().connections, 0U);
  EXPECT_EQ(work().connections_max, 1U << 20);
  EXPECT_EQ(work().devices, sys::list_devices()->size());
  EXPECT_THAT(work().devices_without, IsEmpty());
  EXPECT_EQ(dropped("forward_method"), 0U);
  const UniqueFd server = receiver({ip("10.2.0.1"), 5353});
  UniqueFd client;
  net_.as_client([&] { client = bound_socket(SOCK_DGRAM, {ip("10.1.0.1"), 4001}); });
  // Dropped before the other is received: both take the same way.
  send_to(client, "for nobody", {direct.address, direct.port});
  send_to(client, "for one", {kKey.address, kKey.port});
  EXPECT_EQ(receive(server).text, "for one");
  EXPECT_EQ(work().connections, 1U);
  for (int i = 0; i < kTestPatience_s * 100 && dropped("forward_method") == 0; ++i) ::usleep(10000);
  EXPECT_EQ(dropped("forward_method"), 1U);
}

TEST_F(Work, NamesTheDevicesThatHaveNotTheProgramsWithTheReason) {
  serve(kKey, "rr", {masqueraded("10.2.0.1", 5353)});
  run({"tc", "filter", "del", "dev", "server", "egress"});
  EXPECT_EQ(work().devices, sys::list_devices()->size() - 1);
  EXPECT_THAT(work().devices_without, ElementsAre("server"));
  // Its blocks are shared, and can only be changed by their numbers.
  run({"ip", "link", "add", "odd0", "type", "bridge"});
  run({"tc", "qdisc", "add", "dev", "odd0", "ingress_block", "7", "egress_block", "8", "clsact"});
  run({"ip", "link", "add", "even0", "type", "bridge"});
  const auto tended = engine_->tend();
  ASSERT_TRUE(tended) << tended.error().what;
  const auto odd = AllOf(StartsWith("odd0 ("), HasSubstr("shared"));
  EXPECT_THAT(work().devices_without, ElementsAre("server", odd)) << "the others get theirs";
  EXPECT_THAT(engine_->take_complaints(), ElementsAre(AllOf(StartsWith("device odd0 "), HasSubstr("shared"))));
  EXPECT_TRUE(*engine_->tend());
  EXPECT_THAT(engine_->take_complaints(), IsEmpty());
  // What comes later has to replace all, and is not kept from it.
  const auto written = engine_->service_rules()->replace({.family = Family::kIPv4}, {});
  ASSERT_TRUE(written) << written.error().what;
  EXPECT_THAT(work().devices_without, ElementsAre(odd));
  EXPECT_TRUE(*engine_->service_rules()->intact({.family = Family::kIPv4}));
  // No message of the kernel reports this.
  run({"tc", "qdisc", "del", "dev", "odd0", "clsact"});
  for (int i = 0; i < kTestPatience_s * 100 && !work().devices_without.empty(); ++i) {
    ASSERT_TRUE(engine_->tend());
    ::usleep(10000);
  }
  EXPECT_THAT(work().devices_without, IsEmpty());
}

// As the plugin "bandwidth" of the CNI makes it on a pod's device.
TEST_F(Work, ADeviceWithoutAHookForEgressKeepsTheProgramForIngress) {
  run({"ip", "link", "add", "odd0", "type", "bridge"});
  run({"tc", "qdisc", "add", "dev", "odd0", "ingress"});
  serve(kKey, "rr", {masqueraded("10.2.0.1", 5353)});
  const std::string at_ingress = run({"tc", "filter", "show", "dev", "odd0", "ingress"});
  EXPECT_THAT(at_ingress, HasSubstr("sluice_ingress"));
  EXPECT_THAT(work().devices_without, ElementsAre(AllOf(StartsWith("odd0 ("), HasSubstr("egress"))));
  const auto written = engine_->service_rules()->replace({.family = Family::kIPv4}, {});
  ASSERT_TRUE(written) << written.error().what;
  EXPECT_EQ(run({"tc", "filter", "show", "dev", "odd0", "ingress"}), at_ingress);
  EXPECT_TRUE(*engine_->service_rules()->intact({.family = Family::kIPv4}));
  ASSERT_TRUE(EbpfEngine::remove());
  EXPECT_EQ(run({"tc", "filter", "show", "dev", "odd0", "ingress"}), "");
}

TEST_F(Work, IsShownWithoutDevicesWhereProgramsAreMissing) {
  serve(kKey, "rr", {masqueraded("10.2.0.1", 5353)});
  ASSERT_EQ(::unlink((pins() + "/sluice_ingress").c_str()), 0);
  EXPECT_EQ(work().connections_max, 1U << 20);
  EXPECT_THAT(work().devices_unknown, HasSubstr("sluice_ingress"));
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
