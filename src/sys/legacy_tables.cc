// SPDX-License-Identifier: Apache-2.0
// ip_tables keeps a table as one block of memory, chain after chain. getsockopt(2) with IPT_SO_GET_INFO reports where
// each built-in chain begins (hook_entry) and where its policy is, which is its last rule (underflow): they are the
// same place if there is no other rule. The kernel's header linux/netfilter_ipv4/ip_tables.h is not valid C++ (it
// calculates with void pointers), so the little that is needed of it is repeated here; IPv6 has the same under its own
// names.
#include "sys/legacy_tables.h"

#include <fmt/format.h>
#include <linux/netfilter.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "base/unique_fd.h"

namespace sluice::sys {
namespace {

constexpr int kGetInfo = 64;  // IPT_SO_GET_INFO, IP6T_SO_GET_INFO

struct TableInfo {  // struct ipt_getinfo, struct ip6t_getinfo
  std::array<char, 32> name;
  std::uint32_t valid_hooks;
  std::array<std::uint32_t, NF_INET_NUMHOOKS> hook_entry;
  std::array<std::uint32_t, NF_INET_NUMHOOKS> underflow;
  std::uint32_t entries_count;
  std::uint32_t size;
};
static_assert(sizeof(TableInfo) == 84);

}  // namespace

Result<bool> legacy_chain_empty(Family family, const std::string& table, unsigned hook) {
  const auto failed = [&table](int error) {
    return fail(error == EPERM ? Errc::kPermission : Errc::kInternal,
                fmt::format("ip_tables: look at table {}: {}", table, std::strerror(error)), error);
  };
  const bool four = family == Family::kIPv4;
  const UniqueFd socket(::socket(four ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
  if (!socket) return failed(errno);
  TableInfo info{};
  if (table.size() >= info.name.size() || hook >= NF_INET_NUMHOOKS) return failed(EINVAL);
  std::memcpy(info.name.data(), table.data(), table.size());
  socklen_t length = sizeof info;
  if (::getsockopt(socket.get(), four ? IPPROTO_IP : IPPROTO_IPV6, kGetInfo, &info, &length) != 0) return failed(errno);
  if ((info.valid_hooks & (1U << hook)) == 0) return failed(EINVAL);
  return info.hook_entry.at(hook) == info.underflow.at(hook);
}

}  // namespace sluice::sys
