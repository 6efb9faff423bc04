// SPDX-License-Identifier: Apache-2.0
#include "sys/cgroups.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>
#include <vector>

namespace sluice::sys {
namespace {

namespace fs = std::filesystem;
constexpr int kRemoveTurnsMax = 500;  // of 10 ms

Error cgroup_error(const std::string& what, int error) {
  const Errc code = error == EPERM || error == EACCES || error == EROFS ? Errc::kPermission : Errc::kInternal;
  return Error{code, fmt::format("{}: {}", what, std::strerror(error)), error};
}

// Where hierarchies are mounted. A line of mountinfo, proc(5): ID PARENT DEVICE ROOT POINT OPTIONS [FIELD]... - TYPE ...
Result<std::set<std::string>> hierarchies() {
  std::ifstream file("/proc/self/mountinfo");
  if (!file) return tl::unexpected(cgroup_error("read /proc/self/mountinfo", errno));
  std::set<std::string> points;
  for (std::string line; std::getline(file, line);) {
    const std::size_t separator = line.find(" - ");
    if (separator == std::string::npos) continue;
    std::istringstream before(line);
    std::istringstream after(line.substr(separator + 3));
    std::string word;
    std::string point;
    for (int field = 0; field < 4; ++field) before >> word;
    before >> point;
    after >> word;
    if (word == "cgroup" || word == "cgroup2") points.insert(point);
  }
  if (points.empty()) return fail(Errc::kUnsupported, "no control groups are mounted");
  return points;
}

// Innermost first.
std::vector<std::string> with_those_in_it(const std::string& folder) {
  std::vector<std::string> found;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code ignored;
    if (entry->is_directory(ignored)) found.push_back(entry->path().string());
  }
  found.insert(found.begin(), folder);
  return {found.rbegin(), found.rend()};
}

Result<> remove_group(const std::string& folder) {
  for (int turn = 0;; ++turn) {
    int refused = 0;
    for (const std::string& each : with_those_in_it(folder)) {
      if (::rmdir(each.c_str()) != 0 && errno != ENOENT) refused = errno;
    }
    if (refused == 0) return {};
    if (refused != EBUSY || turn == kRemoveTurnsMax) return tl::unexpected(cgroup_error("remove " + folder, refused));
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace

Result<> add_cgroup(const std::string& name) {
  SLUICE_TRY(const std::set<std::string> points, hierarchies());
  for (const std::string& point : points) {
    std::error_code error;
    fs::create_directories(fmt::format("{}/{}", point, name), error);
    if (error) return tl::unexpected(cgroup_error(fmt::format("make {}/{}", point, name), error.value()));
  }
  return {};
}

Result<> remove_cgroup(const std::string& name) {
  const auto points = hierarchies();
  if (!points && points.error().code == Errc::kUnsupported) return {};
  if (!points) return tl::unexpected(points.error());
  for (const std::string& point : *points) {
    std::error_code error;
    const std::string folder = fmt::format("{}/{}", point, name);
    if (fs::exists(folder, error)) SLUICE_CHECK_OK(remove_group(folder));
  }
  return {};
}

Result<bool> cgroup_exists(const std::string& name) {
  const auto points = hierarchies();
  if (!points && points.error().code == Errc::kUnsupported) return false;
  if (!points) return tl::unexpected(points.error());
  for (const std::string& point : *points) {
    std::error_code error;
    if (fs::exists(fmt::format("{}/{}", point, name), error)) return true;
  }
  return false;
}

}  // namespace sluice::sys
