// SPDX-License-Identifier: Apache-2.0
// Against the kernel, in the test's own network namespace. If the kernel has no dummy links a bridge replaces it:
// an existing device of that name is used.
#include "dataplane/ipvs/service_device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "dataplane/ipvs/record.h"
#include "dataplane/ipvs/test_world.h"
#include "sys/links.h"
#include "sys/test_netns.h"

namespace sluice::dataplane::ipvs {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::set<IpAddress> on_device() {
  std::set<IpAddress> found;
  const auto listed = node::open_network()->list_addresses();
  EXPECT_TRUE(listed);
  for (const auto& entry : *listed) {
    if (entry.interface == kServiceDevice) found.insert(entry.address);
  }
  return found;
}

TEST(ServiceDevice, IsCreatedIfMissingOrTheErrorSaysWhyNot) {
  in_fresh_netns([] {
    const auto device = open_service_device();
    EXPECT_FALSE(*device->exists());
    const auto made = device->ensure();
    EXPECT_EQ(*device->exists(), static_cast<bool>(made));
    if (!made) {
      EXPECT_THAT(made.error().what, HasSubstr("add dummy kube-ipvs0"));
    }
  });
}

TEST(ServiceDevice, AnyTypeIsUsedAsItIs) {
  in_fresh_netns([] {
    const auto device = open_service_device();
    ASSERT_TRUE(sys::add_bridge(kServiceDevice));
    EXPECT_TRUE(*device->exists());
    EXPECT_TRUE(device->ensure());
    EXPECT_THAT(*sys::list_links(), Contains(kServiceDevice));
  });
}

TEST(ServiceDevice, AddressesAreAddedAndRemovedAndRepeatingIsNoError) {
  in_fresh_netns([] {
    const auto device = open_service_device();
    ASSERT_TRUE(sys::add_bridge(kServiceDevice));
    const std::vector<IpAddress> both{ip("172.30.0.1"), ip("fd00::1")};
    for (int i = 0; i < 2; ++i) {
      const auto added = device->add(both);
      ASSERT_TRUE(added) << added.error().what;
      EXPECT_THAT(*added, IsEmpty());
      EXPECT_EQ(on_device(), std::set<IpAddress>(both.begin(), both.end()));
    }
    for (int i = 0; i < 2; ++i) {
      const auto removed = device->remove(both);
      ASSERT_TRUE(removed) << removed.error().what;
      EXPECT_THAT(*removed, IsEmpty());
      EXPECT_THAT(on_device(), IsEmpty());
    }
  });
}

TEST(ServiceDevice, WithoutTheDeviceAddingIsNotFound) {
  in_fresh_netns([] {
    const auto added = open_service_device()->add(std::vector<IpAddress>{ip("172.30.0.1")});
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().code, Errc::kNotFound);
  });
}

class StateFolder : public testing::Test {
 protected:
  StateFolder() {
    char name[] = "/tmp/sluice-state-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  ~StateFolder() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};
using NodePortRecordTest = StateFolder;

TEST_F(NodePortRecordTest, KnowsAPortFromBeforeItIsServedUntilItIsNot) {
  const NodePort one{Protocol::kTcp, 30080};
  const NodePort two{Protocol::kUdp, 30053};
  NodePortRecord record(folder_, Family::kIPv4);
  ASSERT_TRUE(record.before({one}));
  ASSERT_TRUE(record.before({two}));
  EXPECT_THAT(NodePortRecord(folder_, Family::kIPv4).entries(), ElementsAre(one, two));
  ASSERT_TRUE(record.after({two}));
  EXPECT_THAT(NodePortRecord(folder_, Family::kIPv4).entries(), ElementsAre(two));
  EXPECT_THAT(NodePortRecord(folder_, Family::kIPv6).entries(), IsEmpty());
  ASSERT_TRUE(record.remove());
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST_F(NodePortRecordTest, SurvivesADamagedFileAndAFolderThatCannotBe) {
  std::ofstream(folder_ + "/ipvs-node-ports-ipv4") << "tcp 30080\nicmp 7\ntcp 99999\nudp x\nudp 30053\n";
  EXPECT_THAT(NodePortRecord(folder_, Family::kIPv4).entries(),
              ElementsAre(NodePort{Protocol::kTcp, 30080}, NodePort{Protocol::kUdp, 30053}));
  NodePortRecord nowhere("/proc/no-such-folder", Family::kIPv4);
  EXPECT_FALSE(nowhere.before({{Protocol::kTcp, 30080}}));
}

TEST_F(StateFolder, AddressesAreKeptLikewise) {
  AddressRecord record(folder_, Family::kIPv6);
  ASSERT_TRUE(record.before({ip("fd00::1")}));
  ASSERT_TRUE(record.before({ip("fd00::2")}));
  EXPECT_THAT(AddressRecord(folder_, Family::kIPv6).entries(), ElementsAre(ip("fd00::1"), ip("fd00::2")));
  ASSERT_TRUE(record.after({ip("fd00::2")}));
  std::ofstream(folder_ + "/ipvs-addresses-ipv6", std::ios::app) << "no address\nfd00::3\n";
  EXPECT_THAT(AddressRecord(folder_, Family::kIPv6).entries(), ElementsAre(ip("fd00::2"), ip("fd00::3")));
  EXPECT_THAT(AddressRecord(folder_, Family::kIPv4).entries(), IsEmpty());
  ASSERT_TRUE(record.remove());
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

}  // namespace
}  // namespace sluice::dataplane::ipvs
