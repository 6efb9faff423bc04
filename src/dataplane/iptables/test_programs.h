// SPDX-License-Identifier: Apache-2.0
// For this room's tests: programs that print what a test specifies, in place of the real ones.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace sluice::dataplane::iptables {

// A folder of programs in front of, or instead of, PATH during its lifetime.
class Programs {
 public:
  explicit Programs(bool only_these)
      : folder_(testing::TempDir() + fmt::format("sluice-programs-{}", ::getpid())), path_(std::getenv("PATH")) {
    std::filesystem::create_directories(folder_);
    ::setenv("PATH", (only_these ? folder_ : folder_ + ":" + path_).c_str(), 1);
  }
  ~Programs() {
    ::setenv("PATH", path_.c_str(), 1);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  Programs(const Programs&) = delete;
  Programs& operator=(const Programs&) = delete;
  void add(const std::string& name, const std::string& script) {
    std::ofstream(folder_ + "/" + name) << "#!/bin/sh\n" << script << "\n";
    std::filesystem::permissions(folder_ + "/" + name, std::filesystem::perms::owner_all);
  }

  [[nodiscard]] const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
  std::string path_;
};

}  // namespace sluice::dataplane::iptables
