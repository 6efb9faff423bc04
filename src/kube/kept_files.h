// SPDX-License-Identifier: Apache-2.0
// Copies of manifests as they were when last readable. A process that starts while a file is broken has never
// seen its good state; its predecessor has, and what that served must not be removed because of a restart.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>

namespace sluice::kube {

class KeptFiles {
 public:
  // Copies of the files of `source` are kept in a folder of their own below `base`. An empty base keeps nothing.
  // Folders are made when they are needed. Two sources are the same folder if they have the same absolute path, as it
  // was named: what is mounted or linked there may be replaced, as kubelet does with a ConfigMap at every start of a
  // pod, and the kept copies still apply.
  KeptFiles(std::filesystem::path base, const std::string& source);

  // Removes what belongs to no existing folder: copies of folders that are gone, and files from before
  // copies had folders of their own, whose origin is unknown.
  void forget_strangers();
  // Copies the file, unless the copy is as old and as large. A failure to copy is logged once.
  void keep(const std::filesystem::path& file);
  // The copy of the file of that name.
  [[nodiscard]] std::optional<std::filesystem::path> find(const std::string& name) const;
  // Removes the copies of all other files of this source.
  void forget_but(const std::set<std::string>& names);

 private:
  [[nodiscard]] bool is_ours() const;
  [[nodiscard]] std::error_code claim();

  const std::filesystem::path base_;
  const std::string source_;  // absolute
  const std::filesystem::path folder_;
  std::string reported_;  // why the last copy could not be made
};

}  // namespace sluice::kube
