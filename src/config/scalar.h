// SPDX-License-Identifier: Apache-2.0
// The small notations of Kubernetes' component configuration: Go's durations, numbers and booleans, "IP:port"
// addresses. Pure text in, values out. YAML's plain scalars are in base/yaml_scalar.h.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::config {

// Go's time.Duration: nanoseconds in 63 bits, about 292 years.
using Duration = std::chrono::nanoseconds;
// "1h2m3.5s", "-10ms", "0": the grammar of Go's time.ParseDuration, and its error texts.
Result<Duration> parse_duration(std::string_view text);
// "24h0m0s", "1.5s", "0s": the text of Go's time.Duration.String.
std::string format_duration(Duration duration);

// An integer as in Go's strconv.ParseInt(text, 0, 64): a sign, a base prefix (0x 0o 0b 0), underscores after
// a prefix.
std::optional<std::int64_t> parse_integer(std::string_view text);
std::optional<double> parse_number(std::string_view text);
// 1, t, T, TRUE, true, True and their opposites, as Go's strconv.ParseBool.
std::optional<bool> parse_bool(std::string_view text);

// The text in double quotes with JSON's escapes; in messages and in written files.
std::string quoted(std::string_view text);
std::string_view trimmed(std::string_view text);
std::string lower_case(std::string_view text);
std::vector<std::string> split(std::string_view text, char separator);
// Kubernetes' aggregate: "a", or "[a, b]" for several; repetitions are left out.
std::string aggregate(const std::vector<std::string>& messages);

struct HostPort {
  std::string host;
  std::string port;
};
// "host:port" or "[host]:port", as Go's net.SplitHostPort; the parts are not checked.
std::optional<HostPort> split_host_port(std::string_view text);
// An address without a port gets `port`; whatever is not an address is left for validation to refuse.
std::string append_port_if_needed(const std::string& address, int port);

struct ListenAddress {
  IpAddress address;
  std::uint16_t port = 0;
  friend bool operator==(const ListenAddress&, const ListenAddress&) = default;
};
// "0.0.0.0:10256" or "[::]:10256", ports 1 to 65535.
std::optional<ListenAddress> parse_listen_address(std::string_view text);

}  // namespace sluice::config
