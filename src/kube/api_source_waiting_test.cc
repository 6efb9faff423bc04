// SPDX-License-Identifier: Apache-2.0
// What the API source waits for: reported to `sluice status` by waiting(), logged once.
#include "kube/api_fixture.h"

namespace sluice::kube::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::size_t times(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

class ApiWaiting : public ApiFixture {
 protected:
  std::vector<std::string> waiting() const {
    std::vector<std::string> words;
    for (const Waiting& entry : source_->waiting()) words.push_back(entry.words());
    return words;
  }
  static constexpr const char* kNoNode = "The API server has no Node of this name";
};

TEST_F(ApiWaiting, ForTheListsAndThenForNothing) {
  FakeApiServer& server = serve();
  server.set(Kind::kNode, {"", "node-a"}, "");
  start();
  EXPECT_THAT(waiting(), ElementsAre("the list of EndpointSlices", "the list of Nodes", "the list of Services"));
  ASSERT_TRUE(run_until_watching());
  EXPECT_TRUE(run_until([&] { return waiting().empty(); })) << testing::PrintToString(waiting());
}

TEST_F(ApiWaiting, ForAServerThatDoesNotListenUntilItDoes) {
  FakeApiServer& server = serve();
  server.set(Kind::kNode, {"", "node-a"}, "");
  const std::uint16_t port = config_.target.port;
  config_.target.port = 1;  // no process listens there
  start();
  ASSERT_TRUE(run_until([&] { return waiting().size() == 1; })) << testing::PrintToString(waiting());
  EXPECT_THAT(waiting().front(),
              testing::AllOf(testing::StartsWith("API server http://127.0.0.1:1: "), HasSubstr("refused")));
  EXPECT_EQ(source_->waiting().front().what, WaitsFor::kServer);
  config_.target.port = port;
  start();
  ASSERT_TRUE(run_until_watching());
  EXPECT_TRUE(run_until([&] { return waiting().empty(); })) << testing::PrintToString(waiting());
}

TEST_F(ApiWaiting, ForAListThatIsRefusedWithTheServersWords) {
  FakeApiServer& server = serve();
  server.set(Kind::kNode, {"", "node-a"}, "");
  std::atomic<bool>& forbidden = flag(true);
  server.intercept([&forbidden](const Request& request, Peer& peer) {
    if (kind_of(request) != Kind::kSlice || !forbidden) return false;
    return peer.send(net::test::answer(403, R"({"kind":"Status","message":"slices are forbidden","code":403})"));
  });
  start();
  ASSERT_TRUE(run_until([&] { return waiting().size() == 1 && !source_->waiting().front().reason.empty(); }));
  EXPECT_EQ(waiting().front(), "the list of EndpointSlices: the API server returned 403: slices are forbidden");
  forbidden = false;
  EXPECT_TRUE(run_until([&] { return waiting().empty(); })) << testing::PrintToString(waiting());
}

TEST_F(ApiWaiting, ForAServerThatIsLostLaterAndFoundAgain) {
  FakeApiServer& server = serve();
  server.set(Kind::kNode, {"", "node-a"}, "");
  start();
  ASSERT_TRUE(run_until_watching());
  ASSERT_TRUE(run_until([&] { return waiting().empty(); }));
  std::atomic<bool>& down = flag(true);
  server.intercept([&down](const Request&, Peer&) { return down.load(); });  // closes without a response
  server.end_watches(true);
  ASSERT_TRUE(run_until([&] { return !waiting().empty(); }));
  EXPECT_EQ(source_->waiting().front().what, WaitsFor::kServer);
  EXPECT_TRUE(snapshot_.complete()) << "what is served stays";
  down = false;
  EXPECT_TRUE(run_until([&] { return waiting().empty(); })) << testing::PrintToString(waiting());
}

// ---- what is logged, and how often ----

TEST_F(ApiWaiting, ALastingLossIsLoggedOnceAndAgainWhenItsReasonChanges) {
  constexpr const char* kLost = "Cannot follow the API server's objects";
  FakeApiServer& server = serve();
  server.set(Kind::kNode, {"", "node-a"}, "");
  std::atomic<int>& status = number(500);
  server.intercept([&status](const Request&, Peer& peer) {
    return status != 200 && peer.send(net::test::answer(status, R"({"kind":"Status","message":"no","code":500})"));
  });
  const auto log_of = [&](std::size_t requests) {
    requests_.clear();
    testing::internal::CaptureStderr();
    EXPECT_TRUE(run_until([&] { return requests_.size() >= requests; }));
    return testing::internal::GetCapturedStderr();
  };
  start();
  std::string log = log_of(15);
  EXPECT_EQ(times(log, kLost), 3U) << "one for each collection: " << log;
  status = 503;
  log = log_of(15);
  EXPECT_EQ(times(log, kLost), 3U) << log;
  EXPECT_EQ(times(log, "returned 503"), 3U) << log;
  status = 200;
  ASSERT_TRUE(run_until_watching());
  run_for(20ms);  // the watches have lasted for more than watch_short
  status = 503;
  server.end_watches();
  log = log_of(15);
  EXPECT_EQ(times(log, kLost), 3U) << "a new loss, though for the same reason: " << log;
}

TEST_F(ApiWaiting, ASliceOfNoServiceIsNamedOnce) {
  constexpr const char* kNothing = "An object serves nothing";
  FakeApiServer& server = serve();
  server.set(Kind::kNode, {"", "node-a"}, "");
  testing::internal::CaptureStderr();
  server.set(Kind::kSlice, key_of("lone"), slice_members("10.244.1.5"));
  server.set(Kind::kSlice, key_of("web-1"), slice_members("10.244.1.6"), slice_metadata("web"));
  start();
  const bool listed = run_until_watching();
  server.set(Kind::kSlice, key_of("lone"), slice_members("10.244.1.7"));
  server.set(Kind::kService, key_of("mark"), service_members("10.96.0.1"));
  const bool seen = run_until([&] { return ip_of("mark") == "10.96.0.1"; });
  run_for(50ms);
  std::string log = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(listed && seen);
  EXPECT_EQ(times(log, kNothing), 1U) << log;
  EXPECT_THAT(log, HasSubstr("object=\"shop/lone\" field=\"metadata.labels\" why=\"there is no label "
                             "kubernetes.io/service-name, so it belongs to no Service\""));
  EXPECT_THAT(refused_, IsEmpty());

  testing::internal::CaptureStderr();
  server.set(Kind::kSlice, key_of("lone"), slice_members("10.244.1.7"), slice_metadata("web"));
  const bool bound = run_until([&] { return snapshot_.slices_of(key_of("web")).size() == 2; });
  server.set(Kind::kSlice, key_of("lone"), slice_members("10.244.1.7"));
  const bool loose = run_until([&] { return snapshot_.slices_of(key_of("web")).size() == 1; });
  log = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(bound && loose);
  EXPECT_EQ(times(log, kNothing), 1U) << "it is so again: " << log;
}

// ---- the Node ----

TEST_F(ApiWaiting, ForANodeThatIsNotThereAndTheLogNamesThoseThatAre) {
  FakeApiServer& server = serve();
  server.set(Kind::kNode, {"", "worker-2"}, "");
  server.set(Kind::kNode, {"", "worker-1"}, "");
  timing_.names_again = 10ms;
  testing::internal::CaptureStderr();
  start();
  const std::string wanted = "Node \"node-a\": the API server has no such Node; it has: worker-1, worker-2";
  const bool said = run_until([&] { return waiting() == std::vector{wanted}; });
  run_for(100ms);  // requested repeatedly, logged once
  std::string log = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(said) << testing::PrintToString(waiting());
  EXPECT_EQ(times(log, kNoNode), 1U) << log;
  EXPECT_THAT(log, HasSubstr("node=\"node-a\" known=\"worker-1, worker-2\""));

  testing::internal::CaptureStderr();
  server.set(Kind::kNode, {"", "worker-3"}, "");
  const bool again = run_until([&] { return waiting() == std::vector{wanted + ", worker-3"}; });
  log = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(again);
  EXPECT_EQ(times(log, kNoNode), 1U) << "a change is logged: " << log;

  testing::internal::CaptureStderr();
  server.set(Kind::kNode, {"", "node-a"}, "");
  const bool found = run_until([&] { return snapshot_.node().has_value(); });
  log = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(found);
  EXPECT_THAT(waiting(), IsEmpty());
  EXPECT_THAT(log, HasSubstr("has this Node now"));

  server.remove(Kind::kNode, {"", "node-a"});
  EXPECT_TRUE(run_until([&] { return waiting() == std::vector{wanted + ", worker-3"}; }))
      << testing::PrintToString(waiting());
}

TEST_F(ApiWaiting, ForANodeWhereTheNamesAreManyOrNoneOrNotForUs) {
  struct Row {
    int nodes;
    int refusal;
    const char* words;
    const char* known;
  };
  const Row rows[] = {
      {0, 0, "; it has: none at all", "known=\"none at all\""},
      {10, 0, "; it has: n0, n1, n2, n3, n4, n5, n6, n7, n8, n9", "n9\""},
      {11, 0, "; it has: more than 10", "known=\"more than 10\""},
      {3, 403, "has no such Node", "known=\"may not be listed\""},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.known);
    FakeApiServer& server = serve();
    for (int i = 0; i < row.nodes; ++i) server.set(Kind::kNode, {"", fmt::format("n{}", i)}, "");
    server.intercept([refusal = row.refusal](const Request& request, Peer& peer) {
      if (kind_of(request) != Kind::kNode || request.query.contains("fieldSelector") || refusal == 0) return false;
      return peer.send(net::test::answer(refusal, "{}"));
    });
    testing::internal::CaptureStderr();
    start();
    std::string log;
    const bool said = run_until([&] {
      log += testing::internal::GetCapturedStderr();
      testing::internal::CaptureStderr();
      return log.find(kNoNode) != std::string::npos;
    });
    testing::internal::GetCapturedStderr();
    ASSERT_TRUE(said);
    EXPECT_THAT(log, HasSubstr(row.known));
    const std::vector<Waiting> entries = source_->waiting();
    const auto node =
        std::find_if(entries.begin(), entries.end(), [](const auto& e) { return e.what == WaitsFor::kNode; });
    ASSERT_NE(node, entries.end());
    EXPECT_THAT(node->words(), testing::EndsWith(row.words));
  }
}

TEST_F(ApiWaiting, ANodeThatCannotBeReadIsThereAllTheSame) {
  FakeApiServer& server = serve();
  server.set(Kind::kNode, {"", "node-a"}, R"("spec":{"taints":7})");
  testing::internal::CaptureStderr();
  start();
  const bool refused = run_until([&] { return !refused_.empty() && waiting().empty(); });
  EXPECT_THAT(testing::internal::GetCapturedStderr(), Not(HasSubstr(kNoNode)));
  EXPECT_TRUE(refused);
}

}  // namespace
}  // namespace sluice::kube::test
