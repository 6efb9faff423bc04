// SPDX-License-Identifier: Apache-2.0
// The steps of one exchange: resolve, connect, TLS handshake, write, read the head, read the body piece by piece. A
// watch may be silent for minutes although all is well, so silence by itself proves nothing: TCP keepalive and
// TCP_USER_TIMEOUT (tcp(7)) find a peer that has vanished, the idle limit one that is alive but hangs. OpenSSL's own
// reason for a certificate that does not verify is kept in the error: "unable to get local issuer certificate" helps
// an operator, "handshake failed" does not.
#include "net/http_client.h"

#include <fmt/format.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <limits>
#include <optional>

#include "base/ip.h"

namespace sluice::net {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace ssl = asio::ssl;
using asio::ip::tcp;
using beast::error_code;

constexpr std::size_t kPieceBytes = 64 * 1024;
constexpr std::uint32_t kHeadBytesMax = 64 * 1024;
constexpr std::size_t kConnected = std::numeric_limits<std::size_t>::max();

Result<> configure_tls(ssl::context& context, const TlsSettings& settings) {
  error_code error;
  context.set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 | ssl::context::no_sslv3 |
                          ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1,
                      error);
  if (!error && !settings.insecure) {
    context.set_verify_mode(ssl::verify_peer, error);
    if (!error && settings.ca_pem.empty()) context.set_default_verify_paths(error);
    if (!error && !settings.ca_pem.empty()) context.add_certificate_authority(asio::buffer(settings.ca_pem), error);
    if (error) return fail(Errc::kInvalid, fmt::format("TLS: the CA certificates cannot be read: {}", error.message()));
  }
  if (!settings.client_certificate_pem.empty()) {
    context.use_certificate_chain(asio::buffer(settings.client_certificate_pem), error);
    if (!error) context.use_private_key(asio::buffer(settings.client_key_pem), ssl::context::pem, error);
    if (!error) return {};
    return fail(Errc::kInvalid,
                fmt::format("TLS: the client certificate or its key cannot be used: {}", error.message()));
  }
  return {};
}

const std::string& expected_name(const HttpTarget& target) {
  return target.tls_settings.server_name.empty() ? target.host : target.tls_settings.server_name;
}

// The server's certificate must carry the name or address that we connected to.
Result<> expect_peer(SSL* handle, const HttpTarget& target) {
  const std::string& name = expected_name(target);
  const bool is_address = IpAddress::parse(name).has_value();
  if (!is_address) SSL_set_tlsext_host_name(handle, name.c_str());
  if (target.tls_settings.insecure) return {};
  X509_VERIFY_PARAM* parameters = SSL_get0_param(handle);
  // As in Go, only subject alternative names count (RFC 6125 section 6.4.4 deprecates the common name).
  X509_VERIFY_PARAM_set_hostflags(parameters,
                                  X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  // Everything in the CA file is trusted, also an intermediate certificate or the server's own.
  X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN);
  const int set = is_address ? X509_VERIFY_PARAM_set1_ip_asc(parameters, name.c_str())
                             : X509_VERIFY_PARAM_set1_host(parameters, name.c_str(), name.size());
  if (set != 1) return fail(Errc::kInvalid, fmt::format("TLS: '{}' is not a name that a certificate can carry", name));
  return {};
}

void watch_over_peer(tcp::socket& socket, std::chrono::milliseconds dead_peer) {
  error_code ignored;
  socket.set_option(asio::socket_base::keep_alive(true), ignored);
  socket.set_option(tcp::no_delay(true), ignored);
  using Option = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_USER_TIMEOUT>;
  using Idle = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPIDLE>;
  using Interval = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPINTVL>;
  using Count = asio::detail::socket_option::integer<IPPROTO_TCP, TCP_KEEPCNT>;
  const int seconds = std::max(1, static_cast<int>(dead_peer.count() / 3000));
  socket.set_option(Option(static_cast<int>(dead_peer.count())), ignored);
  socket.set_option(Idle(seconds), ignored);
  socket.set_option(Interval(seconds), ignored);
  socket.set_option(Count(3), ignored);
}

class Exchange : public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(EventLoop& loop, HttpTarget target, HttpClientRequest request, HttpCallbacks callbacks)
      : target_(std::move(target)),
        timeouts_(request.timeouts),
        callbacks_(std::move(callbacks)),
        resolver_(loop),
        timer_(loop),
        context_(ssl::context::tls_client) {
    stream_.emplace(loop, context_);
    message_.method_string(request.method);
    message_.target(request.path);
    message_.version(11);
    message_.set(http::field::host, target_.host_header());
    for (const auto& [name, value] : request.headers) message_.set(name, value);
    message_.set(http::field::connection, "close");
    message_.body() = std::move(request.body);
    message_.prepare_payload();
    buffer_.reserve(kPieceBytes);  // Beast reads as much at once as fits without growing
    parser_.header_limit(kHeadBytesMax);
    // Boost 1.74 treats "no limit" (boost::none) as a limit of 0 if a Content-Length is given.
    parser_.body_limit(std::numeric_limits<std::uint64_t>::max());
  }

  void start() {
    if (auto sound = check_request(); !sound) return finish_later(sound.error());
    if (target_.tls) {
      if (auto ready = prepare_tls(); !ready) return finish_later(ready.error());
    }
    arm(timeouts_.connect, "looking up the name");
    deadline_ = std::chrono::steady_clock::now() + timeouts_.connect;
    resolver_.async_resolve(target_.host, std::to_string(target_.port), tcp::resolver::numeric_service,
                            [self = shared_from_this()](error_code error, const tcp::resolver::results_type& results) {
                              if (self->ended_) return;
                              if (error) return self->finish_with("look up the name", error);
                              for (const auto& entry : results) self->addresses_.push_back(entry.endpoint());
                              self->connect(0);
                            });
  }

  void cancel() {
    ended_ = true;
    close();
  }

 private:
  void finish_later(const Error& error) {
    asio::post(timer_.get_executor(), [self = shared_from_this(), error] { self->finish(tl::unexpected(error)); });
  }

  // A line break in a header would end it, and the rest would be a header that others control.
  Result<> check_request() const {
    for (const auto& header : message_) {
      if (header.value().find_first_of("\r\n") == beast::string_view::npos) continue;
      return fail(Errc::kInvalid, fmt::format("header {}: contains a line break", std::string(header.name_string())));
    }
    return {};
  }

  // An SSL object copies its context when it is created, so the settings must be made before.
  Result<> prepare_tls() {
    SLUICE_CHECK_OK(configure_tls(context_, target_.tls_settings));
    stream_.emplace(timer_.get_executor(), context_);
    return expect_peer(stream_->native_handle(), target_);
  }

  tcp::socket& socket() { return stream_->next_layer(); }

  // Addresses are tried one after the other, each for its share of the time, so that one that drops packets leaves
  // some to the next.
  void connect(std::size_t index) {
    const auto left = deadline_ - std::chrono::steady_clock::now();
    const auto share = std::chrono::duration_cast<std::chrono::milliseconds>(left) / (addresses_.size() - index);
    ++limit_;  // the name's time limit is over
    timer_.expires_after(share);
    timer_.async_wait([self = shared_from_this(), index](error_code error) {
      // An expiry that was already pending when the connection was established must not hit it: `attempt_` differs.
      if (!error && !self->ended_ && self->attempt_ == index) self->next_address(index, "timed out");
    });
    attempt_ = index;
    socket().async_connect(addresses_[index], [self = shared_from_this(), index](error_code error) {
      if (self->ended_ || self->attempt_ != index) return;
      if (error) return self->next_address(index, error.message());
      self->attempt_ = kConnected;
      self->connected();
    });
  }

  void next_address(std::size_t index, const std::string& reason) {
    const tcp::endpoint& address = addresses_[index];
    const std::string where = fmt::format("{}:{}", address.address().to_string(), address.port());
    failures_ += fmt::format("{}{}: {}", failures_.empty() ? "" : "; ", where, reason);
    error_code ignored;
    attempt_ = kConnected;  // later results of this attempt are ignored
    socket().close(ignored);
    if (index + 1 < addresses_.size()) return connect(index + 1);
    finish(fail(Errc::kUnavailable, fmt::format("connect to {}", failures_)));
  }

  void connected() {
    watch_over_peer(socket(), timeouts_.dead_peer);
    if (!target_.tls) return write();
    const auto left = deadline_ - std::chrono::steady_clock::now();
    arm(std::chrono::duration_cast<std::chrono::milliseconds>(left), "in the TLS handshake");
    stream_->async_handshake(ssl::stream_base::client, [self = shared_from_this()](error_code error) {
      if (self->ended_) return;
      if (error) return self->finish_with_tls(error);
      self->write();
    });
  }

  void write() {
    arm(timeouts_.response, "waiting for the response");
    const auto written = [self = shared_from_this()](error_code error, std::size_t) {
      if (self->ended_) return;
      if (error) return self->finish_with("send the request", error);
      self->read_head();
    };
    target_.tls ? http::async_write(*stream_, message_, written) : http::async_write(socket(), message_, written);
  }

  void read_head() {
    const auto read = [self = shared_from_this()](error_code error, std::size_t) {
      if (self->ended_) return;
      if (error) return self->finish_with("read the response", error);
      const auto& head = self->parser_.get();
      if (self->callbacks_.on_head) {
        self->callbacks_.on_head({static_cast<int>(head.result_int()), std::string(head[http::field::content_type]),
                                  std::string(head[http::field::retry_after]),
                                  std::string(head[http::field::location])});
      }
      if (!self->ended_) self->read_body();
    };
    target_.tls ? http::async_read_header(*stream_, buffer_, parser_, read)
                : http::async_read_header(socket(), buffer_, parser_, read);
  }

  void read_body() {
    if (parser_.is_done()) return finish({});
    arm(timeouts_.idle, "waiting for more of the response");
    parser_.get().body().data = piece_.data();
    parser_.get().body().size = piece_.size();
    const auto read = [self = shared_from_this()](error_code error, std::size_t) {
      if (self->ended_) return;
      if (error == http::error::need_buffer) error = {};
      const std::size_t filled = self->piece_.size() - self->parser_.get().body().size;
      if (filled > 0 && self->callbacks_.on_body) {
        auto taken = self->callbacks_.on_body({self->piece_.data(), filled});
        if (!taken) return self->finish(std::move(taken));
      }
      if (self->ended_) return;
      if (error) return self->finish_with("read the response", error);
      self->read_body();
    };
    // async_read_some and not async_read: a watch's line must not wait until the buffer is full.
    target_.tls ? http::async_read_some(*stream_, buffer_, parser_, read)
                : http::async_read_some(socket(), buffer_, parser_, read);
  }

  void arm(std::chrono::milliseconds limit, const char* what) {
    const unsigned mine = ++limit_;
    timer_.expires_after(limit);
    timer_.async_wait([self = shared_from_this(), what, limit, mine](error_code error) {
      if (error || self->ended_ || self->limit_ != mine) return;
      self->finish(fail(Errc::kUnavailable, fmt::format("timed out after {} ms {}", limit.count(), what)));
    });
  }

  void finish_with(const char* what, error_code error) {
    // A server that closes without TLS's close_notify in the middle of a body is an error; Beast distinguishes it from
    // a finished message.
    finish(fail(Errc::kUnavailable, fmt::format("{}: {}", what, error.message()), error.value()));
  }

  void finish_with_tls(error_code error) {
    const long verdict = SSL_get_verify_result(stream_->native_handle());
    if (verdict != X509_V_OK && !target_.tls_settings.insecure) {
      return finish(
          fail(Errc::kPermission, fmt::format("TLS: the server's certificate is not accepted: {} (expected: {})",
                                              X509_verify_cert_error_string(verdict), expected_name(target_))));
    }
    finish_with("TLS handshake", error);
  }

  void finish(Result<> outcome) {
    if (ended_) return;
    ended_ = true;
    close();
    if (!outcome) {
      const char* scheme = target_.tls ? "https" : "http";
      outcome = annotate(outcome.error(), fmt::format("{}://{}", scheme, target_.host_header()));
    }
    // Moved out, since the callback may destroy the owner of this exchange.
    const auto done = std::move(callbacks_.on_done);
    if (done) done(std::move(outcome));
  }

  void close() {
    error_code ignored;
    timer_.cancel();
    resolver_.cancel();
    socket().shutdown(tcp::socket::shutdown_both, ignored);
    socket().close(ignored);
  }

  const HttpTarget target_;
  const HttpTimeouts timeouts_;
  HttpCallbacks callbacks_;
  tcp::resolver resolver_;
  asio::steady_timer timer_;
  ssl::context context_;
  std::optional<ssl::stream<tcp::socket>> stream_;  // without TLS only its socket is used
  http::request<http::string_body> message_;
  http::response_parser<http::buffer_body> parser_;
  beast::flat_buffer buffer_{kHeadBytesMax + kPieceBytes};
  std::array<char, kPieceBytes> piece_{};
  std::vector<tcp::endpoint> addresses_;
  std::chrono::steady_clock::time_point deadline_;  // of the connection and the handshake
  std::size_t attempt_ = kConnected;                // index of the address that is being tried
  std::string failures_;                            // of the addresses tried so far
  unsigned limit_ = 0;                              // counts the time limits, so that an expired one is recognised
  bool ended_ = false;
};

class Handle : public HttpExchange {
 public:
  explicit Handle(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
  ~Handle() override { exchange_->cancel(); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

 private:
  std::shared_ptr<Exchange> exchange_;
};

}  // namespace

std::string HttpTarget::host_header() const {
  const bool six = host.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", six ? "[" : "", host, six ? "]" : "", port);
}

std::unique_ptr<HttpExchange> start_exchange(EventLoop& loop, HttpTarget target, HttpClientRequest request,
                                             HttpCallbacks callbacks) {
  auto exchange = std::make_shared<Exchange>(loop, std::move(target), std::move(request), std::move(callbacks));
  exchange->start();
  return std::make_unique<Handle>(std::move(exchange));
}

}  // namespace sluice::net
