// SPDX-License-Identifier: Apache-2.0
// The one line that every server of a lab sends and every client reads, for example
//   web-1 192.168.231.200:41812 -> 10.244.169.161:80
//   web-1 [fd00:231::200]:41812 -> [fd00:10:244:169::161]:80
#include "lab/answer.h"

#include <fmt/format.h>

#include <charconv>

namespace sluice::lab {
namespace {

std::optional<sys::SocketAddress> parse_socket(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  if (host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  const std::string_view digits = text.substr(colon + 1);
  sys::SocketAddress socket;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), socket.port);
  const auto address = IpAddress::parse(host);
  if (error != std::errc() || end != digits.data() + digits.size() || !address) return std::nullopt;
  socket.address = *address;
  return socket;
}

}  // namespace

std::string format_answer(const Answer& answer) {
  return fmt::format("{} {} -> {}", answer.pod, to_string(answer.client), to_string(answer.local));
}

std::optional<Answer> parse_answer(std::string_view line) {
  constexpr std::string_view kArrow = " -> ";
  const std::size_t space = line.find(' ');
  const std::size_t arrow = line.find(kArrow);
  if (space == 0 || space == std::string_view::npos || arrow == std::string_view::npos || arrow <= space)
    return std::nullopt;
  const auto client = parse_socket(line.substr(space + 1, arrow - space - 1));
  const auto local = parse_socket(line.substr(arrow + kArrow.size()));
  if (!client || !local) return std::nullopt;
  return Answer{std::string(line.substr(0, space)), *client, *local};
}

}  // namespace sluice::lab
