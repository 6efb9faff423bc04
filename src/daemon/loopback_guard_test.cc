// SPDX-License-Identifier: Apache-2.0
// Listeners on 127.0.0.1 are only for the node. Mode iptables opens them (route_localnet) and guards them; a neighbour
// must not get through in any mode, at any step of a change, nor after everything is removed (CVE-2020-8558).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "daemon/cleanup.h"
#include "daemon/mechanisms.h"
#include "daemon/test_neighbour.h"
#include "dataplane/iptables/iptables_mechanism.h"
#include "sys/sysctl.h"
#include "sys/test_netns.h"

namespace sluice::daemon {
namespace {

using dataplane::iptables::kRouteLocalnet;

class LoopbackGuardTest : public testing::TestWithParam<const char*> {
 protected:
  LoopbackGuardTest() {
    char name[] = "/tmp/sluice-loopback-XXXXXX";
    sluice_.data_dir = ::mkdtemp(name);
    sluice_.iptables.flavour =
        GetParam() == std::string("legacy") ? config::IptablesFlavour::kLegacy : config::IptablesFlavour::kNft;
  }
  ~LoopbackGuardTest() override { std::filesystem::remove_all(sluice_.data_dir); }

  static std::string setting() {
    const auto value = sys::read_sysctl(kRouteLocalnet);
    return value ? *value : value.error().what;
  }
  static void serve(dataplane::Mechanism& mechanism, bool localhost = true) {
    const auto plane = mechanism.open({.family = Family::kIPv4, .detector = {}, .localhost_node_ports = localhost});
    ASSERT_TRUE(plane) << plane.error().what;
    dataplane::Changes nothing;
    nothing.full = true;
    const auto applied = (*plane)->apply(nothing);
    ASSERT_TRUE(applied) << applied.error().what;
  }
  [[nodiscard]] dataplane::Mechanism& iptables(const Mechanisms& mechanisms) const {
    return **mechanism_named(mechanisms, "iptables");
  }
  static dataplane::iptables::Flavour flavour() {
    using dataplane::iptables::Flavour;
    return GetParam() == std::string("legacy") ? Flavour::kLegacy : Flavour::kNft;
  }
  config::SluiceConfig sluice_;
};

TEST_P(LoopbackGuardTest, WithoutAGuardTheNeighbourGetsThrough) {
  in_fresh_netns([] {
    Neighbour neighbour;
    EXPECT_FALSE(neighbour.reaches_loopback());
    ASSERT_TRUE(sys::ensure_sysctl(kRouteLocalnet, "1"));
    EXPECT_TRUE(neighbour.reaches_loopback()) << "otherwise this test would prove nothing";
  });
}

// The neighbour tries at each write of the setting, before and after: wherever the process is killed.
TEST_P(LoopbackGuardTest, LoopbackIsGuardedWhenItIsOpenedAndWhenItIsClosed) {
  in_fresh_netns([this] {
    Neighbour neighbour;
    int writes = 0;
    sys::SysctlAccess watched = sys::system_sysctls();
    watched.write = [&](std::string_view name, std::string_view value) {
      ++writes;
      EXPECT_FALSE(neighbour.reaches_loopback()) << "before " << value;
      auto written = sys::system_sysctls().write(name, value);
      EXPECT_FALSE(neighbour.reaches_loopback()) << "after " << value;
      return written;
    };
    dataplane::iptables::IptablesMechanism mechanism({.flavour = flavour()},
                                                     sys::SysctlJournal(sluice_.data_dir, watched), watched);
    serve(mechanism);
    EXPECT_EQ(setting(), "1");
    EXPECT_FALSE(neighbour.reaches_loopback());
    dataplane::Leftovers left = mechanism.leftovers({});
    while (!left.objects.empty()) {
      dataplane::Removal removal = mechanism.remove(std::move(left));
      EXPECT_TRUE(removal.problems.empty());
      EXPECT_FALSE(neighbour.reaches_loopback());
      left = std::move(removal.left);
    }
    EXPECT_EQ(writes, 2);
    EXPECT_EQ(setting(), "0");
  });
}

// Killed after each piece of the removal, another process takes over.
TEST_P(LoopbackGuardTest, AProcessThatIsKilledInBetweenLeavesLoopbackGuarded) {
  in_fresh_netns([this] {
    Neighbour neighbour;
    for (int pieces = 0; pieces < 4; ++pieces) {
      SCOPED_TRACE(pieces);
      {
        const Mechanisms mechanisms = make_mechanisms({}, sluice_);
        serve(iptables(mechanisms));
        dataplane::Leftovers left = iptables(mechanisms).leftovers({});
        for (int done = 0; done < pieces && !left.objects.empty(); ++done)
          left = iptables(mechanisms).remove(std::move(left)).left;
      }
      EXPECT_FALSE(neighbour.reaches_loopback());
      const CleanupReport report = clean_up_everything(sluice_);
      EXPECT_TRUE(report.problems.empty() && report.left.empty());
      EXPECT_FALSE(neighbour.reaches_loopback());
      EXPECT_EQ(setting(), "0");
    }
  });
}

TEST_P(LoopbackGuardTest, AlsoWithTheDataFolderLost) {
  in_fresh_netns([this] {
    Neighbour neighbour;
    serve(iptables(make_mechanisms({}, sluice_)));
    std::filesystem::remove_all(sluice_.data_dir);
    const CleanupReport report = clean_up_everything(sluice_);
    EXPECT_THAT(report.removed, testing::Contains(testing::HasSubstr("(it is 0 again)")));
    EXPECT_FALSE(neighbour.reaches_loopback());
    EXPECT_EQ(setting(), "0");
  });
}

// Changes of the mode and of its settings, as a restart with another configuration makes them.
TEST_P(LoopbackGuardTest, EveryChangeOfTheModeLeavesLoopbackGuarded) {
  in_fresh_netns([this] {
    Neighbour neighbour;
    const auto sweep = [&](const Mechanisms& mechanisms, std::span<const Family> iptables_serves) {
      for (const auto& mechanism : mechanisms) {
        const bool serves = mechanism->name() == "iptables";
        dataplane::Leftovers left = mechanism->leftovers(serves ? iptables_serves : std::span<const Family>());
        while (!left.objects.empty()) {
          left = mechanism->remove(std::move(left)).left;
          EXPECT_FALSE(neighbour.reaches_loopback());
        }
      }
    };
    const std::vector<Family> both{Family::kIPv4, Family::kIPv6};
    serve(iptables(make_mechanisms({}, sluice_)));
    {  // without node ports on localhost
      const Mechanisms mechanisms = make_mechanisms({}, sluice_);
      serve(iptables(mechanisms), false);
      sweep(mechanisms, both);
      EXPECT_EQ(setting(), "0");
    }
    {  // and with them again, in the other flavour
      config::SluiceConfig other = sluice_;
      other.iptables.flavour =
          GetParam() == std::string("legacy") ? config::IptablesFlavour::kNft : config::IptablesFlavour::kLegacy;
      const Mechanisms mechanisms = make_mechanisms({}, other);
      serve(iptables(mechanisms));
      EXPECT_EQ(setting(), "1");
      sweep(mechanisms, both);
      EXPECT_EQ(setting(), "1");
      EXPECT_FALSE(neighbour.reaches_loopback());
    }
    // Another mode serves, and iptables no longer does.
    sweep(make_mechanisms({}, sluice_), {});
    EXPECT_EQ(setting(), "0");
    EXPECT_FALSE(neighbour.reaches_loopback());
  });
}

INSTANTIATE_TEST_SUITE_P(Flavours, LoopbackGuardTest, testing::Values("nft", "legacy"),
                         [](const auto& flavour) { return std::string(flavour.param); });

}  // namespace
}  // namespace sluice::daemon
