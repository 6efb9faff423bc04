// SPDX-License-Identifier: Apache-2.0
// There is no API server here to refuse invalid objects, or to fill in what is left out; so what it would have
// required is required here. A file that is written again with the same faults gets the same complaints, and these are
// logged once.
#include "kube/manifest_file.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"

namespace sluice::kube {
namespace {

// Of a kind that we read. The group counts as well: Knative has a Service of its own, under the same name as the real
// one. Items of a typed list name no apiVersion.
bool is_ours(const Metadata& metadata) {
  const std::string_view version = metadata.api_version;
  if (metadata.kind == "EndpointSlice") return version.empty() || version.starts_with("discovery.k8s.io/");
  return (metadata.kind == "Service" || metadata.kind == "Node") && (version.empty() || version == "v1");
}

// What only an API server would require or fill in.
std::optional<FieldProblem> missing_in(const decltype(Decoded::object)& object) {
  const auto* service = std::get_if<model::Service>(&object);
  if (service == nullptr || service->headless || service->type == model::ServiceType::kExternalName) return {};
  if (service->cluster_ips.empty())
    return FieldProblem{"spec.clusterIP", "is required: there is no API server to choose one"};
  if (service->ports.empty()) return FieldProblem{"spec.ports", "is required"};
  return {};
}

// A fault in what identifies this object.
bool hides_identity(const FieldProblem& problem) {
  return problem.path == "kind" || problem.path == "apiVersion" || problem.path == "metadata" ||
         problem.path.starts_with("metadata.name");
}

}  // namespace

struct ManifestReader::Reading {
  const std::string file;
  Previous& previous;
  Complaints& complaints;
  Outcome outcome;
};

Result<ManifestReader::Outcome> ManifestReader::read(std::istream& in, const std::filesystem::path& path,
                                                     Previous& previous, Complaints& complaints) {
  Reading reading{path.string(), previous, complaints, {}};
  Result<> objects;  // the first that cannot be identified: then the file is not known as a whole
  const OnManifest take_one = [&](const ManifestText& object) {
    if (objects) objects = take(reading, object);
  };
  const bool json = path.extension() == ".json";
  const Result<> text = json ? read_json_manifests(in, take_one) : read_yaml_manifests(in, take_one);
  SLUICE_CHECK_OK(objects);
  SLUICE_CHECK_OK(text);
  return std::move(reading.outcome);
}

// An error if this object cannot be identified: its last good state cannot be found then.
Result<> ManifestReader::take(Reading& reading, const ManifestText& object) {
  auto decoded = decoder_.decode(object.json(), object.kind_hint());
  if (!decoded) return fail(decoded.error().code, fmt::format("{}: {}", object.line(), decoded.error().what));
  model::ObjectKey key = decoded->metadata.key;
  const std::string& kind = decoded->metadata.kind;
  if (auto missing = missing_in(decoded->object)) decoded->problems.push_back(*std::move(missing));
  const FieldProblem* problem = decoded->problems.empty() ? nullptr : &decoded->problems.front();
  if (kind.empty()) return fail(Errc::kInvalid, fmt::format("{}: kind: is required", object.line_of("kind")));
  if (!is_ours(decoded->metadata)) {
    if (!reading.complaints.is_new(fmt::format("{} {} {}", decoded->metadata.api_version, kind, key.to_string())))
      return {};
    SLUICE_LOG_INFO("An object of a kind that a Service proxy does not read, ignored", {"file", reading.file},
                    {"line", object.line()}, {"apiVersion", decoded->metadata.api_version}, {"kind", kind},
                    {"name", key.name});
    return {};
  }
  if (problem != nullptr && hides_identity(*problem)) {
    return fail(Errc::kInvalid,
                fmt::format("{}: {}: {}: {}", object.line_of(problem->path), kind, problem->path, problem->text));
  }
  if (kind != "Node" && key.namespace_name.empty()) key.namespace_name = "default";
  if (problem != nullptr) {
    refuse(reading, object, *decoded, key);
    return {};
  }
  add(reading, object, std::move(key), std::move(*decoded));
  return {};
}

// An object that cannot be used keeps its own last good state; the file's other objects are not affected.
void ManifestReader::refuse(Reading& reading, const ManifestText& object, const Decoded& decoded,
                            const model::ObjectKey& key) {
  const std::string& kind = decoded.metadata.kind;
  const FieldProblem& problem = decoded.problems.front();
  if (reading.complaints.is_new(fmt::format("{} {} {} {}", kind, key.to_string(), problem.path, problem.text))) {
    SLUICE_LOG_ERROR("An object of a manifest cannot be used, keeping its last good state", {"file", reading.file},
                     {"line", object.line_of(problem.path)}, {"kind", kind}, {"object", key.to_string()},
                     {"field", problem.path}, {"err", problem.text});
  }
  reading.outcome.whole = false;
  if (hooks_.on_refused) hooks_.on_refused(kind);
  const Contents& previous = reading.previous.get();
  Contents& contents = reading.outcome.contents;
  if (const auto old = previous.services.find(key); kind == "Service" && old != previous.services.end())
    contents.services.insert(*old);
  if (const auto old = previous.slices.find(key); kind == "EndpointSlice" && old != previous.slices.end())
    contents.slices.insert(*old);
  if (kind == "Node" && previous.node && previous.node->name == key.name) contents.node = previous.node;
}

void ManifestReader::add(Reading& reading, const ManifestText& object, model::ObjectKey key, Decoded&& decoded) const {
  const std::string name = key.to_string();
  for (const auto* remarks : {&decoded.warnings, &decoded.notes}) {
    for (const FieldProblem& remark : *remarks) {
      if (!reading.complaints.is_new(fmt::format("{} {} {}", name, remark.path, remark.text))) continue;
      const int line = object.line_of(remark.path);
      if (remarks == &decoded.warnings) {
        SLUICE_LOG_WARNING("An object serves nothing", {"file", reading.file}, {"line", line},
                           {"kind", decoded.metadata.kind}, {"object", name}, {"field", remark.path},
                           {"why", remark.text});
      } else {
        SLUICE_LOG_WARNING("Part of an object is ignored", {"file", reading.file}, {"line", line}, {"object", name},
                           {"field", remark.path}, {"why", remark.text});
      }
    }
  }
  Contents& contents = reading.outcome.contents;
  bool first = true;
  if (auto* service = std::get_if<model::Service>(&decoded.object)) {
    service->key = key;
    first = contents.services.emplace(std::move(key), std::move(*service)).second;
  } else if (auto* slice = std::get_if<model::EndpointSlice>(&decoded.object)) {
    slice->key = key;
    first = contents.slices.emplace(std::move(key), std::move(*slice)).second;
  } else if (auto* node = std::get_if<model::Node>(&decoded.object); node != nullptr && node->name == node_name_) {
    contents.node = std::move(*node);
  } else if (node != nullptr) {
    contents.other_nodes.insert(node->name);
  }
  if (first || !reading.complaints.is_new(name + " twice")) return;
  SLUICE_LOG_ERROR("An object appears twice in a file, the first counts", {"file", reading.file},
                   {"line", object.line()}, {"object", name});
}

}  // namespace sluice::kube
