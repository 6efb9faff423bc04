// SPDX-License-Identifier: Apache-2.0
// YAML documents -> JSON text, so that there is one decoder; and the way back from a field's path to its line in the
// file.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sluice::kube {

// One object of a file, as JSON, and where it stands.
class YamlObject {
 public:
  virtual ~YamlObject() = default;
  [[nodiscard]] virtual const std::string& json() const = 0;
  [[nodiscard]] virtual int line() const = 0;  // first line, counted from 1
  // The line of the field that a path such as "spec.ports[0].port" names, or of the nearest thing above it.
  [[nodiscard]] virtual int line_of(const std::string& path) const = 0;
};

// All objects of all documents; the items of lists (kind List, ServiceList ...) one by one. Empty documents are left
// out. The error text begins with the line: "12: ...".
Result<std::vector<std::unique_ptr<YamlObject>>> load_yaml_objects(const std::string& text);

}  // namespace sluice::kube
