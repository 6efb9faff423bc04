// SPDX-License-Identifier: Apache-2.0
// What a "who am I" server says: `<pod> <client address>:<client port> -> <local address>:<port>`.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "sys/sockets.h"

namespace sluice::lab {

struct Answer {
  std::string pod;
  sys::SocketAddress client;  // as the server saw it: another one than the client's own where somebody masqueraded
  sys::SocketAddress local;
  friend bool operator==(const Answer&, const Answer&) = default;
};

std::string format_answer(const Answer& answer);  // without the end of line
std::optional<Answer> parse_answer(std::string_view line);

}  // namespace sluice::lab
