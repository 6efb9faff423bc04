// SPDX-License-Identifier: Apache-2.0
// Below the base there is a folder for each source, named by a hash of its path, since a path may be longer than a name
// can be (why the path and not the inode: ADR 16). The path itself is in a file inside it, so that a hash collision
// is recognised, and so that it is known which sources are gone.
#include "kube/kept_files.h"

#include <fmt/format.h>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>
#include <vector>

#include "base/log.h"

namespace sluice::kube {
namespace fs = std::filesystem;

namespace {

constexpr const char* kSourceFile = ".source";  // no manifest's name begins with a dot

std::string absolute(const std::string& path) {
  std::error_code error;
  fs::path whole = fs::absolute(path, error).lexically_normal();
  if (error) return path;
  if (!whole.has_filename() && whole.has_parent_path()) whole = whole.parent_path();  // "/etc/x/" is "/etc/x"
  return whole.string();
}

// FNV-1a, 64 bits.
std::string hash_of(const std::string& text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return fmt::format("{:016x}", hash);
}

// The source of a folder of copies; empty if it is not one.
std::string source_of(const fs::path& folder) {
  std::ifstream in(folder / kSourceFile, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Written beside, then renamed over: a copy is complete or absent.
std::error_code copy_whole(const fs::path& file, const fs::path& to) {
  std::error_code error;
  const auto size = fs::file_size(file, error);
  if (error) return error;
  const auto time = fs::last_write_time(file, error);
  if (error) return error;
  std::error_code absent;
  if (fs::last_write_time(to, absent) == time && !absent && fs::file_size(to, absent) == size) return {};
  const fs::path beside = to.string() + ".new";
  fs::copy_file(file, beside, fs::copy_options::overwrite_existing, error);
  if (!error) fs::last_write_time(beside, time, error);
  if (!error) fs::rename(beside, to, error);
  return error;
}

}  // namespace

KeptFiles::KeptFiles(fs::path base, const std::string& source)
    : base_(std::move(base)), source_(absolute(source)), folder_(base_ / hash_of(source_)) {}

void KeptFiles::forget_strangers() {
  if (base_.empty()) return;
  std::error_code error;
  std::vector<fs::path> strangers;
  for (fs::directory_iterator entry(base_, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code unknown;
    const std::string source = source_of(entry->path());
    const bool gone = source.empty() || (!fs::exists(source, unknown) && !unknown && source != source_);
    if (gone) strangers.push_back(entry->path());
  }
  for (const fs::path& path : strangers) fs::remove_all(path, error);
}

bool KeptFiles::is_ours() const {
  return !base_.empty() && source_of(folder_) == source_;
}

// Makes the folder, or takes it over from a source with the same hash.
std::error_code KeptFiles::claim() {
  if (is_ours()) return {};
  std::error_code error;
  fs::remove_all(folder_, error);
  if (!error) fs::create_directories(folder_, error);
  if (error) return error;
  std::ofstream out(folder_ / kSourceFile, std::ios::binary);
  out << source_;
  out.close();
  return out ? std::error_code() : std::make_error_code(std::errc::io_error);
}

void KeptFiles::keep(const fs::path& file) {
  if (base_.empty()) return;
  std::error_code error = claim();
  if (!error) error = copy_whole(file, folder_ / file.filename());
  const std::string why = error ? error.message() : "";
  if (std::exchange(reported_, why) == why || why.empty()) return;
  SLUICE_LOG_WARNING("Manifests cannot be kept for a restart", {"file", file.string()}, {"folder", folder_.string()},
                     {"err", why});
}

std::optional<fs::path> KeptFiles::find(const std::string& name) const {
  std::error_code error;
  if (!is_ours() || !fs::is_regular_file(folder_ / name, error)) return std::nullopt;
  return folder_ / name;
}

void KeptFiles::forget_but(const std::set<std::string>& names) {
  if (!is_ours()) return;
  std::error_code error;
  std::set<fs::path> gone;
  for (fs::directory_iterator entry(folder_, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name != kSourceFile && !names.contains(name)) gone.insert(entry->path());
  }
  for (const fs::path& path : gone) fs::remove(path, error);
}

}  // namespace sluice::kube
