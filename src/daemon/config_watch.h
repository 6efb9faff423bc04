// SPDX-License-Identifier: Apache-2.0
// kube-proxy exits when its configuration file is written, and expects to be restarted with the new one. The symlink
// swap of a ConfigMap volume is not such a write.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <optional>
#include <string>

#include "net/event_loop.h"
#include "sys/folder_watch.h"

namespace sluice::daemon {

class ConfigWatch {
 public:
  // If a file cannot be watched, the reason is logged and nothing is called. `changed` is called on the loop's
  // thread, once, when the file has another content.
  ConfigWatch(net::EventLoop& loop, const std::string& path, std::function<void()> changed);
  ~ConfigWatch();  // when the loop has stopped
  ConfigWatch(const ConfigWatch&) = delete;
  ConfigWatch& operator=(const ConfigWatch&) = delete;

 private:
  void wait();
  [[nodiscard]] bool has_other_content();

  const std::string path_;
  const std::function<void()> changed_;
  std::string content_;
  std::optional<sys::FolderWatch> watch_;
  boost::asio::posix::stream_descriptor descriptor_;
};

}  // namespace sluice::daemon
