// SPDX-License-Identifier: Apache-2.0
// /proc/self/stat is one line of 52 fields (proc(5)); the second, the program's name in parentheses, may itself contain
// spaces and parentheses, so the fields are counted from the last ')': the first word after it is field 3. Times are
// in clock ticks. /proc/self/net/netstat has two lines for each protocol, names and values, and InOctets and OutOctets
// of IpExt are the bytes of all IPv4 packets of the network namespace.
#include "observe/process_stats.h"

#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::observe {
namespace {

constexpr std::size_t kFirstField = 3;

std::string text_of(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<double> stat_fields() {
  const std::string text = text_of("/proc/self/stat");
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return {};
  std::istringstream words(text.substr(name_end + 1));
  std::vector<double> fields;
  for (std::string word; words >> word;) fields.push_back(std::strtod(word.c_str(), nullptr));
  return fields;
}

// The kernel's boot, in seconds since 1970.
double boot_time() {
  std::ifstream file("/proc/stat");
  double seconds = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("btime ")) seconds = std::strtod(line.c_str() + 6, nullptr);
  }
  return seconds;
}

double count_open_fds() {
  std::error_code error;
  double count = 0;
  std::filesystem::directory_iterator entry("/proc/self/fd", error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) ++count;
  return count;
}

double soft_limit(__rlimit_resource resource) {
  rlimit limit{};
  ::getrlimit(resource, &limit);
  return static_cast<double>(limit.rlim_cur);  // RLIM_INFINITY is 2^64 - 1
}

}  // namespace

std::optional<NetworkBytes> parse_netstat(const std::string& text) {
  constexpr std::string_view kProtocol = "IpExt:";
  std::istringstream lines(text);
  std::map<std::string, double> values;
  for (std::string head; std::getline(lines, head);) {
    std::string row;
    if (!head.starts_with(kProtocol) || !std::getline(lines, row)) continue;
    std::istringstream names(head);
    std::istringstream numbers(row);
    std::string name;
    std::string number;
    while (names >> name && numbers >> number) values[name] = std::strtod(number.c_str(), nullptr);
  }
  const auto received = values.find("InOctets");
  const auto sent = values.find("OutOctets");
  if (received == values.end() || sent == values.end()) return std::nullopt;
  return NetworkBytes{received->second, sent->second};
}

std::optional<ProcessStats> read_process_stats() {
  const std::vector<double> fields = stat_fields();
  if (fields.size() < 24 - kFirstField + 1) return std::nullopt;
  const auto field = [&fields](std::size_t number) { return fields[number - kFirstField]; };
  static const double booted = boot_time();
  const auto ticks_per_second = static_cast<double>(::sysconf(_SC_CLK_TCK));
  ProcessStats stats;
  stats.cpu_seconds = (field(14) + field(15)) / ticks_per_second;  // utime, stime
  stats.start_time_seconds = booted + field(22) / ticks_per_second;
  stats.virtual_bytes = field(23);
  stats.resident_bytes = field(24) * static_cast<double>(::sysconf(_SC_PAGESIZE));  // rss counts pages
  stats.virtual_bytes_max = soft_limit(RLIMIT_AS);
  stats.max_fds = soft_limit(RLIMIT_NOFILE);
  stats.open_fds = count_open_fds();
  stats.network = parse_netstat(text_of("/proc/self/net/netstat"));
  return stats;
}

}  // namespace sluice::observe
