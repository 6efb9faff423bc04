// SPDX-License-Identifier: Apache-2.0
// The answer of a "who am I" server: `<pod> <client address>:<client port> -> <local address>:<port>`.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "sys/sockets.h"

namespace sluice::lab {

struct Answer {
  std::string pod;
  sys::SocketAddress client;  // as the server saw it: differs from the client's own if masqueraded
  sys::SocketAddress local;
  friend bool operator==(const Answer&, const Answer&) = default;
};

std::string format_answer(const Answer& answer);  // without the end of line
std::optional<Answer> parse_answer(std::string_view line);

}  // namespace sluice::lab
