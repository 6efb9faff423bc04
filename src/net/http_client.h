// SPDX-License-Identifier: Apache-2.0
// An asynchronous HTTP/1.1 client on the event loop, with TLS or without. It follows no redirects, which could lead a
// request's credentials elsewhere. A response's body comes in pieces as it arrives, so
// that a watch can run for minutes and a large list is never held.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "net/event_loop.h"

namespace sluice::net {

struct TlsSettings {
  std::string ca_pem;                  // certificates to trust; empty = the system's
  bool insecure = false;               // trust any server
  std::string server_name;             // verify this name in place of the host's
  std::string client_certificate_pem;  // with its chain; empty = none
  std::string client_key_pem;
};

struct HttpTarget {
  bool tls = true;
  std::string host;  // name or address, IPv6 without brackets
  std::uint16_t port = 443;
  TlsSettings tls_settings;
  [[nodiscard]] std::string host_header() const;  // "[::1]:6443"
};

struct HttpTimeouts {
  std::chrono::milliseconds connect{10000};   // names, TCP and TLS together
  std::chrono::milliseconds response{30000};  // until the response's head has arrived
  std::chrono::milliseconds idle{60000};      // between two pieces of the body
  // A peer that acknowledges nothing for this long is gone (TCP_USER_TIMEOUT, keepalive).
  std::chrono::milliseconds dead_peer{30000};
};

struct HttpClientRequest {
  std::string method = "GET";
  std::string path;  // with the query
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  HttpTimeouts timeouts;
};

struct HttpResponseHead {
  int status = 0;
  std::string content_type;
  std::string retry_after;
  std::string location;  // of a redirect, which is not followed
};

struct HttpCallbacks {
  std::function<void(const HttpResponseHead&)> on_head;
  std::function<Result<>(std::string_view)> on_body;  // an error ends the exchange with that error
  std::function<void(Result<>)> on_done;              // the last call; the exchange may be destroyed in it
};

// One request and its response. Destroying it ends it; no callback runs after that.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
};

// Starts at once; callbacks run on the loop's thread, never from within this call.
std::unique_ptr<HttpExchange> start_exchange(EventLoop& loop, HttpTarget target, HttpClientRequest request,
                                             HttpCallbacks callbacks);

}  // namespace sluice::net
