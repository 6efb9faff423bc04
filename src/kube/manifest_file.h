// SPDX-License-Identifier: Apache-2.0
// One file of manifests -> its objects. What cannot be used keeps the file's previous contents: the one object if only
// that is at fault, all of them if the faulty one cannot be identified.
#pragma once

#include <filesystem>
#include <functional>
#include <istream>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "kube/complaints.h"
#include "kube/decode.h"
#include "kube/manifest_text.h"
#include "kube/source.h"

namespace sluice::kube {

// The objects of one file, or of a whole folder.
struct Contents {
  std::map<model::ObjectKey, model::Service> services;
  std::map<model::ObjectKey, model::EndpointSlice> slices;
  std::optional<model::Node> node;
  std::set<std::string> other_nodes;  // names
};

// A file's previous contents. What an earlier process kept is read only if needed.
class Previous {
 public:
  explicit Previous(Contents known) : contents_(std::move(known)) {}
  explicit Previous(std::function<Contents()> load) : load_(std::move(load)) {}
  Contents& get() {
    if (load_) contents_ = std::exchange(load_, nullptr)();
    return contents_;
  }

 private:
  Contents contents_;
  std::function<Contents()> load_;
};

class ManifestReader {
 public:
  ManifestReader(std::string node_name, const SourceHooks& hooks) : node_name_(std::move(node_name)), hooks_(hooks) {}

  struct Outcome {
    Contents contents;
    bool whole = true;  // no object was refused
  };
  // `path` decides between JSON and YAML, and is named in log lines. The text of an error begins with the line;
  // nothing in the file can be used then.
  Result<Outcome> read(std::istream& in, const std::filesystem::path& path, Previous& previous, Complaints& complaints);

 private:
  struct Reading;  // one file being read
  Result<> take(Reading& reading, const ManifestText& object);
  void refuse(Reading& reading, const ManifestText& object, const Decoded& decoded, const model::ObjectKey& key);
  void add(Reading& reading, const ManifestText& object, model::ObjectKey key, Decoded&& decoded) const;

  const std::string node_name_;
  const SourceHooks& hooks_;
  Decoder decoder_;
};

}  // namespace sluice::kube
