// SPDX-License-Identifier: Apache-2.0
// The API source with servers that send unreadable data: objects of another kind, half events, text that is not JSON.
// One of these must not affect the other objects.
#include "kube/api_fixture.h"

namespace sluice::kube::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

using ApiSourceUnreadable = ApiWebFixture;

TEST_F(ApiSourceUnreadable, ObjectsOfAnotherKindArePassedOver) {
  FakeApiServer& server = start_with_web();
  for (const char* type : {"ADDED", "DELETED"})
    server.say(
        Kind::kService,
        net::test::chunk(fmt::format(
            R"({{"type":"{}","object":{{"kind":"Pod","metadata":{{"namespace":"shop","name":"web"}}}}}})", type)));
  expect_that_changes_arrive();
  EXPECT_EQ(server.watches(Kind::kService).size(), 1U);
  EXPECT_THAT(refused_, ElementsAre("Service"));
}

// The server lost the rest of an event and continues with the next one, or with nothing.
TEST_F(ApiSourceUnreadable, HalfAnEventDoesNotSwallowThoseAfterIt) {
  for (const char* half : {R"({"type":"ADDED","object":{"kind":)", R"({"type":"ADDED","object":{"kind":"Serv)"}) {
    SCOPED_TRACE(half);
    snapshot_ = {};
    FakeApiServer& server = start_with_web();
    server.say(Kind::kService, net::test::chunk(half));
    server.set(Kind::kService, key_of("web"), service_members("10.96.0.11"));
    server.set(Kind::kService, key_of("web"), service_members("10.96.0.12"));
    EXPECT_TRUE(run_until([&] { return ip_of("web") == "10.96.0.12"; }));
    expect_that_changes_arrive();
    source_.reset();
  }
}

TEST_F(ApiSourceUnreadable, TheRestOfAnEventIsNotWaitedForAsLongAsTheNextEvent) {
  timing_.event_rest = 50ms;
  FakeApiServer& server = start_with_web();
  server.say(Kind::kService, net::test::chunk(R"({"type":"ADDED","object":{"kind":)"));
  EXPECT_TRUE(run_until([&] { return server.watches(Kind::kService).size() == 2; }));
  expect_that_changes_arrive();
  // Between two events it sends nothing, which is fine.
  run_for(200ms);
  EXPECT_EQ(server.watches(Kind::kService).size(), 2U);
}

TEST_F(ApiSourceUnreadable, AnEventThatIsRepeatedlyUnreadableCausesANewList) {
  FakeApiServer& server = start_with_web();
  std::atomic<bool>& listed = flag(false);
  server.intercept([&](const Request& request, Peer& peer) {
    if (kind_of(request) != Kind::kService) return false;
    if (!is_watch(request)) listed = true;
    return !listed && peer.send(net::test::chunked_head(200) +
                                net::test::chunk("{\"type\":\"MODIFIED\",\"object\":{\"kind\":\"\xff\"}}\n"));
  });
  server.end_watches();
  EXPECT_TRUE(run_until([&] { return listed && server.open_watches() == 3; }));
  expect_that_changes_arrive();
}

TEST_F(ApiSourceUnreadable, AListWithAnItemThatIsNotJsonServesTheOthersAndRemovesNothing) {
  FakeApiServer& server = start_with_web();
  std::atomic<bool>& broken = flag(true);
  const std::string item = R"({"metadata":{"name":"new","namespace":"shop"},)" + service_members("10.96.0.50") + "}";
  server.intercept([&](const Request& request, Peer& peer) {
    if (kind_of(request) != Kind::kService || is_watch(request) || !broken.exchange(false)) return false;
    return peer.send(net::test::answer(
        200, R"({"kind":"ServiceList","metadata":{"resourceVersion":"3"},"items":[{"metadata":{"name":nonsense}},)" +
                 item + "]}"));
  });
  server.end_watches();
  server.compact();
  EXPECT_TRUE(run_until([&] { return ip_of("new") == "10.96.0.50"; }));
  EXPECT_EQ(ip_of("web"), "10.96.0.10") << "the item that cannot be read may have been this one";
  EXPECT_THAT(removed_, IsEmpty());
  EXPECT_THAT(refused_, ElementsAre("Service"));
}

}  // namespace
}  // namespace sluice::kube::test
