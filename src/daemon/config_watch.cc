// SPDX-License-Identifier: Apache-2.0
// The folder is watched, not the file: an editor writes a new file and renames it into place.
#include "daemon/config_watch.h"

#include <algorithm>

#include "base/file.h"
#include "base/log.h"
#include "config/file.h"

namespace sluice::daemon {
namespace {

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, std::max<std::size_t>(slash, 1));
}

// Empty if the file cannot be read, as while an editor replaces it.
std::string content_of(const std::string& path) {
  auto text = read_file(path, config::kConfigFileBytesMax);
  return text ? std::move(*text) : "";
}

}  // namespace

ConfigWatch::ConfigWatch(net::EventLoop& loop, const std::string& path, std::function<void()> changed)
    : path_(path), changed_(std::move(changed)), descriptor_(loop) {
  auto watch = sys::FolderWatch::open(folder_of(path));
  if (!watch) {
    SLUICE_LOG_WARNING("Cannot watch the configuration file, a change needs a restart", {"file", path},
                       {"err", watch.error().what});
    return;
  }
  content_ = content_of(path);
  watch_.emplace(std::move(*watch));
  descriptor_.assign(watch_->fd());
  wait();
}

ConfigWatch::~ConfigWatch() {
  if (descriptor_.is_open()) descriptor_.release();  // the watch closes it
}

void ConfigWatch::wait() {
  descriptor_.async_wait(boost::asio::posix::descriptor_base::wait_read, [this](boost::system::error_code error) {
    if (error) return;
    if (has_other_content()) return changed_();
    wait();
  });
}

bool ConfigWatch::has_other_content() {
  const auto names = watch_->read_names();
  const std::string name = path_.substr(path_.rfind('/') + 1);
  if (!names || std::find(names->begin(), names->end(), name) == names->end()) return false;
  const std::string content = content_of(path_);
  return !content.empty() && content != content_;
}

}  // namespace sluice::daemon
