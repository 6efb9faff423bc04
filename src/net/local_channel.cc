// SPDX-License-Identifier: Apache-2.0
// `sluice status` must ask the daemon of the node it runs on. The daemon listens on the abstract socket "\0sluice"; a
// client writes one line and reads until the end. Who asks is known from SO_PEERCRED, which the kernel fills in and
// nobody can forge.
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
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <cstring>
#include <istream>

#include "base/unique_fd.h"

namespace sluice::net {
namespace {

using boost::asio::local::stream_protocol;
constexpr std::size_t kRequestBytesMax = 4096;

std::string abstract_name(const std::string& name) {
  return std::string(1, '\0') + name;
}

bool peer_is_trusted(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && (peer.uid == 0 || peer.uid == ::geteuid());
}

// One client: request line in, answer out, closed.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(stream_protocol::socket socket, const LocalServer::Handler& handler)
      : socket_(std::move(socket)), handler_(handler) {}

  void start() {
    boost::asio::async_read_until(socket_, request_, '\n', [self = shared_from_this()](auto error, std::size_t) {
      if (error) return;
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
  void send(std::string answer) {
    answer_ = std::move(answer);
    boost::asio::async_write(socket_, boost::asio::buffer(answer_), [self = shared_from_this()](auto, std::size_t) {});
  }

  stream_protocol::socket socket_;
  LocalServer::Handler handler_;
  boost::asio::streambuf request_{kRequestBytesMax};
  std::string answer_;
};

class AbstractServer : public LocalServer {
 public:
  AbstractServer(stream_protocol::acceptor acceptor, Handler handler)
      : acceptor_(std::move(acceptor)), handler_(std::move(handler)) {}

  void accept() {
    acceptor_.async_accept([this](auto error, stream_protocol::socket socket) {
      if (error == boost::asio::error::operation_aborted) return;
      if (!error && peer_is_trusted(socket.native_handle()))
        std::make_shared<Session>(std::move(socket), handler_)->start();
      accept();
    });
  }

 private:
  stream_protocol::acceptor acceptor_;
  Handler handler_;
};

}  // namespace

Result<std::unique_ptr<LocalServer>> LocalServer::listen(EventLoop& loop, const std::string& name, Handler handler) {
  boost::system::error_code error;
  stream_protocol::acceptor acceptor(loop);
  acceptor.open(stream_protocol(), error);
  if (!error) acceptor.bind(stream_protocol::endpoint(abstract_name(name)), error);
  if (!error) acceptor.listen(16, error);
  if (error) {
    const Errc code = error == boost::asio::error::address_in_use ? Errc::kAlreadyExists : Errc::kInternal;
    return fail(code, fmt::format("listen on the local socket @{}: {}", name, error.message()), error.value());
  }
  auto server = std::make_unique<AbstractServer>(std::move(acceptor), std::move(handler));
  server->accept();
  return server;
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
                  fmt::format("no answer from the local socket @{}: {}", name, std::strerror(errno)), errno);
    }
    answer.append(buffer.data(), static_cast<std::size_t>(received));
  }
}

}  // namespace sluice::net
