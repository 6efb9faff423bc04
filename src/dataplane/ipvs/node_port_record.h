// SPDX-License-Identifier: Apache-2.0
// Which node ports have virtual servers of ours, in a small file: cleaning up needs it, when the
// Services are no longer known.
#pragma once

#include <set>
#include <string>

#include "base/result.h"
#include "dataplane/ipvs/helper_table.h"

namespace sluice::dataplane::ipvs {

class NodePortRecord {
 public:
  // An empty folder: nothing is kept. What the file already contains counts as live.
  NodePortRecord(const std::string& folder, Family family);
  // Node ports will be added: the file must know them before the kernel does.
  Result<> before(const std::set<NodePort>& wanted);
  // All changes are done, only these are left.
  Result<> after(const std::set<NodePort>& wanted);
  [[nodiscard]] const std::set<NodePort>& ports() const { return recorded_; }
  [[nodiscard]] bool exists() const;
  Result<> remove();

 private:
  Result<> write(const std::set<NodePort>& ports);
  std::string path_;
  std::set<NodePort> recorded_;
};

}  // namespace sluice::dataplane::ipvs
