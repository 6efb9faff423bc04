// SPDX-License-Identifier: Apache-2.0
// For tests of HTTP clients: a server on loopback, with TLS or without, whose responses a test defines byte by
// byte, so that it can misbehave in every way. Each connection has a thread; all end with the server.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/ip.h"
#include "net/test_certificates.h"
#include "net/test_network.h"

namespace sluice::net::test {

struct Request {
  std::string method;
  std::string path;                          // without the query
  std::map<std::string, std::string> query;  // names and values as on the wire, still escaped
  std::string query_text;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

// One connection, as the server sees it.
class Peer {
 public:
  virtual ~Peer() = default;
  // The next request; nothing when the client hung up or the server ends.
  virtual std::optional<Request> read_request() = 0;
  // The next bytes as they arrive; empty when the client hung up or the server ends.
  virtual std::string read_some() = 0;
  virtual bool send(std::string_view bytes) = 0;  // false: the client is gone
  // Waits until the client hangs up or the server ends.
  virtual void wait_for_end() = 0;
  virtual void reset() = 0;  // the connection ends with a TCP reset
};

// A response whose body has a length, and one that is sent in chunks.
std::string answer(int status, std::string_view body, std::string_view more_headers = "");
std::string chunked_head(int status);
std::string chunk(std::string_view bytes);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

class TestServer {
 public:
  struct Options {
    std::optional<Certificate> certificate;  // set = TLS
    std::string client_authority_pem;        // set = clients must show a certificate that it signed
    IpAddress address = IpAddress::from_v4(0x7f000001);
  };
  using Handler = std::function<void(Peer&)>;  // called on the connection's thread; the connection ends with it
  TestServer(const Options& options, Handler handler);
  ~TestServer();
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  [[nodiscard]] std::uint16_t port() const;
  [[nodiscard]] int connections() const;  // so far

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::net::test
