// SPDX-License-Identifier: Apache-2.0
// The API source with servers and networks that misbehave. In every test here what was served stays, and
// the true state arrives in the end.
// Long, because there are many faults, and each has its own test.
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>

#include "base/log.h"
#include "kube/api_fixture.h"
#include "kube/json_stream.h"

namespace sluice::kube::test {
namespace {

using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using ApiSourceFaults = ApiWebFixture;

TEST_F(ApiSourceFaults, AWatchThatBreaksInAnyWayIsTakenUpAgain) {
  using namespace std::string_literals;
  struct Row {
    const char* name;
    std::string bytes;
    bool reset;
  };
  const std::string event = fmt::format(
      R"({{"type":"ADDED","object":{{"kind":"Service","metadata":{{"namespace":"shop","name":"half"}},{}}}}})",
      service_members("10.96.0.77"));
  const Row rows[] = {
      {"ended", "", false},
      {"reset", "", true},
      {"half an event, then ended", net::test::chunk(event.substr(0, 60)), false},
      {"half an event, then reset", net::test::chunk(event.substr(0, 60)), true},
      {"half a chunk, then reset", "100\r\n" + event.substr(0, 60), true},
      {"garbage", net::test::chunk("<html>proxy error</html>"), false},
      {"JSON that is no event", net::test::chunk(R"({"hello":"world"})"), false},
      {"an event whose object is no object", net::test::chunk(R"({"type":"ADDED","object":7})"), false},
      {"a chunk of nonsense length", "xyz\r\n", false},
      {"an error event", net::test::chunk(R"({"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd"}})"),
       false},
      {"closing brackets", net::test::chunk("}}}]"), false},
      {"NUL bytes", net::test::chunk("\0\0\0"s), false},
      {"invalid UTF-8",
       net::test::chunk("{\"type\":\"ADDED\",\"object\":{\"kind\":\"Service\",\"metadata\":{\"name\":\"\xff\xfe\"}}}"),
       false},
      {"nested without end", net::test::chunk(std::string(5000, '{')), false},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    removed_.clear();
    snapshot_ = {};
    FakeApiServer& server = start_with_web();
    const int version = server.set(Kind::kService, key_of("web"), service_members("10.96.0.11"));
    ASSERT_TRUE(run_until([&] { return ip_of("web") == "10.96.0.11"; }));
    const std::size_t before = server.watches(Kind::kService).size();
    if (!row.bytes.empty()) server.say(Kind::kService, row.bytes);
    run_for(20ms);
    server.end_watches(row.reset);
    ASSERT_TRUE(
        run_until([&] { return server.watches(Kind::kService).size() > before && server.open_watches() == 3; }));
    EXPECT_EQ(server.watches(Kind::kService).back().query["resourceVersion"], std::to_string(version));
    expect_that_changes_arrive();
    EXPECT_EQ(ip_of("half"), "") << "half an event is no event";
    EXPECT_EQ(server.lists(Kind::kService).size(), 1U);
    source_.reset();
  }
}

TEST_F(ApiSourceFaults, AnUnknownTypeOfEventIsPassedOver) {
  FakeApiServer& server = start_with_web();
  server.say(Kind::kService, net::test::chunk(R"({"type":"FANFARE","object":{"kind":"Service"}})"));
  expect_that_changes_arrive();
  EXPECT_EQ(server.watches(Kind::kService).size(), 1U);
}

TEST_F(ApiSourceFaults, AVersionThatIsTooOldMeansANewListAndNothingIsDroppedMeanwhile) {
  for (const bool as_event : {false, true}) {
    SCOPED_TRACE(as_event ? "as an event" : "as a status");
    removed_.clear();
    snapshot_ = {};
    FakeApiServer::Options options;
    options.expired_as_event = as_event;
    FakeApiServer& server = serve(options);
    server.set(Kind::kService, key_of("web"), service_members("10.96.0.10"));
    server.set(Kind::kService, key_of("old"), service_members("10.96.0.11"));
    start();
    ASSERT_TRUE(run_until_watching());
    std::atomic<bool>& closed = flag(true);
    server.intercept([&](const Request& request, Peer& peer) {
      return closed && kind_of(request) == Kind::kService && peer.send(net::test::answer(503, "busy"));
    });
    server.end_watches();
    server.remove(Kind::kService, key_of("old"));
    server.set(Kind::kService, key_of("new"), service_members("10.96.0.12"));
    server.compact();
    closed = false;
    ASSERT_TRUE(run_until([&] { return server.open_watches() == 3 && ip_of("new") == "10.96.0.12"; }));
    EXPECT_THAT(service_names(), ElementsAre("new", "web"));
    EXPECT_THAT(removed_, ElementsAre("old"));
    // The list after it must not come from a cache that may be as old.
    EXPECT_THAT(server.lists(Kind::kService).back().query_text, testing::Not(HasSubstr("resourceVersion")));
    source_.reset();
  }
}

TEST_F(ApiSourceFaults, WaitsOfAnOutageThatIsOverDoNotDelayTheNewList) {
  FakeApiServer& server = serve();
  server.set(Kind::kService, key_of("web"), service_members("10.96.0.10"));
  std::atomic<int>& times = number(12);
  server.intercept([&](const Request&, Peer& peer) { return times-- > 0 && peer.send(net::test::answer(503, "no")); });
  start();
  ASSERT_TRUE(run_until_watching());
  run_for(20ms);  // a watch shorter than watch_short counts as failed
  testing::internal::CaptureStderr();
  server.say(Kind::kService, net::test::chunk(R"({"type":"ERROR","object":{"kind":"Status","code":410}})"));
  const bool listed = run_until([&] {
    return server.lists(Kind::kService).back().query_text.find("resourceVersion") == std::string::npos &&
           server.open_watches() == 3;
  });
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::Not(HasSubstr("410 Gone"))) << "it waited";
  EXPECT_TRUE(listed);
}

TEST_F(ApiSourceFaults, AServerThatFindsEveryVersionTooOldIsNotAskedInALoop) {
  timing_.backoff_min = timing_.backoff_max = 60s;
  FakeApiServer& server = serve();
  server.intercept([](const Request& request, Peer& peer) {
    return is_watch(request) && peer.send(net::test::answer(410, R"({"kind":"Status","code":410})"));
  });
  start();
  ASSERT_TRUE(run_until([&] { return server.watches(Kind::kService).size() == 2; }));
  run_for(300ms);
  EXPECT_EQ(server.lists(Kind::kService).size(), 2U);
  EXPECT_EQ(server.watches(Kind::kService).size(), 2U);
}

TEST_F(ApiSourceFaults, AServerThatEndsWatchesAtOnceIsNotAskedInALoop) {
  timing_.backoff_min = timing_.backoff_max = 60s;
  timing_.watch_short = 10s;
  FakeApiServer& server = serve();
  server.intercept([](const Request& request, Peer& peer) {
    return is_watch(request) && peer.send(net::test::chunked_head(200) + std::string(net::test::kLastChunk));
  });
  start();
  ASSERT_TRUE(run_until([&] { return server.watches(Kind::kService).size() == 1; }));
  run_for(300ms);
  EXPECT_EQ(server.watches(Kind::kService).size(), 1U);
}

TEST_F(ApiSourceFaults, AListOfPagesThatExpiresInBetweenStartsOver) {
  complete_before_removal_ = false;  // the first page was reported, so its removal must be too
  FakeApiServer::Options options;
  options.page = 2;
  FakeApiServer& server = serve(options);
  for (int i = 1; i <= 5; ++i)
    server.set(Kind::kService, key_of(fmt::format("s{}", i)), service_members(fmt::format("10.96.0.{}", i)));
  std::atomic<bool>& expired = flag(false);
  server.intercept([&](const Request& request, Peer&) {
    if (request.query.contains("continue") && !expired.exchange(true)) {
      server.remove(Kind::kService, key_of("s1"));  // it was on the first page
      server.compact();
    }
    return false;
  });
  start();
  ASSERT_TRUE(run_until_watching());
  EXPECT_THAT(service_names(), ElementsAre("s2", "s3", "s4", "s5"));
  EXPECT_EQ(server.lists(Kind::kService).size(), 2U);
}

TEST_F(ApiSourceFaults, APageThatFailsStartsTheListOverAndRemovesNothing) {
  FakeApiServer::Options options;
  options.page = 2;
  FakeApiServer& server = serve(options);
  for (int i = 1; i <= 5; ++i)
    server.set(Kind::kService, key_of(fmt::format("s{}", i)), service_members(fmt::format("10.96.0.{}", i)));
  std::atomic<int>& pages = number(0);
  server.intercept([&](const Request& request, Peer& peer) {
    // The third page of the first list, the second of the next one.
    const bool later = kind_of(request) == Kind::kService && request.query.contains("continue");
    const int number = later ? ++pages : 0;
    if (number == 2) return peer.send(net::test::answer(503, "busy"));
    return number == 3 && peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"kind\":\"Serv");
  });
  start();
  ASSERT_TRUE(run_until_watching());
  EXPECT_THAT(service_names(), ElementsAre("s1", "s2", "s3", "s4", "s5"));
  EXPECT_EQ(server.lists(Kind::kService).size(), 3U);
  EXPECT_THAT(removed_, IsEmpty());
}

TEST_F(ApiSourceFaults, EachWaitIsLongerThanTheLastUpToABoundAndNoTwoClientsWaitInStep) {
  timing_.backoff_min = 4ms;
  timing_.backoff_max = 16ms;
  FakeApiServer& server = serve();
  server.intercept([](const Request&, Peer& peer) { return peer.send(net::test::answer(503, "busy")); });
  testing::internal::CaptureStderr();
  log::set_verbosity(3);  // repetitions are logged only there
  start();
  const bool enough = run_until([&] { return server.lists(Kind::kService).size() >= 40; });
  log::set_verbosity(0);
  source_.reset();
  const std::string text = testing::internal::GetCapturedStderr();
  ASSERT_TRUE(enough);
  std::vector<int> waits;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t at = line.find("retryInMs=\"");
    if (line.find("kind=\"Service\"") == std::string::npos || at == std::string::npos) continue;
    EXPECT_THAT(line, testing::AllOf(HasSubstr("doing=\"list\""), HasSubstr("503")));
    waits.push_back(std::stoi(line.substr(at + 11)));
  }
  ASSERT_GE(waits.size(), 39U);
  for (std::size_t i = 0; i < waits.size(); ++i) {
    SCOPED_TRACE(i);
    const int base = std::min(4 << std::min<std::size_t>(i, 2), 16);
    EXPECT_GE(waits[i], base);
    EXPECT_LE(waits[i], 2 * base);
  }
  const std::set<int> different(waits.begin() + 2, waits.end());
  EXPECT_GT(different.size(), 3U) << "without randomness, all nodes ask a server that comes back at once";
}

TEST_F(ApiSourceFaults, AListThatBreaksStartsOverAndRemovesNothing) {
  struct Row {
    const char* name;
    std::string bytes;
  };
  const std::string head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
  const std::string service = R"({"metadata":{"name":"web","namespace":"shop"},"spec":{"clusterIP":"10.96.0.66"}})";
  const Row rows[] = {
      {"nothing", ""},
      {"half", head + R"({"kind":"ServiceList","metadata":{"resourceVersion":"1"},"items":[)" + service + ",{\"meta"},
      {"HTML", net::test::answer(200, "<html>log in first</html>")},
      {"another document", net::test::answer(200, R"({"kind":"APIResourceList","resources":[]})")},
      {"an empty object", net::test::answer(200, "{}")},
      {"an empty body", net::test::answer(200, "")},
      {"a list of something else",
       net::test::answer(200, R"({"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[]})")},
      {"a list that names no version", net::test::answer(200, R"({"kind":"ServiceList","metadata":{},"items":[]})")},
      {"an object larger than the bound",
       net::test::answer(200, R"({"kind":"ServiceList","metadata":{},"items":[{"a":")" +
                                  std::string(JsonSplitter::kObjectBytesMax + 1, 'x') + R"("}]})")},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    removed_.clear();
    snapshot_ = {};
    FakeApiServer& server = start_with_web();
    std::atomic<int>& times = number(2);
    server.intercept([&](const Request& request, Peer& peer) {
      if (kind_of(request) != Kind::kService || is_watch(request) || times-- <= 0) return false;
      peer.send(row.bytes);
      return true;
    });
    server.end_watches();
    server.compact();
    ASSERT_TRUE(run_until([&] { return server.lists(Kind::kService).size() >= 4 && server.open_watches() == 3; }));
    expect_that_changes_arrive();
    source_.reset();
  }
}

TEST_F(ApiSourceFaults, AnUnusableObjectKeepsItsLastGoodStateAndIsLoggedOnce) {
  FakeApiServer& server = start_with_web();
  server.set(Kind::kService, key_of("web"), service_members("10.96.0.20", 70000));
  server.set(Kind::kService, key_of("other"), service_members("10.96.0.21"));
  ASSERT_TRUE(run_until([&] { return ip_of("other") == "10.96.0.21"; }));
  EXPECT_EQ(ip_of("web"), "10.96.0.10");
  EXPECT_THAT(refused_, ElementsAre("Service"));
  server.set(Kind::kService, key_of("web"), service_members("10.96.0.20", 70000), R"("labels":{"again":"1"})");
  server.compact();  // and a new list shows it once more
  server.end_watches();
  ASSERT_TRUE(run_until([&] { return server.lists(Kind::kService).size() == 2 && server.open_watches() == 3; }));
  EXPECT_EQ(ip_of("web"), "10.96.0.10");
  EXPECT_THAT(refused_, ElementsAre("Service"));
  EXPECT_THAT(removed_, IsEmpty());
  server.set(Kind::kService, key_of("web"), service_members("10.96.0.20"));
  ASSERT_TRUE(run_until([&] { return ip_of("web") == "10.96.0.20"; }));
  server.set(Kind::kService, key_of("web"), service_members("10.96.0.20", 70000));
  ASSERT_TRUE(run_until([&] { return refused_.size() == 2; }));
  server.remove(Kind::kService, key_of("web"));
  ASSERT_TRUE(run_until([&] { return ip_of("web").empty(); }));
}

TEST_F(ApiSourceFaults, AnUnusableObjectDoesNotAffectOthersAndTheLogNamesItAndItsField) {
  FakeApiServer& server = serve();
  server.set(Kind::kService, key_of("bad"), service_members("10.96.0.11", 70000));
  server.set(Kind::kService, key_of("web"), service_members("10.96.0.10"));
  server.set(Kind::kSlice, key_of("bad-1"), R"("addressType":"IPX")", slice_metadata("bad"));
  server.set(Kind::kSlice, key_of("web-1"), slice_members("10.244.1.5"), slice_metadata("web"));
  testing::internal::CaptureStderr();
  start();
  const bool watching = run_until_watching();
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::AllOf(HasSubstr("object=\"shop/bad\" err=\"spec.ports[0].port: 70000"),
                             HasSubstr("object=\"shop/bad-1\" err=\"addressType: ")));
  ASSERT_TRUE(watching);
  EXPECT_THAT(service_names(), ElementsAre("web"));
  EXPECT_EQ(snapshot_.slices_count(), 1U);
  EXPECT_THAT(refused_, testing::UnorderedElementsAre("Service", "EndpointSlice"));
}

TEST_F(ApiSourceFaults, ARefusedTokenIsReplacedByTheOneInItsFile) {
  const std::string path = testing::TempDir() + "kube-token-" + std::to_string(::getpid());
  const auto write_token = [&](const char* token) { std::ofstream(path) << token << "\n"; };
  write_token("old");
  FakeApiServer::Options options;
  options.token = "new";
  FakeApiServer& server = serve_tls(std::move(options));
  server.set(Kind::kService, key_of("web"), service_members("10.96.0.10"));
  config_.token_file = path;
  start();
  ASSERT_TRUE(run_until([&] {
    return std::count_if(requests_.begin(), requests_.end(), [](auto& r) { return r.starts_with("401"); }) >= 3;
  }));
  EXPECT_EQ(updates_, 0);
  std::filesystem::remove(path);  // between unlink and create of a writer
  run_for(50ms);
  write_token("new");
  EXPECT_TRUE(run_until_watching());
  EXPECT_EQ(ip_of("web"), "10.96.0.10");
  std::filesystem::remove(path);
}

TEST_F(ApiSourceFaults, WaitsAsLongAsAnOverloadedServerSays) {
  FakeApiServer& server = serve();
  std::atomic<int>& asked = number(0);
  std::chrono::steady_clock::time_point first;
  std::chrono::steady_clock::time_point second;
  server.intercept([&](const Request& request, Peer& peer) {
    if (kind_of(request) != Kind::kService) return false;
    if (++asked == 2) second = std::chrono::steady_clock::now();
    if (asked != 1) return false;
    first = std::chrono::steady_clock::now();
    return peer.send(net::test::answer(429, "", "Retry-After: 1\r\n"));
  });
  start();
  ASSERT_TRUE(run_until_watching());
  EXPECT_GE(second - first, 1s);
}

TEST_F(ApiSourceFaults, RefusalsOfAllKindsAreOutlived) {
  for (const int status : {400, 401, 403, 404, 409, 429, 500, 502, 503, 504}) {
    SCOPED_TRACE(status);
    removed_.clear();
    snapshot_ = {};
    FakeApiServer& server = start_with_web();
    std::atomic<int>& times = number(12);
    server.intercept(
        [&](const Request&, Peer& peer) { return times-- > 0 && peer.send(net::test::answer(status, "no")); });
    server.end_watches();
    ASSERT_TRUE(run_until([&] { return times < 0 && server.open_watches() == 3; }));
    expect_that_changes_arrive();
    source_.reset();
  }
}

TEST_F(ApiSourceFaults, AWatchThatIsRefusedForItsVersionGetsANewList) {
  FakeApiServer& server = start_with_web();
  std::atomic<bool>& listed = flag(false);
  server.intercept([&](const Request& request, Peer& peer) {
    if (kind_of(request) != Kind::kService) return false;
    if (!is_watch(request)) listed = true;
    return !listed && peer.send(net::test::answer(504, "Too large resource version"));
  });
  server.end_watches();
  EXPECT_TRUE(run_until([&] { return listed && server.open_watches() == 3; }));
  expect_that_changes_arrive();
}

TEST_F(ApiSourceFaults, AServerThatIsNotThereYetIsFoundOnceItIs) {
  config_.target.tls = false;
  config_.target.host = "127.0.0.1";
  config_.target.port = net::test::kPortOfNobody;
  start();
  ASSERT_TRUE(run_until([&] { return requests_.size() >= 6; }));
  EXPECT_THAT(requests_, Each(HasSubstr("<error> GET 127.0.0.1:" + std::to_string(net::test::kPortOfNobody))));
  EXPECT_EQ(updates_, 0);
}

TEST_F(ApiSourceFaults, ASilentWatchIsRestarted) {
  timing_.watch_silence = 200ms;
  FakeApiServer& server = serve();
  std::atomic<bool>& frozen = flag(true);
  server.intercept([&](const Request& request, Peer& peer) {
    if (!frozen || !is_watch(request)) return false;
    peer.send(net::test::chunked_head(200));
    peer.wait_for_end();
    return true;
  });
  start();
  ASSERT_TRUE(run_until([&] { return server.watches(Kind::kService).size() >= 2; }));
  frozen = false;
  server.set(Kind::kService, key_of("web"), service_members("10.96.0.10"));
  EXPECT_TRUE(run_until([&] { return ip_of("web") == "10.96.0.10"; }));
}

TEST_F(ApiSourceFaults, AListThatHangsIsRestarted) {
  timing_.http.idle = timing_.http.response = 200ms;
  FakeApiServer& server = serve();
  std::atomic<int>& times = number(6);
  server.intercept([&](const Request& request, Peer& peer) {
    const int left = times--;
    if (is_watch(request) || left <= 0) return false;
    if (left % 2 == 0) peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{");
    peer.wait_for_end();
    return true;
  });
  start();
  EXPECT_TRUE(run_until([&] { return snapshot_.complete(); }));
}

TEST_F(ApiSourceFaults, ATrickleOfSingleBytesIsFollowed) {
  FakeApiServer& server = start_with_web();
  const std::string event = fmt::format(
      R"({{"type":"ADDED","object":{{"kind":"Service","metadata":{{"namespace":"shop","name":"sl\u006fw"}},{}}}}})",
      service_members("10.96.0.78"));
  for (const char byte : event) {
    server.say(Kind::kService, net::test::chunk(std::string(1, byte)));
    run_for(1ms);
  }
  EXPECT_TRUE(run_until([&] { return ip_of("slow") == "10.96.0.78"; }));
}

TEST_F(ApiSourceFaults, AnUnverifiedServerGetsNothingAndIsNotBelieved) {
  const net::test::Authority authority;
  const net::test::Authority other;
  struct Row {
    const char* name;
    net::test::Certificate certificate;
  };
  const Row rows[] = {{"wrong host", authority.issue("IP:127.0.0.9")},
                      {"unknown CA", other.issue("IP:127.0.0.1")},
                      {"expired", authority.issue("IP:127.0.0.1", -7200, -3600)}};
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    requests_.clear();
    FakeApiServer::Options options;
    options.server.certificate = row.certificate;
    FakeApiServer& server = serve(std::move(options));
    server.set(Kind::kService, key_of("web"), service_members("10.96.0.10"));
    config_.target.tls_settings.ca_pem = authority.certificate_pem();
    config_.token = "secret";
    start();
    ASSERT_TRUE(run_until([&] { return requests_.size() >= 6; }));
    EXPECT_THAT(requests_, Each(testing::StartsWith("<error>")));
    EXPECT_THAT(server.requests(), IsEmpty());
    EXPECT_EQ(updates_, 0);
    source_.reset();
  }
}

TEST_F(ApiSourceFaults, MayBeDestroyedAtAnyMoment) {
  for (int steps = 0; steps < 60; ++steps) {
    FakeApiServer& server = serve();
    server.set(Kind::kService, key_of("web"), service_members("10.96.0.10"));
    if (steps % 2 == 0)
      server.intercept([](const Request&, Peer& peer) { return peer.send(net::test::answer(500, "no")); });
    start();
    loop_.restart();
    for (int i = 0; i < steps; ++i) loop_.run_one_for(5ms);
    source_.reset();
    const int updates = updates_;
    run_for(5ms);
    EXPECT_EQ(updates_, updates) << "an update after the source was gone";
  }
}

// ---- everything at once ----

TEST_F(ApiSourceFaults, AfterAnySequenceOfFaultsWhatIsTrueArrives) {
  complete_before_removal_ = false;
  for (const unsigned seed : {1U, 2U, 3U, 4U}) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const auto pick = [&](unsigned below) { return std::uniform_int_distribution<unsigned>(0, below - 1)(random); };
    snapshot_ = {};
    FakeApiServer::Options options;
    options.page = 3;
    FakeApiServer& server = serve(options);
    std::atomic<int>& failures = number(0);
    server.intercept([&](const Request&, Peer& peer) {
      if (failures <= 0) return false;
      const int number = failures--;
      if (number % 3 == 0) peer.send(net::test::answer(503, "busy"));
      if (number % 3 == 1) peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"kind\"");
      return true;
    });
    start();
    std::map<std::string, std::string> truth;
    for (int step = 0; step < 150; ++step) {
      const std::string name = fmt::format("s{}", pick(12));
      switch (pick(8)) {
        case 0:
          server.end_watches(pick(2) == 0);
          break;
        case 1:
          server.compact();
          break;
        case 2:
          failures = static_cast<int>(pick(5));
          break;
        case 3:
          server.say(Kind::kService, pick(2) == 0 ? "zz\r\n" : net::test::chunk("{\"type\":"));
          break;
        case 4:
          server.remove(Kind::kService, key_of(name));
          truth.erase(name);
          break;
        default:
          truth[name] = fmt::format("10.96.{}.{}", step, pick(200) + 1);
          server.set(Kind::kService, key_of(name), service_members(truth[name]));
      }
      run_for(std::chrono::milliseconds(pick(6)));
    }
    failures = 0;
    server.end_watches();  // ends what a raw half event left pending
    EXPECT_TRUE(run_until([&] {
      return service_names().size() == truth.size() && std::all_of(truth.begin(), truth.end(), [&](const auto& entry) {
               return ip_of(entry.first) == entry.second;
             });
    }));
    source_.reset();
  }
}

}  // namespace
}  // namespace sluice::kube::test
