// SPDX-License-Identifier: Apache-2.0
// What kube-proxy's TestServer and TestServerWithSelectiveListeningAddress assert, over real connections on loopback.
#include "observe/health_check_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

const IpAddress kLoopback = IpAddress::from_v4(INADDR_LOOPBACK);
const IpAddress kOtherLoopback = *IpAddress::parse("127.0.0.2");

class HealthCheckServerTest : public testing::Test {
 protected:
  void SetUp() override { serve_on({kLoopback}); }
  void TearDown() override {
    loop_.stop();
    server_.reset();
  }

  void serve_on(std::vector<IpAddress> addresses) {
    const auto on_failure = [this](const HealthCheck& check, const std::string& error) {
      failures_.push_back(check.namespace_name + "/" + check.name + ": " + error);
    };
    server_ = std::make_unique<HealthCheckServer>(loop_.loop, health_, std::move(addresses), on_failure);
  }

  // Syncs and waits for the end.
  void sync(std::vector<HealthCheck> checks) {
    server_->sync(std::move(checks));
    loop_.run([] {});
  }

  // On all addresses: we are alone here (net/test_network.h), and clients are given ports above 32767.
  std::uint16_t free_port() { return ++last_port_; }

  FakeClock clock_;
  Health health_{clock_, 60s};
  net::EventLoop squatter_loop_;
  std::uint16_t last_port_ = 20000;
  net::test::LoopThread loop_;
  std::vector<std::string> failures_;
  std::unique_ptr<HealthCheckServer> server_;
};

TEST_F(HealthCheckServerTest, AServiceWithLocalEndpointsIsWell) {
  const std::uint16_t port = free_port();
  sync({{"shop", "web", port, 2}});
  const Answer answer = ask(port, "/anything");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.headers.at("content-type"), "application/json");
  EXPECT_EQ(answer.headers.at("x-content-type-options"), "nosniff");
  EXPECT_EQ(answer.headers.at("x-load-balancing-endpoint-weight"), "2");
  EXPECT_EQ(answer.body,
            "{\n\t\"service\": {\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t},\n\t\"localEndpoints\": 2,\n"
            "\t\"serviceProxyHealthy\": true\n}");
}

TEST_F(HealthCheckServerTest, AnyPathAndMethodIsAnswered) {
  const std::uint16_t port = free_port();
  sync({{"shop", "web", port, 1}});
  EXPECT_EQ(ask(port, "/", "POST", "x").status, 200);
  EXPECT_EQ(ask(port, "/healthz?a=b", "HEAD").status, 200);
}

TEST_F(HealthCheckServerTest, WithoutLocalEndpointsItIsNot) {
  const std::uint16_t port = free_port();
  sync({{"shop", "web", port, 0}});
  const Answer answer = ask(port, "/");
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.headers.at("x-load-balancing-endpoint-weight"), "0");
  EXPECT_THAT(answer.body, HasSubstr("\"localEndpoints\": 0,\n\t\"serviceProxyHealthy\": true"));
}

TEST_F(HealthCheckServerTest, AnUnhealthyProxyFailsEveryServiceButReportsItsCount) {
  const std::uint16_t port = free_port();
  sync({{"shop", "web", port, 3}});
  health_.loop_started(Family::kIPv6);
  health_.queued(Family::kIPv6);
  clock_.advance(60s);
  const Answer answer = ask(port, "/");
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.headers.at("x-load-balancing-endpoint-weight"), "3");
  EXPECT_THAT(answer.body, HasSubstr("\"localEndpoints\": 3,\n\t\"serviceProxyHealthy\": false"));
  health_.synced(Family::kIPv6);
  EXPECT_EQ(ask(port, "/").status, 200);
}

TEST_F(HealthCheckServerTest, ListenersFollowTheServices) {
  const std::uint16_t web = free_port();
  const std::uint16_t api = free_port();
  sync({{"shop", "web", web, 1}});
  EXPECT_EQ(ask(web, "/").status, 200);
  EXPECT_FALSE(Client(api).connected());

  sync({{"shop", "api", api, 0}, {"shop", "web", web, 4}});
  EXPECT_EQ(ask(api, "/").status, 503);
  EXPECT_EQ(ask(web, "/").headers.at("x-load-balancing-endpoint-weight"), "4");

  sync({{"shop", "api", api, 1}});
  EXPECT_EQ(ask(api, "/").status, 200);
  EXPECT_FALSE(Client(web).connected());

  sync({});
  EXPECT_FALSE(Client(api).connected());
  EXPECT_THAT(failures_, IsEmpty());
}

TEST_F(HealthCheckServerTest, AChangedCountKeepsTheConnection) {
  const std::uint16_t port = free_port();
  sync({{"shop", "web", port, 1}});
  Client client(port);
  client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(client.answer());
  sync({{"shop", "web", port, 0}});
  client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  const auto answer = client.answer();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 503);
}

TEST_F(HealthCheckServerTest, ServicesMayTradeTheirPortsInOneSync) {
  const std::uint16_t one = free_port();
  const std::uint16_t two = free_port();
  sync({{"shop", "api", one, 1}, {"shop", "web", two, 1}});
  sync({{"shop", "api", two, 1}, {"shop", "web", one, 1}});
  EXPECT_THAT(failures_, IsEmpty());
  EXPECT_THAT(ask(one, "/").body, HasSubstr("\"name\": \"web\""));
  EXPECT_THAT(ask(two, "/").body, HasSubstr("\"name\": \"api\""));
}

TEST_F(HealthCheckServerTest, ServicesOfTheSameNameInTwoNamespacesAreTwo) {
  const std::uint16_t one = free_port();
  const std::uint16_t two = free_port();
  sync({{"a", "web", one, 1}, {"b", "web", two, 0}});
  EXPECT_THAT(ask(one, "/").body, HasSubstr("\"namespace\": \"a\""));
  EXPECT_THAT(ask(two, "/").body, HasSubstr("\"namespace\": \"b\""));
}

TEST_F(HealthCheckServerTest, APortThatIsTakenIsReportedOnceAndOpenedOnceFree) {
  auto squatter =
      net::HttpServer::listen(squatter_loop_, kLoopback, 0, [](const auto&) { return net::HttpResponse{}; });
  ASSERT_TRUE(squatter);
  const std::uint16_t port = (*squatter)->port();
  const std::uint16_t other = free_port();
  const std::vector<HealthCheck> checks{{"shop", "web", port, 1}, {"shop", "zoo", other, 1}};
  sync(checks);
  EXPECT_EQ(ask(other, "/").status, 200) << "the others are served";
  sync(checks);
  const auto failure =
      testing::AllOf(HasSubstr("shop/web: "), HasSubstr("127.0.0.1:" + std::to_string(port)), HasSubstr("in use"));
  EXPECT_THAT(failures_, ElementsAre(failure));
  squatter->reset();
  sync(checks);
  EXPECT_THAT(failures_, ElementsAre(failure));
  EXPECT_EQ(ask(port, "/").status, 200);
}

TEST_F(HealthCheckServerTest, APortThatIsTakenAgainIsReportedAgain) {
  const auto squat = [this](std::uint16_t port) {
    return net::HttpServer::listen(squatter_loop_, kLoopback, port, [](const auto&) { return net::HttpResponse{}; });
  };
  auto squatter = squat(0);
  ASSERT_TRUE(squatter);
  const std::uint16_t port = (*squatter)->port();
  const std::vector<HealthCheck> checks{{"shop", "web", port, 1}};
  sync(checks);
  squatter->reset();
  sync({});
  squatter = squat(port);
  ASSERT_TRUE(squatter) << squatter.error().what;
  sync(checks);
  sync(checks);
  EXPECT_THAT(failures_, testing::SizeIs(2));
}

TEST_F(HealthCheckServerTest, OnlyTheGivenAddressesListen) {
  const std::uint16_t port = free_port();
  serve_on({kOtherLoopback});
  sync({{"shop", "web", port, 1}});
  EXPECT_FALSE(Client(port, kLoopback).connected());
  EXPECT_EQ(ask(port, "/", "GET", "", kOtherLoopback).status, 200);
}

TEST_F(HealthCheckServerTest, AServiceListensOnAllAddressesOfAFamilyOrNone) {
  const std::uint16_t port = free_port();
  const auto squatter =
      net::HttpServer::listen(squatter_loop_, kOtherLoopback, port, [](const auto&) { return net::HttpResponse{}; });
  ASSERT_TRUE(squatter);
  serve_on({kLoopback, kOtherLoopback});
  sync({{"shop", "web", port, 1}});
  EXPECT_THAT(failures_, ElementsAre(HasSubstr("127.0.0.2:" + std::to_string(port))));
  EXPECT_FALSE(Client(port, kLoopback).connected());
}

TEST_F(HealthCheckServerTest, OneFamilysFailureLeavesTheOtherListening) {
  const std::uint16_t port = free_port();
  const IpAddress v6 = *IpAddress::parse("::1");
  auto squatter = net::HttpServer::listen(squatter_loop_, v6, port, [](const auto&) { return net::HttpResponse{}; });
  ASSERT_TRUE(squatter) << squatter.error().what;
  serve_on({kLoopback, v6});
  const std::vector<HealthCheck> both{{"shop", "web", port, 1, Family::kIPv4}, {"shop", "web", port, 1, Family::kIPv6}};
  sync(both);
  EXPECT_THAT(failures_, ElementsAre(HasSubstr("[::1]:" + std::to_string(port))));
  EXPECT_EQ(ask(port, "/").status, 200);
  squatter->reset();
  sync(both);
  EXPECT_THAT(failures_, testing::SizeIs(1));
  EXPECT_EQ(ask(port, "/", "GET", "", v6).status, 200);
}

TEST_F(HealthCheckServerTest, EachFamilyAnswersForItsOwnEndpoints) {
  const std::uint16_t port = free_port();
  serve_on({IpAddress::from_v4(INADDR_ANY), IpAddress()});
  sync({{"shop", "web", port, 4, Family::kIPv4}, {"shop", "web", port, 6, Family::kIPv6}});
  EXPECT_THAT(failures_, IsEmpty());
  EXPECT_EQ(ask(port, "/").headers.at("x-load-balancing-endpoint-weight"), "4");
  EXPECT_EQ(ask(port, "/", "GET", "", *IpAddress::parse("::1")).headers.at("x-load-balancing-endpoint-weight"), "6");
  sync({{"shop", "web", port, 4, Family::kIPv4}});
  EXPECT_EQ(ask(port, "/").status, 200);
  EXPECT_FALSE(Client(port, *IpAddress::parse("::1")).connected()) << "a Service of one family listens in that family";
}

TEST_F(HealthCheckServerTest, NamesAreEscaped) {
  const std::uint16_t port = free_port();
  sync({{"a\"b", "c\\d\n", port, 1}});
  EXPECT_THAT(ask(port, "/").body, HasSubstr("\"namespace\": \"a\\\"b\",\n\t\t\"name\": \"c\\\\d\\n\""));
}

TEST_F(HealthCheckServerTest, OfManyWaitingSyncsOnlyTheNewestIsPerformed) {
  auto squatter =
      net::HttpServer::listen(squatter_loop_, kLoopback, 0, [](const auto&) { return net::HttpResponse{}; });
  ASSERT_TRUE(squatter);
  const std::uint16_t taken = (*squatter)->port();
  const std::uint16_t port = free_port();
  loop_.run([&] {  // the loop is busy here, so they wait
    for (std::size_t i = 0; i < 100; ++i) server_->sync({{"shop", "web", taken, i}});
    server_->sync({{"shop", "web", port, 7}});
  });
  loop_.run([] {});
  EXPECT_THAT(failures_, IsEmpty());
  EXPECT_EQ(ask(port, "/").headers.at("x-load-balancing-endpoint-weight"), "7");
}

TEST_F(HealthCheckServerTest, DestroyedWhileServingItClosesItsPorts) {
  const std::uint16_t port = free_port();
  sync({{"shop", "web", port, 1}});
  Client client(port);
  client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(client.answer());
  server_->sync({{"shop", "web", port, 2}});
  server_.reset();
  EXPECT_TRUE(client.ended());
  loop_.run([] {});
  EXPECT_FALSE(Client(port).connected());
}

}  // namespace
}  // namespace sluice::observe
