// SPDX-License-Identifier: Apache-2.0
#include "net/http_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <optional>

#include "net/test_http.h"
#include "net/test_server.h"

namespace sluice::net {
namespace {

using namespace std::chrono_literals;
using test::Authority;
using test::Peer;
using test::TestServer;
using testing::HasSubstr;

// After so long a test fails. A busy machine takes seconds for what takes a quiet one a moment.
constexpr auto kPatience = 60s;

// What a client received in one exchange.
struct Heard {
  std::optional<HttpResponseHead> head;
  std::vector<std::string> pieces;
  Result<> outcome;
  [[nodiscard]] std::string body() const {
    std::string all;
    for (const std::string& piece : pieces) all += piece;
    return all;
  }
};

HttpTarget target_of(std::uint16_t port, const std::string& host = "127.0.0.1") {
  HttpTarget target;
  target.tls = false;
  target.host = host;
  target.port = port;
  return target;
}

HttpTarget tls_target_of(std::uint16_t port, const std::string& ca_pem) {
  HttpTarget target = target_of(port);
  target.tls = true;
  target.tls_settings.ca_pem = ca_pem;
  return target;
}

HttpClientRequest get(const std::string& path = "/") {
  HttpClientRequest request;
  request.path = path;
  return request;
}

// Runs one exchange to its end, on this thread.
Heard exchange(const HttpTarget& target, HttpClientRequest request,
               std::function<Result<>(std::string_view)> on_body = nullptr) {
  EventLoop loop;
  Heard heard;
  bool done = false;
  HttpCallbacks callbacks;
  callbacks.on_head = [&](const HttpResponseHead& head) { heard.head = head; };
  callbacks.on_body = [&](std::string_view piece) -> Result<> {
    heard.pieces.emplace_back(piece);
    return on_body ? on_body(piece) : Result<>();
  };
  callbacks.on_done = [&](Result<> outcome) {
    EXPECT_FALSE(done) << "on_done came twice";
    done = true;
    heard.outcome = std::move(outcome);
  };
  const auto running = start_exchange(loop, target, std::move(request), std::move(callbacks));
  EXPECT_FALSE(done) << "on_done came from within start_exchange";
  loop.run_for(kPatience);
  EXPECT_TRUE(done) << "the exchange did not end";
  return heard;
}

// A handler that reads one request and sends these bytes.
TestServer::Handler sends(std::string bytes) {
  return [bytes = std::move(bytes)](Peer& peer) {
    if (peer.read_request()) peer.send(bytes);
  };
}

TEST(HttpClient, SendsTheRequestAndHandsOverTheResponse) {
  std::optional<test::Request> seen;
  TestServer server({}, [&](Peer& peer) {
    seen = peer.read_request();
    peer.send(test::answer(429, "slow down", "Retry-After: 7\r\n"));
  });
  HttpClientRequest request = get("/api/v1/events?x=1&y=a%20b");
  request.method = "POST";
  request.headers = {{"Authorization", "Bearer t"}, {"X-Other", "o"}};
  request.body = "{\"a\":1}";
  const Heard heard = exchange(target_of(server.port()), std::move(request));
  ASSERT_TRUE(heard.outcome) << heard.outcome.error().what;
  EXPECT_EQ(heard.head->status, 429);
  EXPECT_EQ(heard.head->retry_after, "7");
  EXPECT_EQ(heard.head->content_type, "application/json");
  EXPECT_EQ(heard.body(), "slow down");
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->method, "POST");
  EXPECT_EQ(seen->path, "/api/v1/events");
  EXPECT_EQ(seen->query["y"], "a%20b");
  EXPECT_EQ(seen->headers["authorization"], "Bearer t");
  EXPECT_EQ(seen->headers["x-other"], "o");
  EXPECT_EQ(seen->headers["host"], "127.0.0.1:" + std::to_string(server.port()));
  EXPECT_EQ(seen->body, "{\"a\":1}");
}

TEST(HttpClient, APieceOfAWatchIsHandedOverBeforeTheNextOneIsThere) {
  std::promise<void> first_came;
  TestServer server({}, [&](Peer& peer) {
    peer.read_request();
    peer.send(test::chunked_head(200) + test::chunk("one\n"));
    // Nothing more until the client has the first: a client that waits for a full buffer never gets it.
    if (first_came.get_future().wait_for(kPatience) == std::future_status::ready) {
      peer.send(test::chunk("two\n") + std::string(test::kLastChunk));
    }
  });
  bool told = false;
  const Heard heard = exchange(target_of(server.port()), get(), [&](std::string_view) -> Result<> {
    if (!std::exchange(told, true)) first_came.set_value();
    return {};
  });
  EXPECT_TRUE(heard.outcome) << heard.outcome.error().what;
  EXPECT_THAT(heard.pieces, testing::ElementsAre("one\n", "two\n"));
}

TEST(HttpClient, ALargeBodyComesInPiecesOfBoundedSize) {
  std::string large(3'000'000, 'a');
  for (std::size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>('a' + i % 23);
  const Authority authority;
  for (const bool tls : {false, true}) {
    SCOPED_TRACE(tls ? "TLS" : "plain");
    TestServer::Options options;
    if (tls) options.certificate = authority.issue("IP:127.0.0.1");
    TestServer server(options, sends(test::answer(200, large)));
    const HttpTarget target =
        tls ? tls_target_of(server.port(), authority.certificate_pem()) : target_of(server.port());
    const Heard heard = exchange(target, get());
    EXPECT_TRUE(heard.outcome) << heard.outcome.error().what;
    EXPECT_TRUE(heard.body() == large);
    for (const std::string& piece : heard.pieces) ASSERT_LE(piece.size(), 65536U);
  }
}

TEST(HttpClient, ErrorsSayWhatWentWrong) {
  using namespace std::string_literals;
  struct Row {
    const char* name;
    std::string bytes;
    const char* error;
  };
  const Row rows[] = {
      {"closed without a word", "", "read the response"},
      {"closed within the head", "HTTP/1.1 200 OK\r\nContent-", "read the response"},
      {"closed within a body of known length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
       "read the response"},
      {"closed within a chunk", test::chunked_head(200) + "10\r\nhalf", "read the response"},
      {"closed between chunks", test::chunked_head(200) + test::chunk("whole"), "read the response"},
      {"a chunk of nonsense length", test::chunked_head(200) + "zz\r\nbody\r\n", "read the response"},
      {"not HTTP", "SSH-2.0-OpenSSH_9.2p1\r\n\r\n", "read the response"},
      {"an endless head", "HTTP/1.1 200 OK\r\nX: " + std::string(100'000, 'x'), "read the response"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    TestServer server({}, sends(row.bytes));
    const Heard heard = exchange(target_of(server.port()), get());
    ASSERT_FALSE(heard.outcome);
    EXPECT_EQ(heard.outcome.error().code, Errc::kUnavailable);
    EXPECT_THAT(heard.outcome.error().what, HasSubstr("http://127.0.0.1:" + std::to_string(server.port())));
    EXPECT_THAT(heard.outcome.error().what, HasSubstr(row.error));
  }
}

TEST(HttpClient, ARefusedConnectionNamesTheAddress) {
  const Heard heard = exchange(target_of(test::kPortOfNobody), get());
  ASSERT_FALSE(heard.outcome);
  EXPECT_THAT(heard.outcome.error().what,
              HasSubstr("127.0.0.1:" + std::to_string(test::kPortOfNobody) + ": Connection refused"));
}

TEST(HttpClient, ANameThatDoesNotExistIsReportedAsSuch) {
  const Heard heard = exchange(target_of(1, "no-such-host.invalid"), get());
  ASSERT_FALSE(heard.outcome);
  EXPECT_THAT(heard.outcome.error().what, HasSubstr("look up the name"));
}

TEST(HttpClient, ANameMayHaveAddressesWithoutListener) {
  // localhost is ::1 and 127.0.0.1; the server has only one of them.
  TestServer server({}, sends(test::answer(200, "ok")));
  const Heard heard = exchange(target_of(server.port(), "localhost"), get());
  EXPECT_TRUE(heard.outcome) << heard.outcome.error().what;
  EXPECT_EQ(heard.body(), "ok");
}

TEST(HttpClient, SpeaksToAnIPv6Server) {
  TestServer::Options options;
  options.address = *IpAddress::parse("::1");
  std::optional<test::Request> seen;
  TestServer server(options, [&](Peer& peer) {
    seen = peer.read_request();
    peer.send(test::answer(200, "six"));
  });
  const Heard heard = exchange(target_of(server.port(), "::1"), get());
  EXPECT_TRUE(heard.outcome) << heard.outcome.error().what;
  EXPECT_EQ(heard.body(), "six");
  EXPECT_EQ(seen->headers["host"], "[::1]:" + std::to_string(server.port()));
}

TEST(HttpClient, EachPhaseHasItsOwnTimeLimit) {
  struct Row {
    const char* name;
    bool tls;
    TestServer::Handler handler;
    std::chrono::milliseconds HttpTimeouts::* limit;  // of the phase that is tested
    const char* error;
  };
  const auto silent = [](Peer& peer) { peer.wait_for_end(); };
  const auto half = [](Peer& peer) {
    peer.read_request();
    peer.send(test::chunked_head(200) + test::chunk("one"));
    peer.wait_for_end();
  };
  const Row rows[] = {
      {"handshake", true, silent, &HttpTimeouts::connect, "in the TLS handshake"},
      {"head", false, silent, &HttpTimeouts::response, "waiting for the response"},
      {"body", false, half, &HttpTimeouts::idle, "waiting for more of the response"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    TestServer server({}, row.handler);
    HttpTarget target = target_of(server.port());
    target.tls = row.tls;
    // On a busy machine a short limit is over before the phase has begun, and the error names an earlier one.
    std::string error;
    for (auto limit = 100ms; limit < kPatience && error.find(row.error) == std::string::npos; limit *= 4) {
      HttpClientRequest request = get();
      request.timeouts = {.connect = kPatience, .response = kPatience, .idle = kPatience, .dead_peer = kPatience};
      request.timeouts.*row.limit = limit;
      const Heard heard = exchange(target, std::move(request));
      ASSERT_FALSE(heard.outcome);
      error = heard.outcome.error().what;
    }
    EXPECT_THAT(error, testing::AllOf(HasSubstr("timed out"), HasSubstr(row.error)));
  }
}

TEST(HttpClient, AConnectionThatIsNeverAcceptedTimesOut) {
  // A listener whose queue is full drops SYNs, as a dead host's switch does.
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(in);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&in), size), 0);
  ASSERT_EQ(::listen(listener.get(), 0), 0);
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&in), &size), 0);
  const test::Client fills_the_queue(ntohs(in.sin_port));
  HttpClientRequest request = get();
  request.timeouts.connect = 300ms;
  const Heard heard = exchange(target_of(ntohs(in.sin_port)), std::move(request));
  ASSERT_FALSE(heard.outcome);
  EXPECT_THAT(heard.outcome.error().what, HasSubstr("timed out"));
}

TEST(HttpClient, ATrickleWithinTheIdleLimitIsNoSilence) {
  TestServer server({}, [](Peer& peer) {
    peer.read_request();
    const std::string bytes = test::chunked_head(200) + test::chunk("slowly") + std::string(test::kLastChunk);
    for (const char byte : bytes) {
      peer.send({&byte, 1});
      std::this_thread::sleep_for(5ms);
    }
  });
  HttpClientRequest request = get();
  request.timeouts.idle = kPatience;
  const Heard heard = exchange(target_of(server.port()), std::move(request));
  EXPECT_TRUE(heard.outcome) << heard.outcome.error().what;
  EXPECT_EQ(heard.body(), "slowly");
}

TEST(HttpClient, AnErrorOfTheBodysReaderEndsTheExchange) {
  TestServer server({}, [](Peer& peer) {
    peer.read_request();
    peer.send(test::chunked_head(200) + test::chunk("garbage"));
    peer.wait_for_end();
  });
  const Heard heard = exchange(target_of(server.port()), get(),
                               [](std::string_view) -> Result<> { return fail(Errc::kInvalid, "not what I want"); });
  ASSERT_FALSE(heard.outcome);
  EXPECT_EQ(heard.outcome.error().code, Errc::kInvalid);
  EXPECT_THAT(heard.outcome.error().what, HasSubstr("not what I want"));
}

TEST(HttpClient, ADestroyedExchangeCallsNothing) {
  TestServer server({}, [](Peer& peer) {
    peer.read_request();
    peer.send(test::chunked_head(200) + test::chunk("one"));
    peer.wait_for_end();  // returns when the client hangs up
  });
  EventLoop loop;
  std::unique_ptr<HttpExchange> running;
  int calls_after = 0;
  HttpCallbacks callbacks;
  callbacks.on_body = [&](std::string_view) -> Result<> {
    ++calls_after;
    running.reset();
    return {};
  };
  callbacks.on_done = [&](const Result<>&) { ++calls_after; };
  running = start_exchange(loop, target_of(server.port()), get(), std::move(callbacks));
  loop.run_for(kPatience);
  EXPECT_EQ(calls_after, 1);
  EXPECT_TRUE(loop.stopped()) << "something of the exchange is still waiting";
}

TEST(HttpClient, AHeaderWithALineBreakIsNotSent) {
  TestServer server({}, sends(test::answer(200, "ok")));
  HttpClientRequest request = get();
  request.headers = {{"Authorization", "Bearer a\r\nX-Evil: 1"}};
  const Heard heard = exchange(target_of(server.port()), std::move(request));
  ASSERT_FALSE(heard.outcome);
  EXPECT_EQ(heard.outcome.error().code, Errc::kInvalid);
  EXPECT_EQ(server.connections(), 0);
}

// ---- TLS ----

TEST(HttpClientTls, TheCertificateMustBeOfTheAuthorityAndCarryTheName) {
  const Authority authority;
  const Authority other;
  struct Row {
    const char* name;
    test::Certificate certificate;
    std::string ca_pem;
    const char* host;
    const char* server_name;
    bool insecure;
    const char* error;  // nullptr = all is well
  };
  const std::string ca = authority.certificate_pem();
  const Row rows[] = {
      {"by address", authority.issue("IP:127.0.0.1"), ca, "127.0.0.1", "", false, nullptr},
      {"by name", authority.issue("DNS:localhost"), ca, "localhost", "", false, nullptr},
      {"by another name", authority.issue("DNS:kubernetes"), ca, "127.0.0.1", "kubernetes", false, nullptr},
      {"by wildcard", authority.issue("DNS:*.cluster.example"), ca, "127.0.0.1", "api.cluster.example", false, nullptr},
      {"of two authorities", authority.issue("IP:127.0.0.1"), other.certificate_pem() + ca, "127.0.0.1", "", false,
       nullptr},
      {"wrong address", authority.issue("IP:127.0.0.2"), ca, "127.0.0.1", "", false, "IP address mismatch"},
      {"wrong name", authority.issue("DNS:kubernetes"), ca, "localhost", "", false, "hostname mismatch"},
      {"only a common name", authority.issue(""), ca, "localhost", "", false, "hostname mismatch"},
      {"unknown authority", authority.issue("IP:127.0.0.1"), other.certificate_pem(), "127.0.0.1", "", false,
       "unable to get local issuer certificate"},
      {"expired", authority.issue("IP:127.0.0.1", -7200, -3600), ca, "127.0.0.1", "", false, "certificate has expired"},
      {"not yet valid", authority.issue("IP:127.0.0.1", 3600, 7200), ca, "127.0.0.1", "", false,
       "certificate is not yet valid"},
      {"insecure", other.issue("DNS:elsewhere", -7200, -3600), "", "127.0.0.1", "", true, nullptr},
      {"no certificates in the CA file", authority.issue("IP:127.0.0.1"), "nonsense", "127.0.0.1", "", false,
       "the CA certificates cannot be read"},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    TestServer::Options options;
    options.certificate = row.certificate;
    TestServer server(options, sends(test::answer(200, "secret")));
    HttpTarget target = tls_target_of(server.port(), row.ca_pem);
    target.host = row.host;
    target.tls_settings.server_name = row.server_name;
    target.tls_settings.insecure = row.insecure;
    const Heard heard = exchange(target, get());
    if (row.error == nullptr) {
      EXPECT_TRUE(heard.outcome) << heard.outcome.error().what;
      EXPECT_EQ(heard.body(), "secret");
    } else {
      ASSERT_FALSE(heard.outcome);
      EXPECT_THAT(heard.outcome.error().what, HasSubstr(row.error));
      EXPECT_FALSE(heard.head);
    }
  }
}

TEST(HttpClientTls, AClientCertificateIsShown) {
  const Authority authority;
  TestServer::Options options;
  options.certificate = authority.issue("IP:127.0.0.1");
  options.client_authority_pem = authority.certificate_pem();
  TestServer server(options, sends(test::answer(200, "known")));
  HttpTarget target = tls_target_of(server.port(), authority.certificate_pem());
  const Heard without = exchange(target, get());
  EXPECT_FALSE(without.outcome);
  const test::Certificate own = authority.issue("DNS:client");
  target.tls_settings.client_certificate_pem = own.certificate_pem;
  target.tls_settings.client_key_pem = own.key_pem;
  const Heard with = exchange(target, get());
  EXPECT_TRUE(with.outcome) << with.outcome.error().what;
  EXPECT_EQ(with.body(), "known");
}

TEST(HttpClientTls, AKeyThatDoesNotFitItsCertificateIsRefusedBeforeAnythingIsSent) {
  const Authority authority;
  HttpTarget target = tls_target_of(1, authority.certificate_pem());
  target.tls_settings.client_certificate_pem = authority.issue("DNS:client").certificate_pem;
  target.tls_settings.client_key_pem = authority.issue("DNS:client").key_pem;
  const Heard heard = exchange(target, get());
  ASSERT_FALSE(heard.outcome);
  EXPECT_THAT(heard.outcome.error().what, HasSubstr("client certificate or its key"));
}

TEST(HttpClientTls, AServerWithoutTlsIsReportedAsSuch) {
  TestServer server({}, [](Peer& peer) {
    peer.send("HTTP/1.1 400 Bad Request\r\n\r\n");
    peer.wait_for_end();
  });
  const Heard heard = exchange(tls_target_of(server.port(), ""), get());
  ASSERT_FALSE(heard.outcome);
  EXPECT_THAT(heard.outcome.error().what, HasSubstr("wrong version number"));
}

}  // namespace
}  // namespace sluice::net
