// SPDX-License-Identifier: Apache-2.0
#include "sys/address_batch.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/ip_literals.h"
#include "sys/addresses.h"
#include "sys/links.h"
#include "sys/test_netns.h"

namespace sluice::sys {
namespace {

using testing::HasSubstr;

// On a thread with its own network namespace, which ends with the thread. `link` is a bridge: every kernel has
// those.
template <typename Body>
void with_link(const std::string& link, Body body) {
  in_fresh_netns([&] {
    ASSERT_TRUE(add_bridge(link));
    body();
  });
}

std::set<IpAddress> addresses_on(const std::string& link) {
  std::set<IpAddress> found;
  const auto listed = list_addresses();
  EXPECT_TRUE(listed);
  for (const InterfaceAddress& entry : *listed) {
    if (entry.interface != link) continue;
    EXPECT_EQ(entry.prefix_length, entry.address.bytes().size() * 8) << entry.address.to_string();
    found.insert(entry.address);
  }
  return found;
}

TEST(AddressBatch, AddsAndRemovesFiveThousandAddresses) {
  with_link("batch0", [] {
    std::vector<IpAddress> all;
    for (std::uint32_t i = 1; i <= 5000; ++i) all.push_back(IpAddress::from_v4(0x0a600000 + i));
    const auto added = add_host_addresses("batch0", all);
    ASSERT_TRUE(added) << added.error().what;
    EXPECT_TRUE(added->empty()) << added->front().error.what;
    EXPECT_EQ(addresses_on("batch0"), std::set<IpAddress>(all.begin(), all.end()));
    const auto removed = remove_host_addresses("batch0", all);
    ASSERT_TRUE(removed) << removed.error().what;
    EXPECT_TRUE(removed->empty()) << removed->front().error.what;
    EXPECT_TRUE(addresses_on("batch0").empty());
  });
}

TEST(AddressBatch, BothFamiliesMayBeInOneBatch) {
  with_link("batch0", [] {
    const std::vector<IpAddress> both{ip("10.96.0.1"), ip("fd00:10:96::1")};
    const auto added = add_host_addresses("batch0", both);
    ASSERT_TRUE(added) << added.error().what;
    EXPECT_TRUE(added->empty()) << added->front().error.what;
    EXPECT_EQ(addresses_on("batch0"), std::set<IpAddress>(both.begin(), both.end()));
  });
}

TEST(AddressBatch, ARefusedAddressIsNamedAndTheOthersAreDone) {
  with_link("batch0", [] {
    std::vector<IpAddress> all;
    for (std::uint32_t i = 1; i <= 300; ++i) all.push_back(IpAddress::from_v4(0x0a600000 + i));
    const std::vector<IpAddress> early{all[0], all[150], all[299]};
    ASSERT_TRUE(add_host_addresses("batch0", early));
    const auto added = add_host_addresses("batch0", all);
    ASSERT_TRUE(added) << added.error().what;
    ASSERT_EQ(added->size(), 3u);
    EXPECT_EQ((*added)[0].index, 0u);
    EXPECT_EQ((*added)[1].index, 150u);
    EXPECT_EQ((*added)[2].index, 299u);
    EXPECT_EQ((*added)[1].error.code, Errc::kAlreadyExists);
    EXPECT_THAT((*added)[1].error.what, HasSubstr("add 10.96.0.151 to batch0"));
    EXPECT_EQ(addresses_on("batch0").size(), 300u);
  });
}

TEST(AddressBatch, RemovingAMissingAddressIsNotFound) {
  with_link("batch0", [] {
    const std::vector<IpAddress> none{ip("10.96.0.1"), ip("fd00:10:96::1")};
    const auto removed = remove_host_addresses("batch0", none);
    ASSERT_TRUE(removed) << removed.error().what;
    ASSERT_EQ(removed->size(), 2u);
    EXPECT_EQ((*removed)[0].error.code, Errc::kNotFound);
    EXPECT_EQ((*removed)[1].error.code, Errc::kNotFound);
    EXPECT_THAT((*removed)[0].error.what, HasSubstr("remove 10.96.0.1 from batch0"));
  });
}

TEST(AddressBatch, AnIPv4AddressIsRemovedWhateverItsPrefixLength) {
  with_link("batch0", [] {
    ASSERT_TRUE(add_address("batch0", ip("10.96.0.1"), 24));
    const auto removed = remove_host_addresses("batch0", std::vector<IpAddress>{ip("10.96.0.1")});
    ASSERT_TRUE(removed) << removed.error().what;
    EXPECT_TRUE(removed->empty());
    EXPECT_TRUE(addresses_on("batch0").empty());
  });
}

TEST(AddressBatch, AMissingLinkIsAnErrorUnlessThereIsNothingToDo) {
  with_link("batch0", [] {
    const std::vector<IpAddress> one{ip("10.96.0.1")};
    const auto added = add_host_addresses("absent0", one);
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().code, Errc::kNotFound);
    EXPECT_THAT(added.error().what, HasSubstr("absent0"));
    EXPECT_TRUE(add_host_addresses("absent0", {}));
  });
}

}  // namespace
}  // namespace sluice::sys
