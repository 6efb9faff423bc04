// SPDX-License-Identifier: Apache-2.0
// A small HTTP/1.1 server on Boost.Beast for healthz, livez, metrics and health-check node ports: any method,
// keep-alive, one handler, bounded connections and request sizes.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "net/event_loop.h"

namespace sluice::net {

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // "/healthz", without the query
  std::string query;   // "verbose", without the question mark
  std::string accept;  // the Accept header
  std::string body;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
};

// What clients may use. Beyond `connections` the connection that has been silent for longest makes room for
// the new one, so that a probe always gets in.
struct HttpLimits {
  std::size_t connections = 256;
  std::uint32_t header_bytes = 16 * 1024;
  std::uint64_t body_bytes = 64 * 1024;
  std::chrono::milliseconds idle{30'000};  // for a whole request to arrive, and again for the response to leave
};

class HttpServer {
 public:
  using Handler = std::function<HttpResponse(const HttpRequest&)>;
  // Listens at once, on the calling thread; serving happens on `loop`. The handler is called on the loop's thread.
  // For an unspecified IPv6 address the socket is IPV6_V6ONLY iff `v6_only`.
  static Result<std::unique_ptr<HttpServer>> listen(EventLoop& loop, const IpAddress& address, std::uint16_t port,
                                                    Handler handler, bool v6_only = false,
                                                    const HttpLimits& limits = {});
  virtual ~HttpServer() =
      default;  // closes the listener and its connections; must run on the loop's thread or when it is stopped
  [[nodiscard]] virtual std::uint16_t port() const = 0;  // the port it really listens on (for port 0)
};

}  // namespace sluice::net
