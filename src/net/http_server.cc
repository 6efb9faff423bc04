// SPDX-License-Identifier: Apache-2.0
// healthz is queried by cloud balancers every few seconds and metrics by Prometheus every half minute: little load, but
// on ports that every host that reaches the node can open. So all that a client can use is bounded (HttpLimits): 256
// connections, 16 KiB of header, 64 KiB of body, 30 s for a request to arrive and as long for the response to leave.
// One Session per connection lives as long as its pending operation holds it; the server object admits new ones and
// closes those that are open. Listening and accepting call the kernel directly, because Asio opens descriptors without
// close-on-exec and we run iptables-restore as a child, which must not inherit connections.
#include "net/http_server.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <list>
#include <optional>

#include "base/unique_fd.h"

namespace sluice::net {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

constexpr std::size_t kAcceptsPerTurnMax = 16;   // then other work on the loop gets its turn
constexpr std::chrono::seconds kAcceptPause{1};  // when the process is out of descriptors or memory
constexpr std::chrono::seconds kLingerTime{1};   // for the peer to read why we hang up
constexpr std::size_t kLingerBytesMax = 256 * 1024;
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

class Session;

// Shared between a server and its sessions, so that a session never outlives what it calls.
struct Shared {
  HttpServer::Handler handler;
  HttpLimits limits;
  std::list<Session*> sessions;  // the one silent for longest first
  bool closed = false;
};

HttpResponse plain(int status, std::string text) {
  HttpResponse response;
  response.status = status;
  response.body = std::move(text);
  return response;
}

HttpResponse refusal(beast::error_code error) {
  if (error == http::error::header_limit) return plain(431, "431 Request Header Fields Too Large\n");
  if (error == http::error::body_limit) return plain(413, "413 Request Entity Too Large\n");
  return plain(400, "400 Bad Request\n");
}

// RFC 9110 section 7.1 lets a client also send the absolute form, "http://host:port/path".
std::string_view origin_form(std::string_view target) {
  constexpr std::string_view kScheme = "http://";
  if (!target.starts_with(kScheme)) return target;
  const std::size_t slash = target.find('/', kScheme.size());
  return slash == std::string_view::npos ? "/" : target.substr(slash);
}

HttpRequest to_request(http::request<http::string_body>& message) {
  HttpRequest request;
  request.method = std::string(message.method_string());
  const std::string_view target = origin_form({message.target().data(), message.target().size()});
  const std::size_t question = target.find('?');
  request.path = target.substr(0, question);
  if (question != std::string_view::npos) request.query = target.substr(question + 1);
  request.accept = std::string(message[http::field::accept]);
  request.body = std::move(message.body());
  return request;
}

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, std::shared_ptr<Shared> shared) : stream_(std::move(socket)), shared_(std::move(shared)) {
    place_ = shared_->sessions.insert(shared_->sessions.end(), this);
  }
  ~Session() { shared_->sessions.erase(place_); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void read() {
    parser_.emplace();
    parser_->header_limit(shared_->limits.header_bytes);
    parser_->body_limit(shared_->limits.body_bytes);
    stream_.expires_after(shared_->limits.idle);
    http::async_read_header(
        stream_, buffer_, *parser_,
        [self = shared_from_this()](beast::error_code error, std::size_t) { self->on_header(error); });
  }

  // Ends whatever is pending; the session is destroyed with it.
  void close() {
    beast::error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_both, ignored);
    stream_.close();
  }

 private:
  void on_header(beast::error_code error) {
    if (error || parser_->is_done()) return on_read(error);
    const bool wants_continue =
        parser_->get().version() == 11 && beast::iequals(parser_->get()[http::field::expect], "100-continue");
    if (!wants_continue) return read_body();
    asio::async_write(stream_, asio::buffer(kContinue),
                      [self = shared_from_this()](beast::error_code failed, std::size_t) {
                        if (failed) return self->close();
                        self->read_body();
                      });
  }

  void read_body() {
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](beast::error_code error, std::size_t) { self->on_read(error); });
  }

  void on_read(beast::error_code error) {
    if (shared_->closed) return close();
    if (error) {
      // Only a syntax error or an exceeded limit gets a response; after any other error the peer is gone or silent.
      const bool answerable = error.category() == http::make_error_code(http::error::bad_method).category();
      if (!answerable || error == http::error::end_of_stream) return close();
      return answer(refusal(error), 11, false, false);
    }
    shared_->sessions.splice(shared_->sessions.end(), shared_->sessions, place_);
    auto& message = parser_->get();
    const bool head = message.method() == http::verb::head;
    const bool keep_alive = message.keep_alive();
    const unsigned version = message.version();
    answer(call_handler(to_request(message)), version, keep_alive, head);
  }

  HttpResponse call_handler(const HttpRequest& request) {
    try {
      return shared_->handler(request);
    } catch (const std::exception& exception) {  // from a library below the handler; one page must not end the proxy
      return plain(500, fmt::format("500 Internal Server Error: {}\n", exception.what()));
    }
  }

  void answer(HttpResponse response, unsigned version, bool keep_alive, bool head) {
    response_ = {};
    response_.version(version);
    response_.result(static_cast<unsigned>(response.status));
    response_.set(http::field::date, fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(std::time(nullptr))));
    response_.set(http::field::content_type, response.content_type);
    for (const auto& [name, value] : response.headers) response_.set(name, value);
    response_.keep_alive(keep_alive);
    response_.body() = std::move(response.body);
    response_.prepare_payload();
    if (head) response_.body() = {};  // the announced length stays what GET would send
    stream_.expires_after(shared_->limits.idle);
    http::async_write(stream_, response_,
                      [self = shared_from_this(), keep_alive](beast::error_code error, std::size_t) {
                        self->response_ = {};  // a page of metrics is large; a silent connection need not keep it
                        self->parser_.reset();
                        self->buffer_.shrink_to_fit();
                        if (error || self->shared_->closed) return self->close();
                        if (!keep_alive) return self->linger();
                        self->read();
                      });
  }

  // Closing a socket that still holds unread bytes makes the kernel send a reset, on which the peer may lose our
  // response. So shut down our side and read what it still sends, for a short while.
  void linger() {
    beast::error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
    stream_.expires_after(kLingerTime);
    discard(0);
  }

  void discard(std::size_t so_far) {
    buffer_.clear();
    stream_.async_read_some(buffer_.prepare(4096),
                            [self = shared_from_this(), so_far](beast::error_code error, std::size_t size) {
                              if (error || self->shared_->closed || so_far + size > kLingerBytesMax)
                                return self->close();
                              self->discard(so_far + size);
                            });
  }

  beast::tcp_stream stream_;
  std::shared_ptr<Shared> shared_;
  std::list<Session*>::iterator place_;
  beast::flat_buffer buffer_{32 * 1024};
  std::optional<http::request_parser<http::string_body>> parser_;
  http::response<http::string_body> response_;
};

class TcpServer : public HttpServer {
 public:
  TcpServer(tcp::acceptor acceptor, tcp protocol, Handler handler, const HttpLimits& limits)
      : acceptor_(std::move(acceptor)),
        pause_(acceptor_.get_executor()),
        protocol_(protocol),
        shared_(std::make_shared<Shared>()) {
    shared_->handler = std::move(handler);
    shared_->limits = limits;
  }
  ~TcpServer() override {
    shared_->closed = true;
    beast::error_code ignored;
    acceptor_.close(ignored);
    for (Session* session : shared_->sessions) session->close();
  }
  TcpServer(const TcpServer&) = delete;
  TcpServer& operator=(const TcpServer&) = delete;

  [[nodiscard]] std::uint16_t port() const override {
    beast::error_code ignored;
    return acceptor_.local_endpoint(ignored).port();
  }

  void wait() {
    acceptor_.async_wait(tcp::acceptor::wait_read, [this, shared = shared_](beast::error_code error) {
      if (shared->closed || error == asio::error::operation_aborted) return;
      if (accept_ready()) return wait();
      pause_.expires_after(kAcceptPause);
      pause_.async_wait([this, shared](beast::error_code) {
        if (!shared->closed) wait();
      });
    });
  }

 private:
  // False when accepting cannot succeed for now (accept(2): EMFILE, ENFILE, ENOBUFS, ENOMEM) and retrying at once
  // would spin.
  bool accept_ready() {
    for (std::size_t i = 0; i < kAcceptsPerTurnMax; ++i) {
      UniqueFd fd(::accept4(acceptor_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!fd) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) return true;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) return false;
        continue;  // this one connection failed before we took it; by accept(2) it is to be treated like EAGAIN
      }
      admit(std::move(fd));
    }
    return true;
  }

  void admit(UniqueFd fd) {
    beast::error_code error;
    tcp::socket socket(acceptor_.get_executor());
    socket.assign(protocol_, fd.get(), error);
    if (error) return;
    (void)fd.release();  // now the socket's
    if (shared_->sessions.size() >= shared_->limits.connections) shared_->sessions.front()->close();
    std::make_shared<Session>(std::move(socket), shared_)->read();
  }

  tcp::acceptor acceptor_;
  asio::steady_timer pause_;
  tcp protocol_;
  std::shared_ptr<Shared> shared_;
};

Errc errc_of(int error) {
  switch (error) {
    case EADDRINUSE:
      return Errc::kAlreadyExists;
    case EACCES:
    case EPERM:
      return Errc::kPermission;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
      return Errc::kExhausted;
    case EAFNOSUPPORT:
      return Errc::kUnsupported;
    default:
      return Errc::kUnavailable;  // EADDRNOTAVAIL: the address may be added later
  }
}

// A listening socket; errno has the reason if it is invalid.
UniqueFd open_listener(const IpAddress& address, std::uint16_t port, bool v6_only) {
  const bool v4 = address.family() == Family::kIPv4;
  UniqueFd fd(::socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return {};
  const int on = 1;
  const int only = v6_only ? 1 : 0;
  // With SO_REUSEADDR connections that linger from our previous run do not keep the port.
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0) return {};
  if (!v4 && ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only)) != 0) return {};
  sockaddr_in in{};
  sockaddr_in6 in6{};
  in.sin_family = AF_INET;
  in.sin_port = htons(port);
  in6.sin6_family = AF_INET6;
  in6.sin6_port = htons(port);
  std::memcpy(v4 ? static_cast<void*>(&in.sin_addr) : &in6.sin6_addr, address.bytes().data(), address.bytes().size());
  const auto* name = v4 ? reinterpret_cast<const sockaddr*>(&in) : reinterpret_cast<const sockaddr*>(&in6);
  if (::bind(fd.get(), name, v4 ? sizeof(in) : sizeof(in6)) != 0) return {};
  if (::listen(fd.get(), SOMAXCONN) != 0) return {};
  return fd;
}

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::listen(EventLoop& loop, const IpAddress& address, std::uint16_t port,
                                                       Handler handler, bool v6_only, const HttpLimits& limits) {
  const std::string where = fmt::format("listen on tcp {}", join_host_port(address, port));
  UniqueFd fd = open_listener(address, port, v6_only);
  if (!fd) {
    const int error = errno;
    return fail(errc_of(error), fmt::format("{}: {}", where, std::strerror(error)), error);
  }
  const tcp protocol = address.family() == Family::kIPv4 ? tcp::v4() : tcp::v6();
  tcp::acceptor acceptor(loop);
  beast::error_code error;
  acceptor.assign(protocol, fd.get(), error);
  if (error) return fail(Errc::kInternal, fmt::format("{}: {}", where, error.message()), error.value());
  (void)fd.release();  // now the acceptor's
  auto server = std::make_unique<TcpServer>(std::move(acceptor), protocol, std::move(handler), limits);
  server->wait();
  return server;
}

}  // namespace sluice::net
