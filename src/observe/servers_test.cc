// SPDX-License-Identifier: Apache-2.0
#include "observe/servers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "net/http_server.h"
#include "net/test_http.h"

namespace sluice::observe {
namespace {

using namespace std::chrono_literals;
using net::test::Answer;
using net::test::ask;
using net::test::Client;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const IpAddress kLoopback = IpAddress::from_v4(INADDR_LOOPBACK);

Answer ask_as(std::uint16_t port, const std::string& path, const std::string& accept) {
  Client client(port, kLoopback);
  client.send("GET " + path + " HTTP/1.1\r\nHost: node\r\nConnection: close\r\nAccept: " + accept + "\r\n\r\n");
  return client.answer(false).value_or(Answer{});
}

class ServersTest : public testing::Test {
 protected:
  void TearDown() override { loop_.stop(); }

  static ServerOptions on_loopback(std::uint16_t port = 0) {
    ServerOptions options;
    options.listen_on = {kLoopback, port};
    return options;
  }

  std::uint16_t serve_healthz() { return keep(start_healthz_server(loop_.loop, on_loopback(), health_, metrics_)); }

  std::uint16_t serve_metrics(const MetricsPages& pages) {
    return keep(start_metrics_server(loop_.loop, on_loopback(), metrics_, pages));
  }

  std::uint16_t keep(Result<std::unique_ptr<ObserveServer>> server) {
    EXPECT_TRUE(server) << server.error().what;
    if (!server) return 0;
    server_ = std::move(*server);
    return server_->port();
  }

  FakeClock clock_;
  Health health_{clock_, 60s};
  Metrics metrics_;
  net::test::LoopThread loop_;
  std::unique_ptr<ObserveServer> server_;
};

TEST_F(ServersTest, HealthzAndLivezAnswerAsJsonAndAreCounted) {
  const std::uint16_t port = serve_healthz();
  const Answer ineligible = ask(port, "/healthz");
  EXPECT_EQ(ineligible.status, 503);
  EXPECT_EQ(ineligible.body, health_.healthz().body);
  EXPECT_EQ(ineligible.headers.at("content-type"), "application/json");
  EXPECT_EQ(ineligible.headers.at("x-content-type-options"), "nosniff");
  EXPECT_EQ(ask(port, "/livez").body, health_.livez().body);
  health_.set_node("");
  EXPECT_EQ(ask(port, "/healthz", "POST", "x").status, 200);
  EXPECT_EQ(ask(port, "/livez?verbose").status, 200);
  const std::string text = metrics_.text();
  EXPECT_THAT(
      text,
      HasSubstr("kubeproxy_proxy_healthz_total{code=\"200\"} 1\nkubeproxy_proxy_healthz_total{code=\"503\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("kubeproxy_proxy_livez_total{code=\"200\"} 2\n"));
}

TEST_F(ServersTest, HealthzFailsWhenChangesWaitTooLong) {
  health_.set_node("");
  health_.loop_started(Family::kIPv4);
  health_.queued(Family::kIPv4);
  const std::uint16_t port = serve_healthz();
  EXPECT_EQ(ask(port, "/healthz").status, 200);
  clock_.advance(60s);
  EXPECT_EQ(ask(port, "/healthz").status, 503);
  EXPECT_EQ(ask(port, "/livez").status, 503);
}

TEST_F(ServersTest, TheHealthzServerHasNoOtherPages) {
  const std::uint16_t port = serve_healthz();
  for (const char* path : {"/", "/healthz/", "/healthz/ping", "/metrics", "/readyz"}) {
    const Answer answer = ask(port, path);
    EXPECT_EQ(answer.status, 404) << path;
    EXPECT_EQ(answer.body, "404 page not found\n") << path;
  }
}

TEST_F(ServersTest, PagesOfTheMetricsServer) {
  MetricsPages pages{.proxy_mode = "iptables"};
  pages.configz = [] { return std::string(R"({"kind":"KubeProxyConfiguration"})"); };
  pages.flagz = FlagValues{{"v", "2"}};
  pages.emulation_version = "1.36";
  const std::uint16_t port = serve_metrics(pages);
  struct Row {
    const char* path;
    int status;
    const char* content_type;
    std::string body;
  };
  const char* text = "text/plain; charset=utf-8";
  const std::vector<Row> rows{
      {"/healthz", 200, text, "ok"},
      {"/healthz?other=verbose", 200, text, "ok"},
      {"/healthz?verbose", 200, text, "[+]ping ok\nhealthz check passed\n"},
      {"/healthz?a=b&verbose=true", 200, text, "[+]ping ok\nhealthz check passed\n"},
      {"/healthz/ping", 200, text, "ok"},
      {"/proxyMode", 200, text, "iptables"},
      {"/configz", 200, "application/json", R"({"kubeproxy.config.k8s.io":{"kind":"KubeProxyConfiguration"}})"},
      {"/flagz", 200, text, flagz_page({}, {{"v", "2"}})},
      {"/", 404, text, "404 page not found\n"},
      {"/debug/pprof/", 404, text, "404 page not found\n"},
      {"/debug/flags/v", 404, text, "404 page not found\n"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.path);
    const Answer answer = ask(port, row.path);
    EXPECT_EQ(answer.status, row.status);
    EXPECT_EQ(answer.body, row.body);
    EXPECT_EQ(answer.headers.at("content-type"), row.content_type);
    EXPECT_EQ(answer.headers.at("x-content-type-options"), "nosniff");
  }
}

TEST_F(ServersTest, ZpagesHaveTheRequestedForm) {
  MetricsPages pages{.proxy_mode = "iptables"};
  pages.flagz = FlagValues{{"v", "2"}};
  pages.emulation_version = "1.36";
  const std::uint16_t port = serve_metrics(pages);
  const Answer statusz = ask(port, "/statusz");
  EXPECT_EQ(statusz.status, 200);
  EXPECT_EQ(statusz.headers.at("content-type"), "text/plain; charset=utf-8");
  EXPECT_THAT(statusz.body, HasSubstr("\nEmulation version: 1.36\nPaths: /flagz /healthz /metrics /proxyMode\n"));
  EXPECT_THAT(statusz.body, HasSubstr("\nUp: 0 hr 0"));
  const std::string form = "application/json;v=v1beta1;g=config.k8s.io;as=";
  const Answer object = ask_as(port, "/flagz", form + "Flagz");
  EXPECT_EQ(object.status, 200);
  EXPECT_EQ(object.headers.at("content-type"), "application/json");
  EXPECT_EQ(object.body, flagz_page({"v1beta1"}, {{"v", "2"}}));
  EXPECT_EQ(ask_as(port, "/statusz", form + "Statusz").headers.at("content-type"), "application/json");
  const Answer refused = ask_as(port, "/statusz", "application/xml");
  EXPECT_EQ(refused.status, 406);
  EXPECT_THAT(refused.body, HasSubstr(R"("reason":"NotAcceptable")"));
}

TEST_F(ServersTest, ZpagesDoNotExistUnlessSet) {
  const std::uint16_t port = serve_metrics({.proxy_mode = "iptables"});
  for (const char* path : {"/flagz", "/statusz"}) EXPECT_EQ(ask(port, path).status, 404) << path;
}

TEST_F(ServersTest, MetricsAreServedAsPrometheusText) {
  const std::uint16_t port = serve_metrics({.proxy_mode = "iptables"});
  metrics_.add_service_changes(3);
  const Answer answer = ask(port, "/metrics");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_THAT(answer.body, HasSubstr("\nkubeproxy_sync_proxy_rules_service_changes_total 3\n"));
}

TEST_F(ServersTest, WithProfilingTheVerbosityCanBeSet) {
  std::vector<int> levels;
  MetricsPages pages{.proxy_mode = "iptables"};
  pages.profiling = true;
  pages.set_verbosity = [&levels](int level) { levels.push_back(level); };
  const std::uint16_t port = serve_metrics(pages);
  const Answer done = ask(port, "/debug/flags/v", "PUT", "4");
  EXPECT_EQ(done.status, 200);
  EXPECT_EQ(done.body, "successfully set klog.logging.verbosity to 4\n");
  for (const char* wrong : {"", "x", "4x", "99999999999", "1.5"})
    EXPECT_EQ(ask(port, "/debug/flags/v", "PUT", wrong).status, 400) << wrong;
  EXPECT_EQ(ask(port, "/debug/flags/v", "GET").status, 406);
  EXPECT_EQ(ask(port, "/debug/pprof/heap").status, 501);
  EXPECT_THAT(levels, ElementsAre(4));
}

TEST_F(ServersTest, APortInUseIsRetriedUntilItIsFree) {
  auto squatter = net::HttpServer::listen(loop_.loop, kLoopback, 0, [](const auto&) { return net::HttpResponse{}; });
  ASSERT_TRUE(squatter);
  const std::uint16_t port = (*squatter)->port();
  std::promise<void> failed_thrice;
  int failures = 0;  // the loop's thread only
  ServerOptions options = on_loopback(port);
  options.retry_interval = 1ms;
  options.on_failure = [&](const std::string& error) {
    EXPECT_THAT(error, HasSubstr("127.0.0.1:" + std::to_string(port)));
    if (++failures == 3) failed_thrice.set_value();
  };
  loop_.run([&] { EXPECT_EQ(keep(start_healthz_server(loop_.loop, options, health_, metrics_)), 0); });
  ASSERT_EQ(failed_thrice.get_future().wait_for(60s), std::future_status::ready);
  loop_.run([&] { squatter->reset(); });
  int status = 0;
  for (int i = 0; i < 6000 && status == 0; ++i) {
    status = ask(port, "/livez").status;
    if (status == 0) std::this_thread::sleep_for(10ms);
  }
  EXPECT_EQ(status, 200);
}

TEST_F(ServersTest, WithHardFailAPortInUseIsAnError) {
  auto squatter = net::HttpServer::listen(loop_.loop, kLoopback, 0, [](const auto&) { return net::HttpResponse{}; });
  ASSERT_TRUE(squatter);
  std::vector<std::string> failures;
  ServerOptions options = on_loopback((*squatter)->port());
  options.hard_fail = true;
  options.on_failure = [&failures](const std::string& error) { failures.push_back(error); };
  const auto server = start_metrics_server(loop_.loop, options, metrics_, {.proxy_mode = "iptables"});
  loop_.stop();
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().code, Errc::kAlreadyExists);
  EXPECT_THAT(failures, ElementsAre(server.error().what));
}

TEST_F(ServersTest, DestroyedBetweenTwoAttemptsItStopsTrying) {
  auto squatter = net::HttpServer::listen(loop_.loop, kLoopback, 0, [](const auto&) { return net::HttpResponse{}; });
  ASSERT_TRUE(squatter);
  int failures = 0;
  ServerOptions options = on_loopback((*squatter)->port());
  options.retry_interval = 0ms;
  options.on_failure = [&failures](const std::string&) { ++failures; };
  loop_.run([&] {
    keep(start_healthz_server(loop_.loop, options, health_, metrics_));
    // The timer has expired by now and its handler may be queued after us.
    server_.reset();
    squatter->reset();
  });
  for (int i = 0; i < 10; ++i) loop_.run([] {});
  EXPECT_EQ(failures, 1);
}

TEST(ParseListenOn, TakesAnAddressAndAPort) {
  const auto v4 = parse_listen_on("0.0.0.0:10256");
  ASSERT_TRUE(v4);
  EXPECT_EQ(v4->address.to_string(), "0.0.0.0");
  EXPECT_EQ(v4->port, 10256);
  const auto v6 = parse_listen_on("[::1]:10249");
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->address.to_string(), "::1");
  EXPECT_EQ(v6->port, 10249);
}

TEST(ParseListenOn, RefusesAnythingElseByName) {
  for (const char* text : {"", "10256", ":10256", "0.0.0.0", "0.0.0.0:", "0.0.0.0:x", "0.0.0.0:65536", "0.0.0.0:-1",
                           "::1:10249", "[::1]", "[0.0.0.0]:1", "node:10256", "[::1:10249"}) {
    const auto result = parse_listen_on(text);
    ASSERT_FALSE(result) << text;
    EXPECT_THAT(result.error().what, HasSubstr(text));
  }
}

}  // namespace
}  // namespace sluice::observe
