// SPDX-License-Identifier: Apache-2.0
// Commits and dumps of nf_tables where the kernel's replies come with faults: full buffers, signals, interrupted dumps,
// lost acknowledgements.
#include <gmock/gmock.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "sys/nf_tables.h"
#include "sys/test_netlink_faults.h"
#include "sys/test_netns.h"

namespace sluice::sys {
namespace {

using testing::SizeIs;

const NftSet kPorts{"ports", {NftField::kInetProtocol, NftField::kInetService}};

NftElement port_element(unsigned number) {
  return {{6, 0, 0, 0, static_cast<std::uint8_t>(number >> 8), static_cast<std::uint8_t>(number), 0, 0}, {}};
}

std::vector<NftElement> port_elements(unsigned count) {
  std::vector<NftElement> elements;
  for (unsigned i = 0; i < count; ++i) elements.push_back(port_element(i));
  return elements;
}

NftBatch batch_of_table() {
  NftBatch batch(Family::kIPv4, "faults");
  batch.add_table();
  batch.add_set(kPorts);
  return batch;
}

void make_table(unsigned elements) {
  NftBatch batch = batch_of_table();
  batch.add_elements("ports", port_elements(elements));
  const auto committed = batch.commit();
  ASSERT_TRUE(committed) << committed.error().what;
}

Result<std::vector<NftElement>> list_ports() {
  return read_nft_elements(Family::kIPv4, "faults", "ports");
}

// Enough for several replies.
constexpr unsigned kMany = 5000;

TEST(FaultyDump, ThatLosesRepliesIsRepeated) {
  in_fresh_netns([] {
    make_table(kMany);
    NetlinkFaults faults;
    int received = 0;
    faults.on_receive = [&](bool) { return ++received == 2 ? std::optional(ENOBUFS) : std::nullopt; };
    const auto elements = list_ports();
    ASSERT_TRUE(elements) << elements.error().what;
    EXPECT_THAT(*elements, SizeIs(kMany));
    EXPECT_EQ(faults.sent, 2u);
  });
}

TEST(FaultyDump, ThatAlwaysLosesRepliesIsAnErrorAndNoList) {
  in_fresh_netns([] {
    make_table(kMany);
    NetlinkFaults faults;
    int received = 0;
    faults.on_receive = [&](bool) { return ++received % 2 == 0 ? std::optional(ENOBUFS) : std::nullopt; };
    const auto elements = list_ports();
    ASSERT_FALSE(elements);
    EXPECT_EQ(elements.error().code, Errc::kUnavailable);
    EXPECT_EQ(faults.sent, 5u);
  });
}

TEST(FaultyDump, ASignalIsNoEnd) {
  in_fresh_netns([] {
    make_table(kMany);
    NetlinkFaults faults;
    int received = 0;
    faults.on_receive = [&](bool) { return ++received % 2 == 0 ? std::optional(EINTR) : std::nullopt; };
    const auto elements = list_ports();
    ASSERT_TRUE(elements) << elements.error().what;
    EXPECT_THAT(*elements, SizeIs(kMany));
    EXPECT_EQ(faults.sent, 1u);
  });
}

// Both ways in which the kernel says so: by a flag on the replies, and by an error at the end.
TEST(FaultyDump, ThatAChangeInterruptsIsRepeatedWithoutWhatCameBefore) {
  in_fresh_netns([] {
    make_table(kMany);
    for (const bool by_flag : {true, false}) {
      NetlinkFaults faults;
      faults.on_reply = [&](bool, std::span<char> replies) {
        if (faults.sent > 1) return true;
        NetlinkFaults::for_each_message(replies, [&](nlmsghdr& message) {
          if (by_flag) message.nlmsg_flags |= NLM_F_DUMP_INTR;
          const int interrupted = -EINTR;
          if (!by_flag && message.nlmsg_type == NLMSG_DONE)
            std::memcpy(mnl_nlmsg_get_payload(&message), &interrupted, sizeof interrupted);
        });
        return true;
      };
      const auto elements = list_ports();
      ASSERT_TRUE(elements) << elements.error().what;
      EXPECT_THAT(*elements, SizeIs(kMany));
      EXPECT_EQ(faults.sent, 2u);
    }
  });
}

// The real kernel, whose generation changes under a dump's hands. (It says so where it lists chains, not elements.)
TEST(FaultyDump, WhileAnotherProgramChangesItsTableIsRepeated) {
  in_fresh_netns([] {
    NftBatch batch = batch_of_table();
    for (unsigned i = 0; i < 2000; ++i) batch.add_chain({"chain-" + std::to_string(i), std::nullopt});
    ASSERT_TRUE(batch.commit());
    NetlinkFaults faults;
    bool changed = false;
    std::size_t chain_replies = 0;
    faults.on_reply = [&](bool, std::span<char> replies) {
      const auto* first = reinterpret_cast<const nlmsghdr*>(replies.data());
      if (first->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN)) return true;
      ++chain_replies;
      if (std::exchange(changed, true)) return true;
      NftBatch other(Family::kIPv4, "other");
      other.add_table();
      EXPECT_TRUE(other.commit());
      return true;
    };
    const auto table = read_nft_table(Family::kIPv4, "faults");
    ASSERT_TRUE(table && *table);
    EXPECT_THAT((*table)->chains, SizeIs(2000));
    EXPECT_GT(chain_replies, 2u) << "a dump is several replies";
    EXPECT_EQ(faults.sent, 6u) << "the dumps of tables, chains, chains once more, rules and sets, and the commit";
  });
}

TEST(FaultyCommit, WhoseAcknowledgementIsLostMayBeDone) {
  in_fresh_netns([] {
    NetlinkFaults faults;
    faults.on_reply = [](bool batch, std::span<char>) { return !batch; };
    const auto committed = batch_of_table().commit();
    ASSERT_FALSE(committed);
    EXPECT_TRUE(nft_outcome_unknown(committed.error()));
    EXPECT_TRUE(*has_nft_table(Family::kIPv4, "faults"));
  });
}

// An acknowledgement of the last change, where the refusal of another one found no room.
TEST(FaultyCommit, WithLostRepliesIsNoSuccess) {
  in_fresh_netns([] {
    NetlinkFaults faults;
    bool full = true;
    faults.on_receive = [&](bool) { return std::exchange(full, false) ? std::optional(ENOBUFS) : std::nullopt; };
    const auto committed = batch_of_table().commit();
    ASSERT_FALSE(committed);
    EXPECT_TRUE(nft_outcome_unknown(committed.error()));
  });
}

TEST(FaultyCommit, WithLostRepliesNamesTheRefusalThatCame) {
  in_fresh_netns([] {
    NetlinkFaults faults;
    bool full = true;
    faults.on_receive = [&](bool) { return std::exchange(full, false) ? std::optional(ENOBUFS) : std::nullopt; };
    NftBatch batch = batch_of_table();
    batch.remove_elements("ports", std::vector{port_element(1)});
    const auto committed = batch.commit();
    ASSERT_FALSE(committed);
    EXPECT_EQ(committed.error().code, Errc::kNotFound);
    EXPECT_FALSE(nft_outcome_unknown(committed.error()));
  });
}

TEST(FaultyCommit, ASignalAmongTheRepliesIsNone) {
  in_fresh_netns([] {
    NetlinkFaults faults;
    int received = 0;
    faults.on_receive = [&](bool) { return ++received % 2 == 1 ? std::optional(EINTR) : std::nullopt; };
    const auto committed = batch_of_table().commit();
    EXPECT_TRUE(committed) << committed.error().what;
  });
}

TEST(FaultyCommit, ThatIsNotSentIsNotDone) {
  in_fresh_netns([] {
    {
      NetlinkFaults faults;
      faults.on_send = [](auto) { return std::optional(ENOBUFS); };
      const auto committed = batch_of_table().commit();
      ASSERT_FALSE(committed);
      EXPECT_EQ(committed.error().code, Errc::kUnavailable);
      EXPECT_FALSE(nft_outcome_unknown(committed.error()));
    }
    EXPECT_FALSE(*has_nft_table(Family::kIPv4, "faults"));
  });
}

TEST(NftCheck, SaysWhatACommitWouldAndDoesNothing) {
  in_fresh_netns([] {
    const auto before = nft_generation();
    const auto accepted = batch_of_table().check();
    EXPECT_TRUE(accepted) << accepted.error().what;
    NftBatch refused = batch_of_table();
    refused.remove_elements("ports", std::vector{port_element(1)});
    const auto checked = refused.check();
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().code, Errc::kNotFound);
    EXPECT_FALSE(*has_nft_table(Family::kIPv4, "faults"));
    EXPECT_EQ(*nft_generation(), *before);
  });
}

TEST(NftBatchTest, WakesADormantTable) {
  in_fresh_netns([] {
    make_table(1);
    run({"nft", "add", "table", "ip", "faults", "{", "flags", "dormant;", "}"});
    EXPECT_TRUE((*read_nft_table(Family::kIPv4, "faults"))->dormant);
    NftBatch batch(Family::kIPv4, "faults");
    batch.wake_table();
    EXPECT_TRUE(batch.commit());
    EXPECT_FALSE((*read_nft_table(Family::kIPv4, "faults"))->dormant);
  });
}

}  // namespace
}  // namespace sluice::sys
