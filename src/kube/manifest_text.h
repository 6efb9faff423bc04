// SPDX-License-Identifier: Apache-2.0
// A file of manifests -> the JSON text of its objects, one by one, so that there is one decoder; and the mapping from
// a field's path to its line in the file.
#pragma once

#include <functional>
#include <iosfwd>
#include <string>

#include "base/result.h"

namespace sluice::kube {

// One object of a file, valid within the callback.
class ManifestText {
 public:
  virtual ~ManifestText() = default;
  [[nodiscard]] virtual const std::string& json() const = 0;
  [[nodiscard]] virtual const std::string& kind_hint() const = 0;  // the items' kind by a typed list, or empty
  [[nodiscard]] virtual int line() const = 0;                      // first line, counted from 1
  // The line of the field that a path such as "spec.ports[0].port" names, or of the nearest thing above it.
  [[nodiscard]] virtual int line_of(const std::string& path) const = 0;
};

using OnManifest = std::function<void(const ManifestText&)>;

// All objects of all documents; the items of lists (kind List, ServiceList ...) one by one. Empty documents are left
// out. The text of an error begins with the line: "12: ...". Objects handed over before an error must be discarded.
Result<> read_yaml_manifests(std::istream& in, const OnManifest& on_manifest);
Result<> read_json_manifests(std::istream& in, const OnManifest& on_manifest);  // one object, or one list

}  // namespace sluice::kube
