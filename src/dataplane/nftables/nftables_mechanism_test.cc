// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nftables/nftables_mechanism.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/netlink.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <span>

#include "dataplane/nftables/layout.h"
#include "sys/netfilter_objects.h"
#include "sys/nf_tables.h"
#include "sys/test_netlink_faults.h"
#include "sys/test_netns.h"

namespace sluice::dataplane::nftables {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> texts(const std::vector<Objects>& objects) {
  std::vector<std::string> result;
  for (const Objects& each : objects) result.push_back(each.to_string());
  return result;
}

bool exists(Family family, const char* table) {
  const auto read = sys::read_nft_table(family, table);
  return read && read->has_value();
}

void serve_nothing(Family family) {
  NftablesMechanism mechanism({});
  PlaneSettings settings;
  settings.family = family;
  auto plane = mechanism.open(settings);
  ASSERT_TRUE(plane) << plane.error().what;
  Changes changes;
  changes.full = true;
  const auto applied = (*plane)->apply(changes);
  ASSERT_TRUE(applied) << applied.error().what;
}

bool begins_batch(std::span<const char> datagram) {
  nlmsghdr first{};
  std::memcpy(&first, datagram.data(), sizeof first);
  return first.nlmsg_type == NLMSG_MIN_TYPE;  // NFNL_MSG_BATCH_BEGIN
}

// What gets no reply is asked again, and is no lack.
TEST(Probe, DistinguishesALackFromDistress) {
  in_fresh_netns([] {
    NftablesMechanism mechanism({});
    sys::NetlinkFaults faults;
    unsigned bad = 2;
    const auto next_is_bad = [&bad] { return bad > 0 && bad-- > 0; };
    faults.on_reply = [&](bool batch, std::span<char>) { return !batch || !next_is_bad(); };
    EXPECT_TRUE(mechanism.probe(Family::kIPv4));
    bad = 1000;
    auto probed = mechanism.probe(Family::kIPv4);
    ASSERT_FALSE(probed);
    EXPECT_EQ(probed.error().code, Errc::kUnavailable);
    EXPECT_GT(bad, 900u) << "a few times";
    faults.on_reply = [](auto, auto) { return true; };
    for (const int error : {ENOBUFS, ENOMEM}) {
      for (const bool batches : {true, false}) {
        faults.on_send = [&](std::span<const char> datagram) {
          return begins_batch(datagram) == batches && next_is_bad() ? std::optional(error) : std::nullopt;
        };
        bad = 1000;
        probed = mechanism.probe(Family::kIPv4);
        ASSERT_FALSE(probed);
        EXPECT_EQ(probed.error().code, Errc::kUnavailable);
        bad = 2;
        EXPECT_TRUE(mechanism.probe(Family::kIPv4));
      }
    }
  });
}

TEST(Probe, AnotherProgramsTableOfThatNameIsNotInTheWay) {
  in_fresh_netns([] {
    run({"nft", "-f", "-"}, "table ip sluice-nftables-probe {\n set frontends {\n type ipv4_addr\n }\n}\n");
    const auto probed = NftablesMechanism({}).probe(Family::kIPv4);
    EXPECT_TRUE(probed) << probed.error().what;
    EXPECT_THAT(run({"nft", "list", "tables"}), testing::HasSubstr("sluice-nftables-probe"));
  });
}

TEST(Mechanism, FindsWhatEarlierProcessesAndKubeProxyLeftAndNothingElse) {
  in_fresh_netns([] {
    NftablesMechanism mechanism({});
    EXPECT_TRUE(mechanism.leftovers({}).none());
    run({"nft", "-f", "-"},
        "table ip kube-proxy {\n}\ntable ip6 kube-proxy {\n}\ntable inet kube-proxy {\n}\ntable ip mine {\n}\n");
    serve_nothing(Family::kIPv4);
    serve_nothing(Family::kIPv6);
    EXPECT_THAT(texts(mechanism.leftovers({}).objects),
                ElementsAre("the nftables table ip sluice-nftables", "the nftables table ip kube-proxy",
                            "the nftables table ip6 sluice-nftables", "the nftables table ip6 kube-proxy"));
    const std::array serving{Family::kIPv4};
    Leftovers beside = mechanism.leftovers(serving);
    EXPECT_THAT(texts(beside.objects),
                ElementsAre("the nftables table ip kube-proxy", "the nftables table ip6 sluice-nftables",
                            "the nftables table ip6 kube-proxy"));
    const Removal removal = remove_all(mechanism, std::move(beside));
    EXPECT_THAT(removal.problems, IsEmpty());
    EXPECT_EQ(removal.removed.size(), 3u);
    EXPECT_TRUE(exists(Family::kIPv4, kTableName));
    EXPECT_FALSE(exists(Family::kIPv6, kTableName));
    EXPECT_FALSE(exists(Family::kIPv4, "kube-proxy"));
    EXPECT_TRUE(exists(Family::kIPv4, "mine"));
    run({"nft", "list", "table", "inet", "kube-proxy"});
  });
}

TEST(Mechanism, ProbesAndOpensWithoutAWord) {
  in_fresh_netns([] {
    NftablesMechanism mechanism({});
    EXPECT_EQ(mechanism.name(), "nftables");
    EXPECT_TRUE(mechanism.probe(Family::kIPv4));
    EXPECT_TRUE(mechanism.open({}));
    EXPECT_EQ(run({"nft", "list", "ruleset"}), "");
  });
}

TEST(Mechanism, ProbesWhatItsRulesAreMadeOfAndLeavesNothing) {
  in_fresh_netns([] {
    NftablesMechanism mechanism({});
    for (const Family family : kFamilies) {
      const auto probed = mechanism.probe(family);
      EXPECT_TRUE(probed) << probed.error().what;
    }
    EXPECT_EQ(run({"nft", "list", "tables"}), "");
    // A kernel that lacks some of it.
    sys::NetlinkFaults faults;
    faults.on_reply = [](bool batch, std::span<char> replies) {
      sys::NetlinkFaults::for_each_message(replies, [&](nlmsghdr& message) {
        if (batch && message.nlmsg_type == NLMSG_ERROR)
          static_cast<nlmsgerr*>(mnl_nlmsg_get_payload(&message))->error = -ENOENT;
      });
      return true;
    };
    const auto probed = mechanism.probe(Family::kIPv4);
    ASSERT_FALSE(probed);
    EXPECT_EQ(probed.error().code, Errc::kUnsupported);
  });
}

}  // namespace
}  // namespace sluice::dataplane::nftables
