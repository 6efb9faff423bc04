// SPDX-License-Identifier: Apache-2.0
// One line per entry: "TCP 0A010001 0FA1 0A000001 0050 0A020002 1F90 ESTABLISHED     897", numbers in hexadecimal
// except the last one; IPv6 addresses are written out with all their zeros. Lines of a real server that was removed
// look the same (ip_vs_conn_seq_show() in ip_vs_conn.c). A busy director has a million of them, so none are kept here.
#include "ipvs/kernel/connection_file.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <vector>

namespace sluice::ipvs::kernel {
namespace {

std::vector<std::string_view> split(std::string_view line) {
  std::vector<std::string_view> words;
  while (true) {
    const std::size_t begin = line.find_first_not_of(" \n");
    if (begin == std::string_view::npos) return words;
    line.remove_prefix(begin);
    words.push_back(line.substr(0, line.find_first_of(" \n")));
    line.remove_prefix(words.back().size());
  }
}

template <typename Integer>
bool read_number(std::string_view text, int base, Integer& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return error == std::errc{} && end == text.data() + text.size();
}

bool read_protocol(std::string_view text, std::uint16_t& protocol) {
  struct Name {
    std::string_view text;
    std::uint16_t number;
  };
  constexpr std::array<Name, 6> kNames{{{"IP", 0},
                                        {"TCP", IPPROTO_TCP},
                                        {"UDP", IPPROTO_UDP},
                                        {"SCTP", IPPROTO_SCTP},
                                        {"ICMP", IPPROTO_ICMP},
                                        {"ICMPv6", IPPROTO_ICMPV6}}};
  for (const Name& name : kNames) {
    if (name.text == text) {
      protocol = name.number;
      return true;
    }
  }
  return text.starts_with("IP_") && read_number(text.substr(3), 10, protocol);
}

bool read_end(std::string_view address, std::string_view port, Family& family, ConnectionEnd& end) {
  family = address.find(':') == std::string_view::npos ? Family::kIPv4 : Family::kIPv6;
  if (family == Family::kIPv4) {
    std::uint32_t number = 0;
    if (!read_number(address, 16, number)) return false;
    end.address = IpAddress::from_v4(number);
  } else {
    std::array<std::uint8_t, 16> bytes{};
    if (::inet_pton(AF_INET6, std::string(address).c_str(), bytes.data()) != 1) return false;
    end.address = *IpAddress::from_bytes(bytes);
  }
  return read_number(port, 16, end.port);
}

}  // namespace

std::optional<Connection> parse_connection(std::string_view line) {
  const std::vector<std::string_view> words = split(line);
  if (words.size() < 9) return std::nullopt;
  Connection c;
  Family virtual_family{};
  const bool understood = read_protocol(words[0], c.protocol) && read_end(words[1], words[2], c.family, c.client) &&
                          read_end(words[3], words[4], virtual_family, c.virtual_end) &&
                          read_end(words[5], words[6], c.real_family, c.real) && read_number(words[8], 10, c.expires_s);
  if (!understood) return std::nullopt;
  c.state = words[7];
  if (words.size() > 9) c.persistence_engine = words[9];
  if (words.size() > 10) c.engine_data = words[10];
  return c;
}

Result<> read_connections(const std::function<void(const Connection&)>& visit, const std::string& path) {
  errno = 0;
  std::ifstream file(path);
  if (!file) {
    const int error = errno != 0 ? errno : EIO;
    const Errc code = error == ENOENT                     ? Errc::kNotFound
                      : error == EACCES || error == EPERM ? Errc::kPermission
                                                          : Errc::kInternal;
    return fail(code, fmt::format("ipvs: open {}: {}", path, std::strerror(error)), error);
  }
  for (std::string line; std::getline(file, line);) {
    if (const auto connection = parse_connection(line)) visit(*connection);
  }
  return {};
}

}  // namespace sluice::ipvs::kernel
