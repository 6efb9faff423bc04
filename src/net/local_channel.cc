// SPDX-License-Identifier: Apache-2.0
// `sluice status` must reach the daemon of the node it runs on. The daemon listens on the abstract socket "\0sluice"; a
// client writes one line and reads until the end. The client is identified by SO_PEERCRED, which the kernel fills in
// and which cannot be forged.
#include "net/local_channel.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <cstring>
#include <istream>
#include <utility>

#include "base/unique_fd.h"

namespace sluice::net {
namespace {

using boost::asio::local::stream_protocol;
constexpr std::size_t kRequestBytesMax = 4096;
constexpr std::chrono::seconds kAcceptAgain{1};

std::string abstract_name(const std::string& name) {
  return std::string(1, '\0') + name;
}

bool peer_is_trusted(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == 0 || peer.uid == ::geteuid());
}

// One client: request line in, response out, closed. A client that is too slow is disconnected.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(stream_protocol::socket socket, const LocalServer::Handler& handler, const LocalLimits& limits,
          std::function<void()> ended)
      : socket_(std::move(socket)),
        deadline_(socket_.get_executor()),
        handler_(handler),
        limits_(limits),
        ended_(std::move(ended)) {}

  void start() {
    hang_up_after(limits_.request);
    boost::asio::async_read_until(socket_, request_, '\n', [self = shared_from_this()](auto error, std::size_t) {
      self->deadline_.cancel();
      if (error) return self->end();
      std::istream stream(&self->request_);
      std::string line;
      std::getline(stream, line);
      self->handler_(line, [self](std::string answer) {
        boost::asio::post(self->socket_.get_executor(),
                          [self, answer = std::move(answer)]() mutable { self->send(std::move(answer)); });
      });
    });
  }

 private:
  void hang_up_after(std::chrono::milliseconds longest) {
    deadline_.expires_after(longest);
    deadline_.async_wait([weak = weak_from_this()](auto error) {
      const auto self = weak.lock();
      if (!error && self) self->end();
    });
  }

  // On the loop's thread, like everything except the handler's reply; a second call does nothing.
  void end() {
    deadline_.cancel();
    boost::system::error_code ignored;
    socket_.close(ignored);
    if (const auto ended = std::exchange(ended_, nullptr)) ended();
  }

  void send(std::string answer) {
    if (!socket_.is_open()) return;
    answer_ = std::move(answer);
    hang_up_after(limits_.answer);
    boost::asio::async_write(socket_, boost::asio::buffer(answer_),
                             [self = shared_from_this()](auto, std::size_t) { self->end(); });
  }

  stream_protocol::socket socket_;
  boost::asio::steady_timer deadline_;
  const LocalServer::Handler handler_;
  const LocalLimits limits_;
  std::function<void()> ended_;
  boost::asio::streambuf request_{kRequestBytesMax};
  std::string answer_;
};

// Shared with operations that are still pending on the loop when the server is destroyed.
class Listener : public std::enable_shared_from_this<Listener> {
 public:
  Listener(stream_protocol::acceptor acceptor, LocalServer::Handler handler, const LocalLimits& limits)
      : acceptor_(std::move(acceptor)),
        later_(acceptor_.get_executor()),
        handler_(std::move(handler)),
        limits_(limits) {}

  void accept() {
    if (accepting_ || !acceptor_.is_open() || sessions_ >= limits_.sessions) return;
    accepting_ = true;
    acceptor_.async_accept([self = shared_from_this()](auto error, stream_protocol::socket socket) {
      self->accepting_ = false;
      if (error == boost::asio::error::operation_aborted || !self->acceptor_.is_open()) return;
      if (error) return self->accept_later();  // no descriptor is left
      if (peer_is_trusted(socket.native_handle())) self->serve(std::move(socket));
      self->accept();
    });
  }

  void close() {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    later_.cancel();
  }

 private:
  void accept_later() {
    later_.expires_after(kAcceptAgain);
    later_.async_wait([self = shared_from_this()](auto error) {
      if (!error) self->accept();
    });
  }

  void serve(stream_protocol::socket socket) {
    ++sessions_;
    auto ended = [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (!self) return;
      --self->sessions_;
      self->accept();
    };
    std::make_shared<Session>(std::move(socket), handler_, limits_, std::move(ended))->start();
  }

  stream_protocol::acceptor acceptor_;
  boost::asio::steady_timer later_;
  const LocalServer::Handler handler_;
  const LocalLimits limits_;
  std::size_t sessions_ = 0;
  bool accepting_ = false;
};

class AbstractServer : public LocalServer {
 public:
  explicit AbstractServer(std::shared_ptr<Listener> listener) : listener_(std::move(listener)) {}
  ~AbstractServer() override { listener_->close(); }
  AbstractServer(const AbstractServer&) = delete;
  AbstractServer& operator=(const AbstractServer&) = delete;

 private:
  const std::shared_ptr<Listener> listener_;
};

}  // namespace

Result<std::unique_ptr<LocalServer>> LocalServer::listen(EventLoop& loop, const std::string& name, Handler handler,
                                                         const LocalLimits& limits) {
  boost::system::error_code error;
  stream_protocol::acceptor acceptor(loop);
  acceptor.open(stream_protocol(), error);
  if (!error) acceptor.bind(stream_protocol::endpoint(abstract_name(name)), error);
  if (!error) acceptor.listen(16, error);
  if (error) {
    const Errc code = error == boost::asio::error::address_in_use ? Errc::kAlreadyExists : Errc::kInternal;
    return fail(code, fmt::format("listen on the local socket @{}: {}", name, error.message()), error.value());
  }
  auto listener = std::make_shared<Listener>(std::move(acceptor), std::move(handler), limits);
  listener->accept();
  return std::make_unique<AbstractServer>(std::move(listener));
}

Result<std::string> ask_local_server(const std::string& name, const std::string& request,
                                     std::chrono::seconds timeout) {
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (name.size() + 1 > sizeof(address.sun_path)) return fail(Errc::kInvalid, "the local socket's name is too long");
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (!fd || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    const int error = errno;
    const Errc code = error == ECONNREFUSED ? Errc::kNotFound : Errc::kUnavailable;
    return fail(code, fmt::format("connect to the local socket @{}: {}", name, std::strerror(error)), error);
  }
  const timeval limit{.tv_sec = timeout.count(), .tv_usec = 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  const std::string line = request + "\n";
  if (::send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size())) {
    return fail(Errc::kUnavailable, fmt::format("ask the local socket @{}: {}", name, std::strerror(errno)), errno);
  }
  std::string answer;
  std::array<char, 65536> buffer{};
  while (true) {
    const ssize_t received = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (received == 0) return answer;
    if (received < 0 && errno == EINTR) continue;
    if (received < 0) {
      return fail(Errc::kUnavailable,
                  fmt::format("no response from the local socket @{}: {}", name, std::strerror(errno)), errno);
    }
    answer.append(buffer.data(), static_cast<std::size_t>(received));
  }
}

}  // namespace sluice::net
