// SPDX-License-Identifier: Apache-2.0
#include "kube/kept_files.h"

#include <system_error>
#include <utility>

#include "base/log.h"

namespace sluice::kube {
namespace fs = std::filesystem;

namespace {

// Written beside, then renamed over: a copy is whole or not there.
std::error_code copy_whole(const fs::path& file, const fs::path& to) {
  std::error_code error;
  const auto size = fs::file_size(file, error);
  if (error) return error;
  const auto time = fs::last_write_time(file, error);
  if (error) return error;
  std::error_code absent;
  if (fs::last_write_time(to, absent) == time && !absent && fs::file_size(to, absent) == size) return {};
  fs::create_directories(to.parent_path(), error);
  if (error) return error;
  const fs::path beside = to.string() + ".new";
  fs::copy_file(file, beside, fs::copy_options::overwrite_existing, error);
  if (!error) fs::last_write_time(beside, time, error);
  if (!error) fs::rename(beside, to, error);
  return error;
}

}  // namespace

void KeptFiles::keep(const fs::path& file) {
  if (folder_.empty()) return;
  const std::error_code error = copy_whole(file, folder_ / file.filename());
  if (!error || std::exchange(told_, true)) return;
  SLUICE_LOG_WARNING("Manifests cannot be kept for a restart", {"file", file.string()}, {"folder", folder_.string()},
                     {"err", error.message()});
}

std::optional<fs::path> KeptFiles::find(const std::string& name) const {
  std::error_code error;
  if (folder_.empty() || !fs::is_regular_file(folder_ / name, error)) return std::nullopt;
  return folder_ / name;
}

void KeptFiles::forget_but(const std::set<std::string>& names) {
  if (folder_.empty()) return;
  std::error_code error;
  std::set<fs::path> gone;
  for (fs::directory_iterator entry(folder_, error), end; !error && entry != end; entry.increment(error)) {
    if (!names.contains(entry->path().filename().string())) gone.insert(entry->path());
  }
  for (const fs::path& path : gone) fs::remove(path, error);
}

}  // namespace sluice::kube
