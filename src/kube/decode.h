// SPDX-License-Identifier: Apache-2.0
// One Kubernetes object in JSON -> model. The only decoder: files are turned into JSON before they come here,
// so an object means the same wherever it was read. Defaults are filled in as the API server fills them (core/v1 and
// discovery/v1 defaults.go).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "model/object.h"

namespace sluice::kube {

// A remark or a fault, and where: "spec.ports[0].port".
struct FieldProblem {
  std::string path;
  std::string text;
};

struct Metadata {
  std::string kind;         // "Service"; empty in list items of some servers
  std::string api_version;  // "discovery.k8s.io/v1"
  model::ObjectKey key;
  std::string resource_version;
};

struct Decoded {
  Metadata metadata;
  // monostate: refused (see `problem`), of a kind we do not read, or an object that must be treated as absent (a slice
  // with the headless label).
  std::variant<std::monostate, model::Service, model::EndpointSlice, model::Node> object;
  std::vector<FieldProblem> warnings;  // why the object serves nothing although it is valid
  std::vector<FieldProblem> notes;     // parts that were ignored; the object is used nevertheless
  std::vector<FieldProblem> problems;  // not empty: the object cannot be used, and why (the first fault found)
};

class Decoder {
 public:
  Decoder();
  ~Decoder();
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  // `kind_hint` is used where the object itself names no kind, like items of a typed list.
  // An error only if the text is not a JSON object.
  Result<Decoded> decode(std::string_view json, std::string_view kind_hint);

  // {"type":"ADDED","object":{...}}: the type, and the object's own text, valid until the next call.
  struct WatchEvent {
    std::string type;
    std::string_view object;
  };
  Result<WatchEvent> split_watch_event(std::string_view json);

  // metadata.resourceVersion and .continue of a list whose items were cut out; code and message of a Status.
  struct ListMetadata {
    std::string kind;
    std::string resource_version;
    std::string continue_token;
    int status_code = 0;
    std::string status_message;
  };
  Result<ListMetadata> decode_list_metadata(std::string_view json);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Of a whole list; empty where there is none.
std::string uid_of_first_item(std::string_view list);

}  // namespace sluice::kube
