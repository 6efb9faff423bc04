// SPDX-License-Identifier: Apache-2.0
// For tests of HTTP servers: a thread that runs the loop, and a client that sends plain bytes over loopback, so that
// it can also send what no proper client would. Every wait has a bound of 60 s, after which the test fails instead of
// hanging.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <cctype>
#include <cstring>
#include <functional>
#include <latch>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "base/ip.h"
#include "base/unique_fd.h"
#include "net/event_loop.h"
#include "net/test_network.h"

namespace sluice::net::test {

inline constexpr time_t kPatienceSeconds = 60;

// Runs `loop` in a thread until stop().
class LoopThread {
 public:
  LoopThread() : work_(loop.get_executor()), thread_([this] { loop.run(); }) {}
  ~LoopThread() { stop(); }
  LoopThread(const LoopThread&) = delete;
  LoopThread& operator=(const LoopThread&) = delete;

  // Runs `what` on the loop's thread and waits for it.
  void run(const std::function<void()>& what) {
    std::latch done(1);
    boost::asio::post(loop, [&] {
      what();
      done.count_down();
    });
    done.wait();
  }
  void stop() {
    loop.stop();
    if (thread_.joinable()) thread_.join();
  }

  EventLoop loop;

 private:
  boost::asio::executor_work_guard<EventLoop::executor_type> work_;
  std::thread thread_;
};

struct Answer {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

class Client {
 public:
  explicit Client(std::uint16_t port, const IpAddress& address = IpAddress::from_v4(INADDR_LOOPBACK)) {
    const bool v4 = address.family() == Family::kIPv4;
    fd_ = UniqueFd(::socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
    // A client's connection in TIME-WAIT blocks its port for listeners unless both sides allow reuse (socket(7)).
    const int on = 1;
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    const timeval patience{.tv_sec = kPatienceSeconds, .tv_usec = 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    sockaddr_in in{};
    sockaddr_in6 in6{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    in6.sin6_family = AF_INET6;
    in6.sin6_port = htons(port);
    std::memcpy(v4 ? static_cast<void*>(&in.sin_addr) : &in6.sin6_addr, address.bytes().data(), address.bytes().size());
    const auto* name = v4 ? reinterpret_cast<const sockaddr*>(&in) : reinterpret_cast<const sockaddr*>(&in6);
    connected_ = ::connect(fd_.get(), name, v4 ? sizeof(in) : sizeof(in6)) == 0;
  }

  [[nodiscard]] bool connected() const { return connected_; }
  [[nodiscard]] int fd() const { return fd_.get(); }

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;  // the peer closed; what it sent can still be read
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
  }

  // The next response; nothing if the connection ends before it is complete. After a HEAD no body is read.
  std::optional<Answer> answer(bool head = false) {
    std::size_t end = std::string::npos;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (!receive()) return std::nullopt;
    }
    Answer result = parse_head(buffer_.substr(0, end + 2));
    buffer_.erase(0, end + 4);
    const std::size_t length = head || result.status == 100 ? 0 : std::stoul("0" + result.headers["content-length"]);
    while (buffer_.size() < length) {
      if (!receive()) return std::nullopt;
    }
    result.body = buffer_.substr(0, length);
    buffer_.erase(0, length);
    return result;
  }

  // True once the server has closed the connection (or reset it) and nothing unread is left.
  bool ended() {
    if (!buffer_.empty()) return false;
    while (receive()) {
      if (!buffer_.empty()) return false;
    }
    return ended_;
  }

 private:
  bool receive() {
    std::array<char, 65536> part{};
    const ssize_t size = ::recv(fd_.get(), part.data(), part.size(), 0);
    if (size > 0) buffer_.append(part.data(), static_cast<std::size_t>(size));
    if (size == 0 || (size < 0 && errno == ECONNRESET)) ended_ = true;
    return size > 0;
  }

  static Answer parse_head(std::string_view text) {
    Answer result;
    for (bool first = true; !text.empty(); first = false) {
      const std::size_t end = text.find("\r\n");
      const std::string line(text.substr(0, end));
      text.remove_prefix(end + 2);
      if (first) {
        result.status = std::stoi(line.substr(std::string("HTTP/1.1 ").size()));
        continue;
      }
      std::string name = line.substr(0, line.find(": "));
      std::transform(name.begin(), name.end(), name.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      result.headers[name] = line.substr(line.find(": ") + 2);
    }
    return result;
  }

  UniqueFd fd_;
  bool connected_ = false;
  bool ended_ = false;
  std::string buffer_;
};

// One request on a connection of its own; status 0 if there is no response.
inline Answer ask(std::uint16_t port, const std::string& path, const std::string& method = "GET",
                  const std::string& body = "", const IpAddress& address = IpAddress::from_v4(INADDR_LOOPBACK)) {
  Client client(port, address);
  client.send(method + " " + path + " HTTP/1.1\r\nHost: node\r\nConnection: close\r\nContent-Length: " +
              std::to_string(body.size()) + "\r\n\r\n" + body);
  return client.answer(method == "HEAD").value_or(Answer{});
}

}  // namespace sluice::net::test
