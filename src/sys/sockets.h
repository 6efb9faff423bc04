// SPDX-License-Identifier: Apache-2.0
// Plain TCP and UDP sockets in any network namespace, for the lab's servers and clients. A socket belongs forever to
// the namespace in which it was made, whichever thread uses it: only its creation must happen inside.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ip.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace sluice::sys {

struct SocketAddress {
  IpAddress address;
  std::uint16_t port = 0;
  friend auto operator<=>(const SocketAddress&, const SocketAddress&) = default;
};
inline std::string to_string(const SocketAddress& socket) {
  return join_host_port(socket.address, socket.port);
}

// Servers. Both are non-blocking, serve both families on every address of the namespace, and are made in the calling
// thread's.
Result<UniqueFd> listen_tcp(std::uint16_t port);
Result<UniqueFd> bind_udp(std::uint16_t port);

struct AcceptedConnection {
  UniqueFd socket;  // non-blocking
  SocketAddress client;
  SocketAddress local;
};
Result<std::optional<AcceptedConnection>> accept_connection(const UniqueFd& listener);  // nothing: none is waiting

struct Datagram {
  std::string data;
  SocketAddress client;
  IpAddress local;  // the address that the client sent to
};
Result<std::optional<Datagram>> receive_datagram(const UniqueFd& socket);  // nothing: none is waiting
// The reply leaves from the address that the request came to, as clients behind NAT require.
Result<> reply_datagram(const UniqueFd& socket, const Datagram& request, std::string_view data);

// Streams without waiting. read_some: nothing = no data now; an empty text = the peer has closed. write_some returns
// how much was sent.
Result<std::optional<std::string>> read_some(const UniqueFd& socket);
Result<std::size_t> write_some(const UniqueFd& socket, std::string_view data);

// Clients.
struct ConnectSpec {
  std::string netns;  // by name; empty = the calling thread's
  Protocol protocol = Protocol::kTcp;
  SocketAddress to;
  std::optional<SocketAddress> from;  // port 0 = any
  std::chrono::milliseconds timeout{1000};
};
Result<UniqueFd> connect_socket(const ConnectSpec& spec);
// How a client experiences an Error of connect_socket(), receive_within() or send_within().
enum class ClientFailure : std::uint8_t {
  kRefused,      // or reset: REJECT may come as a reset after the handshake
  kTimedOut,     // silence
  kUnreachable,  // no route, or an ICMP error, "administratively prohibited" included
  kOther
};
ClientFailure client_failure(const Error& error);
// Waits for data; an empty text = the peer has closed. ETIMEDOUT after `timeout`.
Result<std::string> receive_within(const UniqueFd& socket, std::chrono::milliseconds timeout);
Result<> send_within(const UniqueFd& socket, std::string_view data, std::chrono::milliseconds timeout);
Result<SocketAddress> local_address(const UniqueFd& socket);

// Lets this process hold as many descriptors as the system allows it.
void raise_descriptor_limit();

}  // namespace sluice::sys
