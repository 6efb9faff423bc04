// SPDX-License-Identifier: Apache-2.0
// The data plane over a netlink whose replies are lost, whose buffers are full, whose dumps are interrupted, and under
// whose hands others change tables: whatever happens, a full apply after the last fault leaves just what is wanted.
#include <gmock/gmock.h>
#include <linux/netlink.h>

#include <algorithm>
#include <cerrno>
#include <random>
#include <set>

#include "dataplane/nftables/test_ports.h"
#include "sys/test_netlink_faults.h"

namespace sluice::dataplane::nftables {
namespace {

using testing::IsEmpty;

// Loses the replies to the batches with these numbers, from 0.
class LostReplies {
 public:
  explicit LostReplies(std::set<std::size_t> lost) : lost_(std::move(lost)) {
    faults_.on_reply = [this](bool batch, std::span<char>) { return !batch || !lost_.contains(batches_++); };
  }

 private:
  std::set<std::size_t> lost_;
  std::size_t batches_ = 0;
  sys::NetlinkFaults faults_;
};

TEST(Faults, ALostReplyToAFullApplyIsReadAgain) {
  for (std::size_t which = 0; which < 3; ++which) {
    in_fresh_netns([which] {
      Hand hand;
      const auto plane = open_plane(hand);
      const Changes wanted = full({port(0), port(1)});
      {
        const LostReplies lost({which});
        EXPECT_THAT(must_apply(*plane, wanted).refused, IsEmpty()) << "it is nobody's fault";
      }
      EXPECT_EQ(looked_at(*plane), Integrity::kKept);
      EXPECT_TRUE(plane->compare(wanted)->empty());
    });
  }
}

TEST(Faults, ALostReplyToAPartialApplyIsAnErrorAndNoRefusal) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    must_apply(*plane, full({port(0), port(1)}));
    {
      const LostReplies lost({0});
      EXPECT_FALSE(plane->apply(change(port(0), port(0, endpoints(4))))) << "nobody knows what is live";
    }
    const Changes wanted = full({port(0, endpoints(4)), port(1)});
    EXPECT_THAT(must_apply(*plane, wanted).refused, IsEmpty());
    EXPECT_TRUE(plane->compare(wanted)->empty());
  });
}

// What seems to be idle may serve then.
TEST(Faults, AfterALostReplyNothingIsRemovedBeforeItIsReadAgain) {
  in_fresh_netns([] {
    Hand hand;
    const auto plane = open_plane(hand);
    must_apply(*plane, full({port(0)}));
    must_apply(*plane, change(port(0), port(0, endpoints(4))));  // the chains for two are idle now
    {
      const LostReplies lost({0});
      EXPECT_FALSE(plane->apply(change(port(0, endpoints(4)), port(0))));
    }
    sys::NetlinkFaults counter;
    EXPECT_TRUE(plane->tend());
    EXPECT_EQ(counter.sent, 0u);
  });
}

// A port that was refused before, whose next attempt gets no reply: what is live of it is not guessed.
TEST(Faults, ALostReplyToAnotherAttemptIsAnError) {
  in_fresh_netns([] {
    Hand hand;
    hand.refusal = [](const sys::NftBatch& batch) { return refuse_address(batch, "10.1.9.9"); };
    const auto plane = open_plane(hand);
    const Port bad = port(0, {"10.1.9.9"});
    EXPECT_EQ(must_apply(*plane, full({bad, port(1)})).refused.size(), 1u);
    hand.refusal = [](const auto&) { return std::nullopt; };
    const LostReplies lost({0});
    EXPECT_FALSE(plane->apply(change(bad, bad)));
  });
}

// Others change their tables each time that we list anything.
TEST(Faults, AGenerationThatAlwaysChangesIsServedOn) {
  in_fresh_netns([] {
    Hand hand;
    run({"nft", "add", "table", "ip", "other"});
    const auto plane = open_plane(hand);
    const Changes wanted = full({port(0), port(1)});
    {
      sys::NetlinkFaults faults;
      std::size_t changes = 0;
      faults.on_reply = [&](bool batch, std::span<char>) {
        if (batch) return true;
        sys::NftBatch other(Family::kIPv4, "other");
        other.add_chain({fmt::format("c{}", ++changes), std::nullopt});
        EXPECT_TRUE(other.commit());
        return true;
      };
      EXPECT_THAT(must_apply(*plane, wanted).refused, IsEmpty());
      EXPECT_EQ(*plane->intact(), Integrity::kKept);
      must_apply(*plane, change(port(0), port(0, endpoints(3))));
      EXPECT_EQ(*plane->intact(), Integrity::kKept);
      EXPECT_GT(changes, 10u);
    }
    EXPECT_TRUE(plane->compare(full({port(0, endpoints(3)), port(1)}))->empty());
  });
}

// Any fault at any call, in any order; the seed of a failure is in its trace.
TEST(Faults, OfEachKindAtRandomEndInWhatIsWanted) {
  for (unsigned seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    in_fresh_netns([seed] {
      std::mt19937 random(seed);
      const auto one_in = [&](unsigned many) { return random() % many == 0; };
      Hand hand;
      const auto plane = open_plane(hand);
      model::Service affine = service(7);
      affine.affinity_seconds = 600;
      std::vector<Port> ports{port(0), port(1), port(2), port_of(affine, endpoints(2))};
      bool known = false;
      {
        sys::NetlinkFaults faults;
        faults.on_send = [&](auto) { return one_in(40) ? std::optional(ENOBUFS) : std::nullopt; };
        faults.on_receive = [&](bool batch) -> std::optional<int> {
          if (one_in(8)) return EINTR;
          return one_in(30) && !batch ? std::optional(ENOBUFS) : std::nullopt;
        };
        faults.on_reply = [&](bool batch, std::span<char> replies) {
          if (batch) return !one_in(6);
          if (one_in(12)) {
            sys::NetlinkFaults::for_each_message(replies,
                                                 [](nlmsghdr& message) { message.nlmsg_flags |= NLM_F_DUMP_INTR; });
          }
          return true;
        };
        for (int round = 0; round < 30; ++round) {
          const std::size_t which = random() % 3;
          const Port next = port(static_cast<unsigned>(which), endpoints(static_cast<unsigned>(random() % 5)));
          const auto applied = known ? plane->apply(change(ports[which], next)) : plane->apply(full(ports));
          if (known) ports[which] = next;
          EXPECT_THAT(applied ? applied->refused : std::vector<RefusedPort>(), IsEmpty());
          known = static_cast<bool>(applied);
          if (known) (void)plane->tend();
          if (known && one_in(5)) known = plane->intact() && *plane->intact() == Integrity::kKept;
        }
      }
      must_apply(*plane, full(ports));
      ASSERT_TRUE(plane->tend());
      EXPECT_EQ(looked_at(*plane), Integrity::kKept);
      EXPECT_TRUE(plane->compare(full(ports))->empty());
    });
  }
}

// Each batch leaves Services that are served wholly and others that are not there, and none in between; the next process
// goes on from there.
TEST(KilledBetweenTwoBatches, NoServiceIsServedHalfAndTheNextProcessCompletesTheRest) {
  std::vector<Port> ports;
  for (unsigned i = 0; i < 12; ++i) ports.push_back(port(i, endpoints(i % 4)));
  model::Service affine = service(12);
  affine.affinity_seconds = 600;
  ports.push_back(port_of(affine, endpoints(3)));
  bool completed = false;
  for (std::size_t commits = 0; !completed; ++commits) {
    SCOPED_TRACE(commits);
    in_fresh_netns([&] {
      Hand hand;
      Options options;
      options.batch_objects_max = 8;
      hand.commits_left = commits;
      completed = static_cast<bool>(open_plane(hand, options)->apply(full(ports)));
      hand.commits_left = static_cast<std::size_t>(-1);
      std::size_t served = 0;
      if (commits > 0) {
        RuleMachine machine = machine_of_kernel(Family::kIPv4);
        for (const Port& each : ports) {
          plan::Packet packet;
          packet.from = ip("198.51.100.7");
          packet.to = each->frontends[0].address;
          packet.port = 80;
          const auto endings = machine.endings(packet);
          const std::size_t wanted = std::max<std::size_t>(each->real_servers.size(), 1);
          const bool untouched = endings == std::set<Ending>{{Ending::Kind::kUntouched}};
          EXPECT_TRUE(untouched || endings.size() == wanted) << each->key.printed_name() << " is served half";
          if (!untouched) ++served;
        }
      }
      EXPECT_TRUE(served > 0 || commits <= 3);
      const auto fresh = open_plane(hand, options);
      EXPECT_THAT(must_apply(*fresh, full(ports)).refused, IsEmpty());
      EXPECT_TRUE(fresh->compare(full(ports))->empty());
    });
    ASSERT_LT(commits, 60u);
  }
}

}  // namespace
}  // namespace sluice::dataplane::nftables
