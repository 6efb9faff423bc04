// SPDX-License-Identifier: Apache-2.0
// A table of another form, as another version may have left it, makes room for ours in one transaction.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/nftables/encode.h"
#include "dataplane/nftables/test_ports.h"

namespace sluice::dataplane::nftables {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

using Refuse = std::function<std::optional<Error>(const sys::NftBatch&)>;

// A plane over such a table, on a kernel that refuses so in commits, and so, or in another way, in trials.
struct Replacement {
  explicit Replacement(const Refuse& refuse, Options options = {}, std::optional<Refuse> in_trials = {}) {
    run({"nft", "-f", "-"},
        fmt::format("table ip {} {{\n  map frontends {{\n type ipv4_addr : ipv4_addr\n }}\n}}\n", kTableName));
    hand.refusal = refuse;
    options.check = [this, refuse = in_trials.value_or(refuse)](const sys::NftBatch& batch) -> Result<> {
      ++trials;
      if (auto error = refuse(batch)) return tl::unexpected(*std::move(error));
      return batch.check();
    };
    plane = open_plane(hand, options);
  }
  static bool is_done() {
    return run({"nft", "list", "table", "ip", kTableName}).find("ipv4_addr : ipv4_addr") == std::string::npos;
  }

  Hand hand;
  std::size_t trials = 0;
  std::unique_ptr<NftablesDataPlane> plane;
};

std::vector<Port> ports_of(unsigned count, const std::vector<std::string>& servers = {"10.1.77.1", "10.1.77.2"}) {
  std::vector<Port> ports;
  for (unsigned i = 0; i < count; ++i) ports.push_back(port(i, servers));
  return ports;
}

TEST(Replacement, IsDoneAtOnceByAllThatTheKernelAccepts) {
  in_fresh_netns([] {
    Options options;
    options.batch_objects_max = 3;
    Replacement replacement([](const sys::NftBatch& batch) { return refuse_address(batch, "10.96.0.3"); }, options);
    const auto ports = ports_of(9);
    const Outcome outcome = must_apply(*replacement.plane, full(ports));
    ASSERT_THAT(outcome.refused, SizeIs(1));
    EXPECT_EQ(outcome.refused[0].port, ports[2]->key);
    EXPECT_THAT(replacement.hand.messages, SizeIs(testing::Le(4u))) << "the table at once, and the cluster IPs";
    EXPECT_EQ(looked_at(*replacement.plane), Integrity::kKept);
    EXPECT_TRUE(replacement.plane->compare(full(ports))->empty());
  });
}

// A kernel that has no memory for all of them in one transaction.
TEST(Replacement, ThatIsTooLargeForOneTransactionBringsTheImportantPortsFirst) {
  in_fresh_netns([] {
    Replacement replacement([&](const sys::NftBatch& batch) -> std::optional<Error> {
      if (batch.bytes().size() < 20'000) return std::nullopt;
      return Error{Errc::kUnavailable, "nftables: no buffer space", ENOBUFS};
    });
    auto ports = ports_of(100);
    model::Service kubernetes = make_service("kubernetes", {service_port("p", 443)}, {"10.99.9.9"});
    kubernetes.key.namespace_name = "default";
    const Port api = port_of(kubernetes, endpoints(1));
    ports.push_back(api);
    replacement.hand.commits_left = 1;
    EXPECT_FALSE(replacement.plane->apply(full(ports)));
    EXPECT_TRUE(Replacement::is_done());
    const auto served = sys::read_nft_elements(Family::kIPv4, kTableName, kFrontends);
    ASSERT_TRUE(served) << served.error().what;
    EXPECT_GT(served->size(), 20u) << "as many as there is memory for";
    EXPECT_THAT(*served, testing::Contains(
                             testing::Field(&sys::NftElement::key, keys_of(api->frontends[0], Protocol::kTcp).key)));
    replacement.hand.commits_left = static_cast<std::size_t>(-1);
    EXPECT_THAT(must_apply(*replacement.plane, full(ports)).refused, IsEmpty());
    EXPECT_EQ(looked_at(*replacement.plane), Integrity::kKept);
    EXPECT_TRUE(replacement.plane->compare(full(ports))->empty());
  });
}

TEST(Replacement, WithoutAnyPortThatTheKernelAcceptsIsDoneAllTheSame) {
  for (const unsigned count : {1u, 3u, 40u}) {
    in_fresh_netns([count] {
      Replacement replacement([](const sys::NftBatch& batch) { return refuse_address(batch, "10.1.77.1"); });
      const auto ports = ports_of(count);
      EXPECT_THAT(must_apply(*replacement.plane, full(ports)).refused, SizeIs(count));
      EXPECT_TRUE(Replacement::is_done());
      EXPECT_EQ(looked_at(*replacement.plane), Integrity::kKept);
      EXPECT_TRUE(replacement.plane->compare(full(ports))->empty());
    });
  }
}

// Distress, a lost reply and a lack of rights are no refusal of a Service; what serves is left.
TEST(Replacement, OfWhichNothingCanBeFoundOutIsAnErrorAndNoPortsFault) {
  const auto refused = [](const sys::NftBatch& batch) { return refuse_address(batch, "10.1.77.1"); };
  for (const Error& error :
       {Error{Errc::kUnavailable, "nftables: no memory", ENOMEM}, Error{Errc::kInternal, "nftables: no reply", EPROTO},
        Error{Errc::kPermission, "nftables: not permitted", EPERM}}) {
    in_fresh_netns([&] {
      SCOPED_TRACE(error.what);
      const Replacement replacement(refused, {}, [&](const sys::NftBatch& batch) -> std::optional<Error> {
        return refused(batch) ? std::optional(error) : std::nullopt;
      });
      const auto applied = replacement.plane->apply(full(ports_of(4)));
      ASSERT_FALSE(applied);
      EXPECT_EQ(applied.error().what, error.what);
      EXPECT_FALSE(Replacement::is_done());
    });
  }
}

TEST(Replacement, WithManyRefusedPortsIsNotTriedOneByOne) {
  in_fresh_netns([] {
    Replacement replacement([](const sys::NftBatch& batch) { return refuse_address(batch, "10.1.77.1"); });
    auto ports = ports_of(400);
    for (unsigned i = 400; i < 600; ++i) ports.push_back(port(i, {"10.1.77.2"}));
    const Outcome outcome = must_apply(*replacement.plane, full(ports));
    EXPECT_EQ(std::ranges::count_if(outcome.refused, [](const RefusedPort& each) { return !each.untried; }), 16);
    EXPECT_LE(replacement.trials, 120u);
    EXPECT_TRUE(Replacement::is_done());
    EXPECT_EQ(looked_at(*replacement.plane), Integrity::kKept);
    // The others come as they do elsewhere: where they are tried without those.
    std::vector<Port> good(ports.begin() + 400, ports.end());
    EXPECT_THAT(must_apply(*replacement.plane, full(good)).refused, IsEmpty());
  });
}

}  // namespace
}  // namespace sluice::dataplane::nftables
