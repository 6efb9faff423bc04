// SPDX-License-Identifier: Apache-2.0
// A lab may have a thousand pods, and a process or thread for each would be slow to start and to end. A socket belongs
// to the network namespace in which it was made, so one thread can hold the listening sockets of all pods and serve
// them with one epoll set. Bounds: 10,000 connections, lines of 4 KiB, 64 KiB of answers that a client does not read;
// a client that exceeds them is disconnected.
#include "lab/agent.h"

#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <unordered_map>

#include "lab/answer.h"
#include "lab/network.h"
#include "sys/netns.h"
#include "sys/poller.h"
#include "sys/sockets.h"

namespace sluice::lab {
namespace {

constexpr std::size_t kConnectionsMax = 10000;
constexpr std::size_t kLineLengthMax = 4096;
constexpr std::size_t kUnsentMax = 64 * 1024;
constexpr int kDatagramsPerTurn = 64;
constexpr std::chrono::seconds kWait{3600};  // stop() wakes the loop

struct Listener {
  UniqueFd socket;
  Protocol protocol = Protocol::kTcp;
  std::uint16_t port = 0;
  std::string pod;
};

struct Connection {
  UniqueFd socket;
  std::string pod;
  std::string received;  // the incomplete line
  std::string unsent;
  bool waits_to_write = false;
};

class SocketAgent : public Agent {
 public:
  SocketAgent(sys::Poller poller, std::unordered_map<std::uint64_t, Listener> listeners)
      : poller_(std::move(poller)), listeners_(std::move(listeners)), next_token_(listeners_.size()) {}

  Result<> serve() override {
    while (!stopped_.load()) {
      SLUICE_TRY(const std::vector<sys::Poller::Event> events, poller_.wait(kWait));
      for (const sys::Poller::Event& event : events) handle(event);
    }
    return {};
  }

  void stop() override {
    stopped_.store(true);
    poller_.wake();
  }

 private:
  void handle(const sys::Poller::Event& event) {
    if (const auto listener = listeners_.find(event.token); listener != listeners_.end()) {
      if (listener->second.protocol == Protocol::kTcp) {
        accept_from(listener->second);
      } else {
        answer_datagrams(listener->second);
      }
      return;
    }
    const auto connection = connections_.find(event.token);
    if (connection == connections_.end()) return;  // closed earlier in this turn
    if (!serve_connection(event, connection->second)) connections_.erase(connection);
  }

  void accept_from(const Listener& listener) {
    auto accepted = sys::accept_connection(listener.socket);
    if (!accepted) {
      // Out of descriptors, most likely: the client stays in the queue, and we do not spin.
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      return;
    }
    if (!*accepted || connections_.size() >= kConnectionsMax) return;
    sys::AcceptedConnection& news = **accepted;
    const std::uint64_t token = next_token_++;
    Connection& connection = connections_[token];
    connection.unsent = format_answer({listener.pod, news.client, news.local}) + "\n";
    connection.pod = listener.pod;
    connection.socket = std::move(news.socket);
    if (!poller_.add(connection.socket, token) || !flush(token, connection)) connections_.erase(token);
  }

  static void answer_datagrams(const Listener& listener) {
    for (int i = 0; i < kDatagramsPerTurn; ++i) {
      const auto request = sys::receive_datagram(listener.socket);
      if (!request || !*request) return;
      const sys::Datagram& datagram = **request;
      // A failure to answer a client (it may be gone) cannot be reported.
      (void)sys::reply_datagram(listener.socket, datagram,
                                format_answer({listener.pod, datagram.client, {datagram.local, listener.port}}) + "\n");
    }
  }

  // False if the connection must be closed.
  bool serve_connection(const sys::Poller::Event& event, Connection& connection) {
    if (event.readable) {
      const auto data = sys::read_some(connection.socket);
      if (!data) return false;
      if (*data && (*data)->empty()) return false;
      if (*data) connection.received += **data;
      answer_lines(connection);
      if (connection.received.size() > kLineLengthMax || connection.unsent.size() > kUnsentMax) return false;
    }
    return flush(event.token, connection);
  }

  static void answer_lines(Connection& connection) {
    std::size_t start = 0;
    for (std::size_t end = 0; (end = connection.received.find('\n', start)) != std::string::npos; start = end + 1) {
      connection.unsent += fmt::format("{} {}\n", connection.pod, connection.received.substr(start, end - start));
    }
    connection.received.erase(0, start);
  }

  bool flush(std::uint64_t token, Connection& connection) {
    if (!connection.unsent.empty()) {
      const auto sent = sys::write_some(connection.socket, connection.unsent);
      if (!sent) return false;
      connection.unsent.erase(0, *sent);
    }
    if (connection.waits_to_write == !connection.unsent.empty()) return true;
    connection.waits_to_write = !connection.unsent.empty();
    const auto interest =
        connection.waits_to_write ? sys::Poller::Interest::kReadAndWrite : sys::Poller::Interest::kRead;
    return static_cast<bool>(poller_.change(connection.socket, token, interest));
  }

  sys::Poller poller_;
  std::unordered_map<std::uint64_t, Listener> listeners_;
  std::unordered_map<std::uint64_t, Connection> connections_;
  std::uint64_t next_token_;
  std::atomic<bool> stopped_ = false;
};

Result<Listener> open_listener(const std::string& netns, const PodSpec& pod, const ServedPort& port) {
  Listener listener{.socket = {}, .protocol = port.protocol, .port = port.port, .pod = pod.name};
  const auto opened = sys::in_netns(netns, [&]() -> Result<> {
    SLUICE_TRY(listener.socket,
               port.protocol == Protocol::kTcp ? sys::listen_tcp(port.port) : sys::bind_udp(port.port));
    return {};
  });
  if (!opened) return annotate(opened.error(), fmt::format("pod {}", pod.name));
  return listener;
}

}  // namespace

Result<std::unique_ptr<Agent>> Agent::open(const std::string& id, const Topology& topology) {
  sys::raise_descriptor_limit();
  SLUICE_TRY(sys::Poller poller, sys::Poller::open());
  std::unordered_map<std::uint64_t, Listener> listeners;
  for (const PodSpec& pod : topology.pods) {
    const std::string netns = netns_name(id, pod.host_network ? pod.node : pod.name);
    for (const ServedPort& port : pod.ports) {
      SLUICE_TRY(Listener listener, open_listener(netns, pod, port));
      const std::uint64_t token = listeners.size();
      SLUICE_CHECK_OK(poller.add(listener.socket, token));
      listeners.emplace(token, std::move(listener));
    }
  }
  return std::make_unique<SocketAgent>(std::move(poller), std::move(listeners));
}

}  // namespace sluice::lab
