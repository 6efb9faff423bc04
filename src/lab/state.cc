// SPDX-License-Identifier: Apache-2.0
// /run is emptied at boot, like namespaces, so its files never refer to another boot's processes.
#include "lab/state.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace sluice::lab {
namespace {

namespace fs = std::filesystem;

auto file_error(const std::string& what, const std::error_code& error) {
  const Errc code = error == std::errc::no_such_file_or_directory ? Errc::kNotFound
                    : error == std::errc::permission_denied       ? Errc::kPermission
                    : error == std::errc::no_space_on_device      ? Errc::kExhausted
                                                                  : Errc::kInternal;
  return fail(code, fmt::format("lab: {}: {}", what, error.message()), error.value());
}

std::error_code last_error() {
  return {errno == 0 ? EIO : errno, std::generic_category()};
}

}  // namespace

bool good_id(std::string_view id) {
  constexpr std::size_t kIdLengthMax = 20;
  return !id.empty() && id.size() <= kIdLengthMax &&
         std::all_of(id.begin(), id.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); });
}

std::string state_folder(const std::string& id) {
  return fmt::format("{}/{}", kStateFolder, id);
}

Result<> make_state_folder(const std::string& id) {
  if (!good_id(id)) return fail(Errc::kInvalid, fmt::format("lab: the id '{}' is not 1 to 20 of a-z and 0-9", id));
  // The folder above is removed with the last lab, so it may vanish between the two steps.
  constexpr int kAttemptsMax = 10;
  std::error_code error;
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    fs::create_directories(kStateFolder, error);
    if (error) break;
    if (fs::create_directory(state_folder(id), error)) return {};
    if (!error) return fail(Errc::kAlreadyExists, fmt::format("lab: there is already a lab '{}'", id));
    if (error != std::errc::no_such_file_or_directory) break;
  }
  return file_error("make " + state_folder(id), error);
}

Result<> remove_state_folder(const std::string& id) {
  std::error_code error;
  fs::remove_all(state_folder(id), error);
  if (error && error != std::errc::no_such_file_or_directory) return file_error("remove " + state_folder(id), error);
  std::error_code ignored;
  fs::remove(kStateFolder, ignored);  // only if it is empty
  return {};
}

Result<std::vector<std::string>> list_state_folders() {
  std::vector<std::string> ids;
  std::error_code error;
  for (fs::directory_iterator entry(kStateFolder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (good_id(name)) ids.push_back(name);
  }
  if (error && error != std::errc::no_such_file_or_directory)
    return file_error(fmt::format("list {}", kStateFolder), error);
  std::sort(ids.begin(), ids.end());
  return ids;
}

Result<std::string> read_text(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return file_error("read " + path, last_error());
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

Result<> write_text(const std::string& path, std::string_view text) {
  // A name that starts with a dot and has no known ending: a proxy that watches the folder for manifests ignores it.
  const fs::path temporary = fs::path(path).parent_path() / fmt::format(".{}.new", fs::path(path).filename().string());
  errno = 0;
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  file.close();
  if (!file) return file_error("write " + path, last_error());
  std::error_code error;
  fs::rename(temporary, path, error);
  if (error) return file_error("write " + path, error);
  return {};
}

bool file_exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

Result<> write_process(const std::string& path, const sys::ProcessId& process) {
  return write_text(path, fmt::format("{} {}\n", process.pid, process.start_time));
}

std::optional<sys::ProcessId> read_process(const std::string& path) {
  const auto text = read_text(path);
  if (!text) return std::nullopt;
  std::istringstream words(*text);
  sys::ProcessId process;
  if (!(words >> process.pid >> process.start_time) || process.pid <= 0) return std::nullopt;
  return process;
}

}  // namespace sluice::lab
