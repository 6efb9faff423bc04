// SPDX-License-Identifier: Apache-2.0
// What `sluice status` shows of the engine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "ipvs/ebpf/hooks.h"
#include "ipvs/ebpf/test_traffic.h"

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
  EXPECT_EQ(work().devices, 4U) << "lo, client, server, eth0";
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
  EXPECT_EQ(work().devices, 3U);
  EXPECT_THAT(work().devices_without, ElementsAre("server"));
  // Its blocks are shared, and can only be changed by their numbers.
  run({"ip", "link", "add", "odd0", "type", "bridge"});
  run({"tc", "qdisc", "add", "dev", "odd0", "ingress_block", "7", "egress_block", "8", "clsact"});
  EXPECT_FALSE(engine_->tend());
  EXPECT_THAT(work().devices_without, ElementsAre("server", AllOf(StartsWith("odd0 ("), HasSubstr("shared"))));
  run({"ip", "link", "del", "odd0"});
  ASSERT_TRUE(engine_->tend());
  EXPECT_THAT(work().devices_without, IsEmpty()) << "after a failure every device is looked at";
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
