// SPDX-License-Identifier: Apache-2.0
// Copies of manifests as they were when they could last be read. A process that starts while a file is broken has never
// seen its good state; its predecessor has, and what that served must not go because of a restart.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>

namespace sluice::kube {

class KeptFiles {
 public:
  // An empty folder keeps nothing. It is made when it is needed.
  explicit KeptFiles(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // Copies the file, unless the copy is as old and as large. A copy that cannot be made is told in the log, once.
  void keep(const std::filesystem::path& file);
  // The copy of the file of that name.
  [[nodiscard]] std::optional<std::filesystem::path> find(const std::string& name) const;
  // Removes the copies of all other files.
  void forget_but(const std::set<std::string>& names);

 private:
  std::filesystem::path folder_;
  bool told_ = false;
};

}  // namespace sluice::kube
