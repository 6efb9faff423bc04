// SPDX-License-Identifier: Apache-2.0
#include "net/http_server.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <optional>
#include <stdexcept>
#include <vector>

#include "net/test_http.h"

namespace sluice::net {
namespace {

using namespace std::chrono_literals;
using test::Answer;
using test::ask;
using test::Client;

const IpAddress kLoopback = IpAddress::from_v4(INADDR_LOOPBACK);

// Responds with the request's parts; destroyed after the loop's thread has ended.
class HttpServerTest : public testing::Test {
 protected:
  void TearDown() override { loop_.stop(); }

  std::uint16_t serve(const HttpLimits& limits = {}) {
    auto server = HttpServer::listen(
        loop_.loop, kLoopback, 0,
        [](const HttpRequest& request) {
          if (request.path == "/throws") throw std::runtime_error("a library's");
          HttpResponse response;
          response.status = request.path == "/teapot" ? 418 : 200;
          response.headers = {{"X-Kind", "echo"}};
          response.body =
              request.method + " " + request.path + " ?" + request.query + " [" + request.accept + "] " + request.body;
          if (request.path == "/large") response.body = std::string(4'000'000, 'x');
          return response;
        },
        false, limits);
    EXPECT_TRUE(server) << server.error().what;
    if (!server) return 0;
    server_ = std::move(*server);
    return server_->port();
  }

  test::LoopThread loop_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, TheHandlerGetsTheRequestAndTheClientTheResponse) {
  const std::uint16_t port = serve();
  Client client(port);
  client.send("PUT /a/b?verbose=1&x HTTP/1.1\r\nHost: h\r\nAccept: text/plain\r\nContent-Length: 5\r\n\r\nhello");
  const auto answer = client.answer();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->body, "PUT /a/b ?verbose=1&x [text/plain] hello");
  EXPECT_EQ(answer->headers.at("x-kind"), "echo");
  EXPECT_EQ(answer->headers.at("content-type"), "text/plain; charset=utf-8");
  EXPECT_THAT(answer->headers.at("date"),
              testing::MatchesRegex("[A-Z][a-z][a-z], [0-9]+ [A-Z][a-z][a-z] [0-9]+ [0-9:]+ GMT"));
}

TEST_F(HttpServerTest, AnyMethodAndStatusIsPassedThrough) {
  const std::uint16_t port = serve();
  EXPECT_EQ(ask(port, "/teapot", "DELETE").status, 418);
  EXPECT_EQ(ask(port, "/x", "OPTIONS").body, "OPTIONS /x ? [] ");
  EXPECT_EQ(ask(port, "/x", "BREW").body, "BREW /x ? [] ");
}

TEST_F(HttpServerTest, TheAbsoluteFormOfATargetIsUnderstood) {
  const std::uint16_t port = serve();
  EXPECT_EQ(ask(port, "http://node:10256/healthz?x").body, "GET /healthz ?x [] ");
  EXPECT_EQ(ask(port, "http://node:10256").body, "GET / ? [] ");
}

TEST_F(HttpServerTest, HeadHasTheLengthButNoBody) {
  const std::uint16_t port = serve();
  Client client(port);
  client.send("HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n");
  const auto head = client.answer(true);
  ASSERT_TRUE(head);
  EXPECT_EQ(head->headers.at("content-length"), std::to_string(std::string("HEAD /x ? [] ").size()));
  client.send("GET /y HTTP/1.1\r\nHost: h\r\n\r\n");
  const auto next = client.answer();  // would begin with the body if there were one
  ASSERT_TRUE(next);
  EXPECT_EQ(next->body, "GET /y ? [] ");
}

TEST_F(HttpServerTest, OneConnectionServesManyRequestsAlsoPipelined) {
  const std::uint16_t port = serve();
  Client client(port);
  for (int round = 0; round < 3; ++round) {
    client.send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
    const auto first = client.answer();
    const auto second = client.answer();
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->body, "GET /1 ? [] ");
    EXPECT_EQ(second->body, "GET /2 ? [] ");
  }
}

TEST_F(HttpServerTest, WhetherTheConnectionStaysIsTheClientsChoice) {
  const std::uint16_t port = serve();
  struct Row {
    const char* name;
    const char* request;
    bool stays;
  };
  for (const Row& row : {Row{"1.1", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", true},
                         Row{"1.1 close", "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", false},
                         Row{"1.0", "GET / HTTP/1.0\r\n\r\n", false},
                         Row{"1.0 keep-alive", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true}}) {
    SCOPED_TRACE(row.name);
    Client client(port);
    client.send(row.request);
    ASSERT_TRUE(client.answer());
    if (row.stays) {
      client.send(row.request);
      EXPECT_TRUE(client.answer());
    } else {
      EXPECT_TRUE(client.ended());
    }
  }
}

TEST_F(HttpServerTest, WhatIsNotHttpIsRefusedAndDisconnected) {
  const std::uint16_t port = serve();
  struct Row {
    const char* name;
    std::string bytes;
    int status;
  };
  const std::vector<Row> rows{
      {"noise", std::string("\x01\x02\x03\xff\r\n\r\n"), 400},
      {"TLS hello", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11) + std::string(500, 'q'), 400},
      {"no target", "GET\r\n\r\n", 400},
      {"version 3", "GET / HTTP/3.0\r\n\r\n", 400},
      {"header without a colon", "GET / HTTP/1.1\r\nHost\r\n\r\n", 400},
      {"length that is no number", "GET / HTTP/1.1\r\nContent-Length: ten\r\n\r\n", 400},
      {"chunk that is no number", "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
      {"header too large", "GET / HTTP/1.1\r\nX: " + std::string(40'000, 'x') + "\r\n\r\n", 431},
      {"header without end", "GET / HTTP/1.1\r\nX: " + std::string(300'000, 'x'), 431},
      {"target too large", "GET /" + std::string(20'000, 'x') + " HTTP/1.1\r\n\r\n", 431},
      {"body announced too large", "POST / HTTP/1.1\r\nContent-Length: 65537\r\n\r\n", 413},
      {"body announced beyond any number", "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400},
      {"chunks too large",
       "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" + std::string(0x20000, 'x') + "\r\n0\r\n\r\n",
       413},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    Client client(port);
    client.send(row.bytes);
    const auto answer = client.answer();
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, row.status);
    EXPECT_TRUE(client.ended());
  }
  EXPECT_EQ(ask(port, "/still").status, 200);
}

TEST_F(HttpServerTest, TheLargestAllowedBodyIsTaken) {
  const std::uint16_t port = serve();
  const std::string body(64 * 1024, 'b');
  EXPECT_EQ(ask(port, "/", "POST", body).body, "POST / ? [] " + body);
}

TEST_F(HttpServerTest, AClientThatExpects100ContinueGetsIt) {
  const std::uint16_t port = serve();
  Client client(port);
  client.send("PUT /v HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
  const auto go_on = client.answer();
  ASSERT_TRUE(go_on);
  EXPECT_EQ(go_on->status, 100);
  client.send("4");
  const auto answer = client.answer();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->body, "PUT /v ? [] 4");
}

TEST_F(HttpServerTest, AnExceptionOfALibraryGivesAResponse) {
  const std::uint16_t port = serve();
  const Answer answer = ask(port, "/throws");
  EXPECT_EQ(answer.status, 500);
  EXPECT_THAT(answer.body, testing::HasSubstr("a library's"));
  EXPECT_EQ(ask(port, "/").status, 200);
}

TEST_F(HttpServerTest, SilentAndSlowClientsAreDisconnected) {
  HttpLimits limits;
  limits.idle = 50ms;
  const std::uint16_t port = serve(limits);
  for (const char* begun : {"", "GET / HT", "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc"}) {
    SCOPED_TRACE(begun);
    Client client(port);
    client.send(begun);
    EXPECT_TRUE(client.ended());
  }
  // On a busy machine we may be the slow one: ask until a response arrives before the limit.
  bool answered = false;
  for (int attempt = 0; attempt < 200 && !answered; ++attempt) {
    Client after_answer(port);
    after_answer.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    answered = after_answer.answer().has_value();
    EXPECT_TRUE(after_answer.ended());
  }
  EXPECT_TRUE(answered);
}

TEST_F(HttpServerTest, AClientThatDoesNotReadIsDisconnected) {
  HttpLimits limits;
  limits.idle = 50ms;
  const std::uint16_t port = serve(limits);
  Client client(port);
  client.send("GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
  // Not reading, we notice the end only by the reset: until then a byte can still be sent.
  ssize_t sent = 0;
  for (int i = 0; i < 6000 && sent >= 0; ++i) {
    std::this_thread::sleep_for(10ms);
    sent = ::send(client.fd(), "x", 1, MSG_NOSIGNAL);
  }
  EXPECT_LT(sent, 0) << "still connected";
}

TEST_F(HttpServerTest, BeyondTheBoundTheLongestSilentConnectionMakesRoom) {
  HttpLimits limits;
  limits.connections = 3;
  const std::uint16_t port = serve(limits);
  const auto speak = [](Client& client) {
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    return client.answer().has_value();
  };
  Client first(port);
  ASSERT_TRUE(speak(first));
  Client second(port);
  ASSERT_TRUE(speak(second));
  Client third(port);
  ASSERT_TRUE(speak(third));
  ASSERT_TRUE(speak(first));  // now the second one is the longest silent
  Client fourth(port);
  EXPECT_TRUE(speak(fourth));
  EXPECT_TRUE(second.ended());
  EXPECT_TRUE(speak(first));
  EXPECT_TRUE(speak(third));
}

TEST_F(HttpServerTest, ManyConnectionsAtOnceAreServed) {
  const std::uint16_t port = serve();
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 200; ++i) {
    clients.push_back(std::make_unique<Client>(port));
    ASSERT_TRUE(clients.back()->connected()) << i;
    clients.back()->send("GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: h\r\n\r\n");
  }
  for (int i = 0; i < 200; ++i) {
    const auto answer = clients[static_cast<std::size_t>(i)]->answer();
    ASSERT_TRUE(answer) << i;
    EXPECT_EQ(answer->body, "GET /" + std::to_string(i) + " ? [] ");
  }
}

TEST_F(HttpServerTest, OutOfDescriptorsItWaitsAndServesLater) {
  const std::uint16_t port = serve();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit none = before;
  none.rlim_cur = 0;
  std::optional<Client> client;
  loop_.run([&] {  // the loop is busy with us, so nothing is accepted yet
    client.emplace(port);
    ::setrlimit(RLIMIT_NOFILE, &none);
  });
  for (int i = 0; i < 10; ++i) loop_.run([] {});  // it has tried to accept, failed, and does other work
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  ASSERT_TRUE(client->connected());
  client->send("GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_TRUE(client->answer());
}

TEST_F(HttpServerTest, DescriptorsAreNotInheritedByPrograms) {
  const std::uint16_t port = serve();
  Client client(port);
  client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(client.answer());
  int sockets = 0;
  for (int fd = 0; fd < 256; ++fd) {
    sockaddr_in name{};
    socklen_t size = sizeof(name);
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0 || ntohs(name.sin_port) != port) continue;
    ++sockets;
    EXPECT_TRUE((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0) << fd;
  }
  EXPECT_EQ(sockets, 2) << "the listener and our connection";
}

TEST_F(HttpServerTest, DestroyingItOnTheLoopEndsItsConnections) {
  const std::uint16_t port = serve();
  Client client(port);
  client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(client.answer());
  loop_.run([this] { server_.reset(); });
  EXPECT_TRUE(client.ended());
  EXPECT_FALSE(Client(port).connected());
}

TEST_F(HttpServerTest, APortThatIsTakenIsAnErrorWithItsName) {
  const std::uint16_t port = serve();
  const auto second =
      HttpServer::listen(loop_.loop, kLoopback, port, [](const HttpRequest&) { return HttpResponse{}; });
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::kAlreadyExists);
  EXPECT_EQ(second.error().sys_errno, EADDRINUSE);
  EXPECT_THAT(second.error().what, testing::HasSubstr("127.0.0.1:" + std::to_string(port)));
}

TEST_F(HttpServerTest, AnAddressThatIsNotOursIsUnavailable) {
  const auto server = HttpServer::listen(loop_.loop, *IpAddress::parse("192.0.2.1"), 0,
                                         [](const HttpRequest&) { return HttpResponse{}; });
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().code, Errc::kUnavailable);
}

TEST_F(HttpServerTest, APortCanBeOpenedAgainWhileItsConnectionsLinger) {
  const std::uint16_t port = serve();
  Client client(port);
  client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(client.answer());
  loop_.run([&] {
    server_.reset();  // our side closes first, so the connection stays in FIN-WAIT or TIME-WAIT
    auto again = HttpServer::listen(loop_.loop, kLoopback, port, [](const HttpRequest&) { return HttpResponse{}; });
    ASSERT_TRUE(again) << again.error().what;
    server_ = std::move(*again);
  });
  EXPECT_EQ(ask(port, "/").status, 200);
}

TEST_F(HttpServerTest, V6OnlyDecidesWhetherIPv4MayAlsoCome) {
  const IpAddress any;
  const auto handler = [](const HttpRequest&) { return HttpResponse{}; };
  auto both = HttpServer::listen(loop_.loop, any, 0, handler, false);
  ASSERT_TRUE(both) << both.error().what;
  EXPECT_EQ(ask((*both)->port(), "/").status, 200);
  EXPECT_EQ(ask((*both)->port(), "/", "GET", "", *IpAddress::parse("::1")).status, 200);
  auto only = HttpServer::listen(loop_.loop, any, 0, handler, true);
  ASSERT_TRUE(only) << only.error().what;
  EXPECT_FALSE(Client((*only)->port()).connected());
  EXPECT_EQ(ask((*only)->port(), "/", "GET", "", *IpAddress::parse("::1")).status, 200);
  loop_.stop();
}

}  // namespace
}  // namespace sluice::net
