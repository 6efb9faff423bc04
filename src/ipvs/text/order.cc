// SPDX-License-Identifier: Apache-2.0
// libipvs compares two addresses by subtracting them as 32-bit numbers and looking at the sign. Two that are more than
// half the number range apart are ordered the wrong way round: 192.168.122.1 is before 10.104.247.10. So "a before b"
// is no order in the sense of std::sort, which could then run past its range; the result for such sets is that of the C
// library's merge sort, implemented here.
#include "ipvs/text/order.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

namespace sluice::ipvs::text {
namespace {

int difference(std::uint32_t a, std::uint32_t b) {
  return static_cast<int>(a - b);
}

std::array<std::uint32_t, 4> address_words(Family family, const IpAddress& address) {
  const auto& bytes = address.mapped_bytes();
  std::array<std::uint32_t, 4> words{};
  const std::size_t first = family == Family::kIPv6 ? 0 : 3;
  for (std::size_t word = first; word < 4; ++word) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value = value << 8 | bytes[word * 4 + i];
    words[word - first] = value;
  }
  return words;
}

// By the first one's family.
int compare_addresses(Family family, const std::array<std::uint32_t, 4>& a, const std::array<std::uint32_t, 4>& b) {
  const std::size_t count = family == Family::kIPv6 ? 4 : 1;
  for (std::size_t i = 0; i < count; ++i) {
    if (const int d = difference(a[i], b[i]); d != 0) return d;
  }
  return 0;
}

int compare(const VirtualServerState& left, const VirtualServerState& right) {
  const VirtualServerKey& a = left.server.key;
  const VirtualServerKey& b = right.server.key;
  if (const int d = difference(a.firewall_mark, b.firewall_mark); d != 0) return d;
  if (a.family != b.family) return a.family == Family::kIPv4 ? -1 : 1;
  if (a.protocol != b.protocol) return a.protocol - b.protocol;
  const int d = compare_addresses(a.family, address_words(a.family, a.address), address_words(b.family, b.address));
  return d != 0 ? d : a.port - b.port;
}

int compare(const RealServerState& left, const RealServerState& right) {
  const RealServerKey& a = left.server.key;
  const RealServerKey& b = right.server.key;
  const int d = compare_addresses(a.family, address_words(a.family, a.address), address_words(b.family, b.address));
  return d != 0 ? d : a.port - b.port;
}

// The left part is the smaller one if the number is odd, and the left one wins ties.
template <typename State>
void merge_sort(std::vector<State>& items, std::size_t begin, std::size_t end) {
  if (end - begin < 2) return;
  const std::size_t middle = begin + (end - begin) / 2;
  merge_sort(items, begin, middle);
  merge_sort(items, middle, end);
  std::vector<State> merged;
  merged.reserve(end - begin);
  std::size_t left = begin;
  std::size_t right = middle;
  while (left < middle && right < end) {
    std::size_t& next = compare(items[left], items[right]) <= 0 ? left : right;
    merged.push_back(std::move(items[next++]));
  }
  while (left < middle) merged.push_back(std::move(items[left++]));
  while (right < end) merged.push_back(std::move(items[right++]));
  std::move(merged.begin(), merged.end(), items.begin() + static_cast<std::ptrdiff_t>(begin));
}

}  // namespace

void sort_virtual_servers(std::vector<VirtualServerState>& servers) {
  merge_sort(servers, 0, servers.size());
}
void sort_real_servers(std::vector<RealServerState>& servers) {
  merge_sort(servers, 0, servers.size());
}

}  // namespace sluice::ipvs::text
