// SPDX-License-Identifier: Apache-2.0
// The API source with a server that does what it should.
#include <boost/asio/executor_work_guard.hpp>
#include <thread>

#include "kube/api_fixture.h"

namespace sluice::kube::test {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using ApiSource = ApiFixture;

TEST_F(ApiSource, ListsAndThenWatchesFromTheListsVersion) {
  FakeApiServer& server = serve();
  server.set(Kind::kService, key_of("web"), service_members("10.96.0.10"));
  server.set(Kind::kSlice, key_of("web-abc"), slice_members("10.244.1.5"), slice_metadata("web"));
  const int version = server.set(Kind::kNode, {"", "node-a"}, "", R"("uid":"u-1")");
  start();
  ASSERT_TRUE(run_until_watching());
  EXPECT_EQ(ip_of("web"), "10.96.0.10");
  EXPECT_EQ(snapshot_.slices_of(key_of("web")).size(), 1U);
  ASSERT_TRUE(run_until([&] { return snapshot_.node().has_value(); }));
  EXPECT_EQ(snapshot_.node()->uid, "u-1");

  const Request list = server.lists(Kind::kService).front();
  EXPECT_EQ(
      list.query_text,
      "limit=500&fieldSelector=spec.clusterIP%21%3DNone&labelSelector=%21service.kubernetes.io%2Fservice-proxy-name"
      "&resourceVersion=0");
  EXPECT_EQ(list.headers.at("accept"), "application/json");
  EXPECT_THAT(list.headers.at("user-agent"), HasSubstr("sluice/"));
  Request watch = server.watches(Kind::kService).front();
  EXPECT_EQ(watch.query["resourceVersion"], std::to_string(version));
  EXPECT_EQ(watch.query["allowWatchBookmarks"], "true");
  EXPECT_EQ(watch.query["fieldSelector"], "spec.clusterIP%21%3DNone");
  EXPECT_GE(std::stoi(watch.query["timeoutSeconds"]), 20);
  EXPECT_LT(std::stoi(watch.query["timeoutSeconds"]), 40);
  EXPECT_THAT(server.lists(Kind::kSlice).front().query_text,
              HasSubstr("labelSelector=%21service.kubernetes.io%2Fheadless"));
  EXPECT_THAT(server.lists(Kind::kNode).front().query_text, HasSubstr("fieldSelector=metadata.name%3Dnode-a"));
  EXPECT_THAT(requests_, Contains("200 GET 127.0.0.1:" + std::to_string(server.port())));
}

TEST_F(ApiSource, WatchEventsAddChangeAndRemove) {
  FakeApiServer& server = serve();
  start();
  ASSERT_TRUE(run_until_watching());
  server.set(Kind::kService, key_of("web"), service_members("10.96.0.10"));
  ASSERT_TRUE(run_until([&] { return ip_of("web") == "10.96.0.10"; }));
  server.set(Kind::kService, key_of("web"), service_members("10.96.0.11"));
  ASSERT_TRUE(run_until([&] { return ip_of("web") == "10.96.0.11"; }));
  server.set(Kind::kSlice, key_of("web-abc"), slice_members("10.244.1.5"), slice_metadata("web"));
  ASSERT_TRUE(run_until([&] { return snapshot_.slices_count() == 1; }));
  server.remove(Kind::kSlice, key_of("web-abc"));
  server.remove(Kind::kService, key_of("web"));
  ASSERT_TRUE(run_until([&] { return snapshot_.slices_count() == 0 && snapshot_.services_count() == 0; }));
  EXPECT_EQ(server.lists(Kind::kService).size(), 1U) << "a change needs no list";
}

TEST_F(ApiSource, ANodeMayComeLaterAndGo) {
  FakeApiServer& server = serve();
  start();
  ASSERT_TRUE(run_until_watching());
  EXPECT_FALSE(snapshot_.node());
  server.set(Kind::kNode, {"", "node-a"}, R"("status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"}]})");
  ASSERT_TRUE(run_until([&] { return snapshot_.node().has_value(); }));
  EXPECT_EQ(snapshot_.node()->internal_ips.front().to_string(), "192.0.2.1");
  server.remove(Kind::kNode, {"", "node-a"});
  ASSERT_TRUE(run_until([&] { return !snapshot_.node(); }));
}

TEST_F(ApiSource, EventsThatArriveTogetherAreOneUpdate) {
  FakeApiServer& server = serve();
  start();
  ASSERT_TRUE(run_until_watching());
  run_for(1ms);
  const int before = updates_;
  std::string events;
  for (int i = 1; i <= 20; ++i) {
    events += fmt::format(
        R"({{"type":"ADDED","object":{{"kind":"Service","metadata":{{"namespace":"shop","name":"s{}","resourceVersion":"900"}},{}}}}})",
        i, service_members(fmt::format("10.96.0.{}", i)));
  }
  server.say(Kind::kService, net::test::chunk(events));
  ASSERT_TRUE(run_until([&] { return snapshot_.services_count() == 20; }));
  EXPECT_EQ(updates_ - before, 1);
}

TEST_F(ApiSource, ALongListComesInUpdatesOfBoundedSizeAndIsCompleteAtItsEnd) {
  FakeApiServer::Options options;
  options.page = 700;
  FakeApiServer& server = serve(options);
  for (int i = 0; i < 1600; ++i) {
    server.set(Kind::kService, key_of(fmt::format("s{}", i)),
               service_members(fmt::format("10.96.{}.{}", i / 250, i % 250 + 1)));
  }
  start();
  ASSERT_TRUE(run_until([&] { return snapshot_.services_count() > 0; }));
  EXPECT_FALSE(snapshot_.complete());
  ASSERT_TRUE(run_until_watching());
  EXPECT_EQ(snapshot_.services_count(), 1600U);
  EXPECT_LE(update_size_max_, 500U);
  EXPECT_EQ(server.lists(Kind::kService).size(), 1U);
}

TEST_F(ApiSource, ABookmarkMovesTheVersionFromWhichTheNextWatchGoesOn) {
  FakeApiServer& server = serve();
  server.set(Kind::kService, key_of("web"), service_members("10.96.0.10"));
  start();
  ASSERT_TRUE(run_until_watching());
  const int version = server.bookmark(Kind::kService);
  // The next event follows the bookmark on the same connection, so once it is here the bookmark was.
  server.say(Kind::kService,
             net::test::chunk(fmt::format(
                 R"({{"type":"ADDED","object":{{"kind":"Service","metadata":{{"namespace":"shop","name":"x"}},{}}}}})",
                 service_members("10.96.0.9"))));
  ASSERT_TRUE(run_until([&] { return ip_of("x") == "10.96.0.9"; }));
  server.end_watches();
  ASSERT_TRUE(run_until([&] { return server.watches(Kind::kService).size() == 2; }));
  EXPECT_EQ(server.watches(Kind::kService).back().query["resourceVersion"], std::to_string(version));
  EXPECT_EQ(server.lists(Kind::kService).size(), 1U);
}

TEST_F(ApiSource, AWatchWhoseTimeIsOverIsFollowedByTheNextWithoutAList) {
  timing_.watch_min = std::chrono::seconds(1);
  timing_.watch_short = 10ms;                       // far enough below a second for a busy machine
  timing_.backoff_min = timing_.backoff_max = 60s;  // a watch that restarts after a wait would be too late
  FakeApiServer& server = serve();
  server.set(Kind::kNode, {"", "node-a"}, "");
  testing::internal::CaptureStderr();
  start();
  const bool again = run_until([&] { return server.watches(Kind::kSlice).size() >= 3; });
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "") << "a quiet cluster is nothing to log";
  ASSERT_TRUE(again);
  server.set(Kind::kService, key_of("web"), service_members("10.96.0.10"));
  ASSERT_TRUE(run_until([&] { return ip_of("web") == "10.96.0.10"; }));
  EXPECT_EQ(server.lists(Kind::kSlice).size(), 1U);
  EXPECT_EQ(server.lists(Kind::kService).size(), 1U);
}

TEST_F(ApiSource, SlicesOfHeadlessServicesAreTreatedAsAbsent) {
  FakeApiServer& server = serve();
  const std::string headless = R"("labels":{"kubernetes.io/service-name":"db","service.kubernetes.io/headless":""})";
  server.set(Kind::kSlice, key_of("db-1"), slice_members("10.244.1.6"), headless);
  server.set(Kind::kSlice, key_of("web-1"), slice_members("10.244.1.5"), slice_metadata("web"));
  start();
  ASSERT_TRUE(run_until_watching());
  EXPECT_EQ(snapshot_.slices_count(), 1U);
  server.set(Kind::kSlice, key_of("web-1"), slice_members("10.244.1.5"), headless);
  ASSERT_TRUE(run_until([&] { return snapshot_.slices_count() == 0; }));
  EXPECT_THAT(refused_, IsEmpty());
}

TEST_F(ApiSource, TlsAndAClientOfTheRightAuthority) {
  FakeApiServer::Options options;
  options.token = "t-1";
  FakeApiServer& server = serve_tls(std::move(options));
  server.set(Kind::kService, key_of("web"), service_members("10.96.0.10"));
  config_.token = "t-1";
  start();
  ASSERT_TRUE(run_until_watching());
  server.set(Kind::kService, key_of("web"), service_members("10.96.0.12"));
  EXPECT_TRUE(run_until([&] { return ip_of("web") == "10.96.0.12"; }));
}

TEST_F(ApiSource, AServerUrlMayHaveAPath) {
  FakeApiServer& server = serve();
  config_.path_prefix = "/k8s/clusters/c-1";
  start();
  ASSERT_TRUE(run_until([&] { return server.requests().size() >= 3; }));
  for (const Request& request : server.requests())
    EXPECT_THAT(request.path, testing::StartsWith("/k8s/clusters/c-1/api"));
}

// ---- older and newer servers ----

TEST_F(ApiSource, FallsBackToV1beta1AndFollowsAnUpgrade) {
  FakeApiServer::Options options;
  options.serves_v1 = false;
  timing_.backoff_min = timing_.backoff_max = 60s;  // an unserved version must not cause a wait
  FakeApiServer& server = serve(options);
  server.set(Kind::kSlice, key_of("web-1"),
             R"("addressType":"IPv4","ports":[{"name":"http","port":8080}],"endpoints":[{"addresses":["10.244.1.5"],)"
             R"("topology":{"kubernetes.io/hostname":"node-a"}}])",
             slice_metadata("web"));
  start();
  ASSERT_TRUE(run_until_watching());
  EXPECT_EQ(snapshot_.slices_of(key_of("web")).front()->endpoints.front().node_name, "node-a");
  EXPECT_EQ(server.watches(Kind::kSlice).front().path, "/apis/discovery.k8s.io/v1beta1/endpointslices");
  server.change([](FakeApiServer::Options& now) {
    now.serves_v1 = true;
    now.serves_v1beta1 = false;
  });
  run_for(20ms);  // a watch shorter than watch_short must not restart at once
  server.end_watches();
  ASSERT_TRUE(run_until([&] {
    return server.open_watches() == 3 &&
           server.watches(Kind::kSlice).back().path == "/apis/discovery.k8s.io/v1/endpointslices";
  }));
  EXPECT_EQ(snapshot_.slices_count(), 1U);
  EXPECT_THAT(removed_, IsEmpty());
  // Another server's cache may be older than what is served now.
  EXPECT_THAT(server.lists(Kind::kSlice).back().query_text, testing::Not(HasSubstr("resourceVersion")));
}

TEST_F(ApiSource, DropsAFieldSelectorThatTheServerDoesNotKnow) {
  FakeApiServer::Options options;
  options.knows_cluster_ip_selector = false;
  FakeApiServer& server = serve(options);
  server.set(Kind::kService, key_of("web"), service_members("10.96.0.10"));
  server.set(Kind::kService, key_of("db"), service_members("None"));
  start();
  ASSERT_TRUE(run_until_watching());
  EXPECT_EQ(ip_of("web"), "10.96.0.10");
  EXPECT_TRUE(snapshot_.service(key_of("db"))->headless) << "planning leaves it out";
  EXPECT_THAT(server.watches(Kind::kService).front().query_text, testing::Not(HasSubstr("fieldSelector")));
  EXPECT_THAT(server.watches(Kind::kService).front().query_text, HasSubstr("service-proxy-name"));
}

// ---- events ----

class EventSinkTest : public ApiFixture {
 protected:
  static EventNote note_about(model::ObjectKey regarding, std::string reason, std::string note = "") {
    EventNote event;
    event.reason = std::move(reason);
    event.note = std::move(note);
    event.regarding_kind = regarding.namespace_name.empty() ? "Node" : "Service";
    event.regarding = std::move(regarding);
    event.regarding_uid = "u-1";
    return event;
  }
};

TEST_F(EventSinkTest, PostsWhatHappened) {
  FakeApiServer& server = serve_tls();
  server.intercept([](const Request& request, Peer& peer) {
    if (request.method == "GET")
      return peer.send(net::test::answer(200, R"({"items":[{"metadata":{"name":"web","uid":"s-7"}}]})"));
    return peer.send(net::test::answer(201, "{}"));
  });
  config_.token = "t-1";
  events_ = make_event_sink(loop_, config_, "node-a", hooks());
  EventNote node_event;
  node_event.reason = "Starting";
  node_event.action = "StartKubeProxy";
  node_event.regarding = {"", "node-a"};
  node_event.regarding_uid = "u-1";
  events_->post(node_event);
  EventNote service_event;
  service_event.warning = true;
  service_event.reason = "FailedToStartServiceHealthcheck";
  service_event.action = "Listen";
  service_event.note = std::string(2000, 'x') + "\"\n";
  service_event.regarding_kind = "Service";
  service_event.regarding = {"shop", "web"};
  events_->post(service_event);
  ASSERT_TRUE(run_until([&] { return requests_.size() == 3; }));
  const auto requests = server.requests();
  EXPECT_EQ(requests[0].method, "POST");
  EXPECT_EQ(requests[0].path, "/apis/events.k8s.io/v1/namespaces/default/events");
  EXPECT_EQ(requests[0].headers.at("authorization"), "Bearer t-1");
  EXPECT_EQ(requests[0].headers.at("content-type"), "application/json");
  for (const char* part : {R"("type":"Normal")", R"("reason":"Starting")", R"("action":"StartKubeProxy")",
                           R"("regarding":{"apiVersion":"v1","kind":"Node","name":"node-a","uid":"u-1"})",
                           R"("reportingController":"kube-proxy")", R"("reportingInstance":"kube-proxy-node-a")"}) {
    EXPECT_THAT(requests[0].body, HasSubstr(part));
  }
  EXPECT_EQ(requests[1].path, "/api/v1/namespaces/shop/services");
  EXPECT_EQ(requests[1].query_text, "fieldSelector=metadata.name%3Dweb");
  EXPECT_EQ(requests[1].headers.at("authorization"), "Bearer t-1");
  EXPECT_EQ(requests[2].path, "/apis/events.k8s.io/v1/namespaces/shop/events");
  EXPECT_THAT(requests[2].body, HasSubstr(R"("type":"Warning")"));
  EXPECT_THAT(requests[2].body, HasSubstr(R"("kind":"Service","namespace":"shop","name":"web","uid":"s-7")"))
      << "kubectl describe service looks for it";
  EXPECT_LT(requests[2].body.size(), 1500U) << "the API takes 1 kB of note";
  EXPECT_THAT(requests_[1], HasSubstr("200 GET"));
  EXPECT_THAT(requests_[2], HasSubstr("201 POST"));
}

TEST_F(EventSinkTest, AServiceWhoseUidCannotBeHadGetsItsEventAllTheSame) {
  for (const char* listed : {"", "{", R"({"items":[]})", R"({"items":[{"metadata":{"uid":7}}]})"}) {
    SCOPED_TRACE(listed);
    requests_.clear();
    FakeApiServer& server = serve();
    server.intercept([&](const Request& request, Peer& peer) {
      if (request.method == "GET") return peer.send(net::test::answer(*listed == '\0' ? 403 : 200, listed));
      return peer.send(net::test::answer(201, "{}"));
    });
    events_ = make_event_sink(loop_, config_, "node-a", hooks());
    EventNote event = note_about({"shop", "web"}, "Failed");
    event.regarding_uid.clear();
    events_->post(event);
    ASSERT_TRUE(run_until([&] { return requests_.size() == 2; }));
    EXPECT_THAT(server.requests()[1].body, HasSubstr(R"("name":"web","uid":"")"));
  }
}

TEST_F(EventSinkTest, AnOldServerGetsTheEventInItsOldForm) {
  for (const int refusal : {404, 422}) {
    SCOPED_TRACE(refusal);
    requests_.clear();
    FakeApiServer& server = serve();
    server.intercept([&](const Request& request, Peer& peer) {
      return peer.send(net::test::answer(request.path.starts_with("/apis/") ? refusal : 201, "{}"));
    });
    events_ = make_event_sink(loop_, config_, "node-a", hooks());
    events_->post(note_about({"", "node-a"}, "Starting", "first"));
    events_->post(note_about({"shop", "web"}, "Failed"));
    ASSERT_TRUE(run_until([&] { return requests_.size() == 4; }));
    const auto requests = server.requests();
    EXPECT_EQ(requests[1].path, "/api/v1/namespaces/default/events");
    for (const char* part : {R"("involvedObject":{"apiVersion":"v1","kind":"Node","name":"node-a","uid":"node-a"})",
                             R"("source":{"component":"kube-proxy","host":"node-a"})", R"("message":"first")",
                             R"("reason":"Starting")", R"("type":"Normal")", R"("count":1)"}) {
      EXPECT_THAT(requests[1].body, HasSubstr(part));
    }
    EXPECT_EQ(requests[2].path, "/apis/events.k8s.io/v1/namespaces/shop/events") << "each event is tried anew";
    EXPECT_EQ(requests[3].path, "/api/v1/namespaces/shop/events");
    EXPECT_THAT(requests[3].body, HasSubstr(R"("kind":"Service","namespace":"shop","name":"web")"));
  }
}

TEST_F(EventSinkTest, AServerThatRefusesBothFormsIsNotAskedAgain) {
  FakeApiServer& server = serve();
  server.intercept([](const Request&, Peer& peer) { return peer.send(net::test::answer(404, "{}")); });
  events_ = make_event_sink(loop_, config_, "node-a", hooks());
  events_->post(note_about({"", "node-a"}, "Starting"));
  ASSERT_TRUE(run_until([&] { return requests_.size() == 2; }));
  run_for(50ms);
  EXPECT_EQ(server.requests().size(), 2U);
}

TEST_F(EventSinkTest, ARecentEventIsNotRepeated) {
  FakeApiServer& server = serve();
  server.intercept([](const Request&, Peer& peer) { return peer.send(net::test::answer(201, "{}")); });
  events_ = make_event_sink(loop_, config_, "node-a", hooks());
  for (const char* note : {"port 1", "port 1", "port 2", "port 1"})
    events_->post(note_about({"shop", "web"}, "Failed", note));
  ASSERT_TRUE(run_until([&] { return requests_.size() == 2; }));
  run_for(50ms);
  EXPECT_EQ(server.requests().size(), 2U);
}

TEST_F(EventSinkTest, FlushWaitsForTheLastEvents) {
  FakeApiServer& server = serve();
  std::atomic<bool>& hanging = flag(false);
  server.intercept([&](const Request&, Peer& peer) {
    if (hanging) peer.wait_for_end();
    return hanging || peer.send(net::test::answer(201, "{}"));
  });
  events_ = make_event_sink(loop_, config_, "node-a", hooks());
  auto work = boost::asio::make_work_guard(loop_);
  loop_.restart();
  std::thread thread([this] { loop_.run(); });
  for (const char* note : {"1", "2", "3"}) events_->post(note_about({"", "node-a"}, "Failed", note));
  events_->flush(60s);
  EXPECT_EQ(server.requests().size(), 3U);
  hanging = true;
  events_->post(note_about({"", "node-a"}, "Failed", "4"));
  events_->flush(50ms);  // returns although the server does not respond
  work.reset();
  loop_.stop();
  thread.join();
}

TEST_F(EventSinkTest, AServerThatIsAwayCostsABoundedQueueAndNothingElse) {
  FakeApiServer& server = serve();
  server.intercept([](const Request&, Peer& peer) { return peer.send(net::test::answer(503, "away")); });
  events_ = make_event_sink(loop_, config_, "node-a", hooks());
  for (int i = 0; i < 1000; ++i) events_->post(note_about({"", "node-a"}, "Failed", std::to_string(i)));
  ASSERT_TRUE(run_until([&] { return requests_.size() == 64; }));
  run_for(50ms);
  EXPECT_EQ(server.requests().size(), 64U);
}

TEST_F(EventSinkTest, MayBeDestroyedWhileEventsAreUnderWay) {
  FakeApiServer& server = serve();
  server.intercept([](const Request&, Peer& peer) {
    peer.wait_for_end();
    return true;
  });
  events_ = make_event_sink(loop_, config_, "node-a", hooks());
  events_->post({});
  ASSERT_TRUE(run_until([&] { return !server.requests().empty(); }));
  events_->post({});
  events_.reset();
  loop_.restart();
  loop_.run_for(60s);
  EXPECT_TRUE(loop_.stopped()) << "something of the sink is still waiting";
}

}  // namespace
}  // namespace sluice::kube::test
