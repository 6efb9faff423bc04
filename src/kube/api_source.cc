// SPDX-License-Identifier: Apache-2.0
// Three collections, three reflectors: Services and EndpointSlices of the whole cluster, and one Node. Selectors let
// the server leave out what we would not serve: headless Services, those of another proxy, slices of headless Services.
// Older servers know fewer of them, and then the decoder's flags and the planner leave the same objects out.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/log.h"
#include "kube/node_search.h"
#include "kube/reflector.h"
#include "kube/source.h"
#include "kube/wait_board.h"

namespace sluice::kube {
namespace {

constexpr std::size_t kBatchMax = 500;
constexpr std::size_t kReportedMax = 10000;

// Collects what one collection reports into Updates.
class Collector : public CollectionHandler {
 public:
  // `on_presence`, if there is one, is called when a list or an event shows that there are objects, or that there are
  // none.
  Collector(std::string kind, const SourceHooks& hooks, std::function<void(bool present)> on_presence = nullptr)
      : kind_(std::move(kind)), hooks_(hooks), on_presence_(std::move(on_presence)) {}

  void list_begins() override {
    ++generation_;
    damaged_ = false;
    any_ = false;
  }

  Result<std::string> set(std::string_view json) override {
    any_ = true;  // an unusable one exists too
    if (on_presence_) on_presence_(true);
    auto read = decoder_.decode(json, kind_);
    if (!read) {
      // Its text ended where an object ends, so what follows is intact; but this may be any known object.
      damaged_ = true;
      refuse({}, {"JSON", read.error().what});
      return std::string();
    }
    Decoded decoded = *std::move(read);
    if (decoded.metadata.kind != kind_) {
      refuse(decoded.metadata.key,
             {"kind", fmt::format("'{}' among objects of kind {}", decoded.metadata.kind, kind_)});
      return std::move(decoded.metadata.resource_version);
    }
    const model::ObjectKey key = decoded.metadata.key;
    for (const FieldProblem& note : decoded.notes) {
      SLUICE_LOG_V(3, "Part of an object is ignored", {"kind", kind_}, {"object", key.to_string()},
                   {"field", note.path}, {"why", note.text});
    }
    if (!decoded.problems.empty()) {
      // Its last good version stays, also at the end of a list.
      if (const auto known = known_.find(key); known != known_.end()) known->second = generation_;
      refuse(key, decoded.problems.front());
      return std::move(decoded.metadata.resource_version);
    }
    note_warnings(key, decoded.warnings);
    if (std::holds_alternative<std::monostate>(decoded.object)) {
      if (known_.erase(key) > 0) forget(key);
      return std::move(decoded.metadata.resource_version);
    }
    known_[key] = generation_;
    add(std::move(decoded.object));
    if (pending_.services.size() + pending_.slices.size() >= kBatchMax) pause();
    return std::move(decoded.metadata.resource_version);
  }

  Result<std::string> remove(std::string_view json) override {
    SLUICE_TRY(const Decoded decoded, decoder_.decode(json, kind_));
    if (decoded.metadata.kind != kind_) return decoded.metadata.resource_version;
    reported_.erase(decoded.metadata.key);
    if (known_.erase(decoded.metadata.key) > 0) forget(decoded.metadata.key);
    if (on_presence_ && known_.empty()) on_presence_(false);
    return decoded.metadata.resource_version;
  }

  void list_ends() override {
    const bool said = std::exchange(said_damaged_, damaged_);
    if (damaged_) {
      if (!said)
        SLUICE_LOG_WARNING("A list has unreadable items, also keeping objects that it does not name", {"kind", kind_});
      for (auto& [key, generation] : known_) generation = generation_;
    }
    for (auto it = known_.begin(); it != known_.end();) {
      if (it->second == generation_) {
        ++it;
        continue;
      }
      forget(it->first);
      it = known_.erase(it);
    }
    pending_.services_complete = kind_ == "Service";
    pending_.slices_complete = kind_ == "EndpointSlice";
    if (on_presence_) on_presence_(any_);
    pause();
  }

  void pause() override {
    if (!pending_.empty()) hooks_.on_update(std::exchange(pending_, {}));
  }

 private:
  void add(decltype(Decoded::object)&& object) {
    if (auto* service = std::get_if<model::Service>(&object)) pending_.services.push_back(std::move(*service));
    if (auto* slice = std::get_if<model::EndpointSlice>(&object)) pending_.slices.push_back(std::move(*slice));
    if (auto* node = std::get_if<model::Node>(&object)) {
      pending_.node = std::move(*node);
      pending_.node_removed = false;
    }
  }

  // An Update applies removals first, so it must not contain what came earlier in the same batch.
  void forget(const model::ObjectKey& key) {
    if (kind_ == "Service") {
      std::erase_if(pending_.services, [&](const auto& s) { return s.key == key; });
      pending_.services_removed.push_back(key);
    } else if (kind_ == "EndpointSlice") {
      std::erase_if(pending_.slices, [&](const auto& s) { return s.key == key; });
      pending_.slices_removed.push_back(key);
    } else {
      pending_.node.reset();
      pending_.node_removed = true;
    }
  }

  // An object that serves nothing is logged once, and again when that changes.
  void note_warnings(const model::ObjectKey& key, const std::vector<FieldProblem>& warnings) {
    if (warnings.empty()) {
      reported_.erase(key);
      return;
    }
    const std::string& text = warnings.front().text;
    const auto known = reported_.find(key);
    if (known == reported_.end() ? reported_.size() >= kReportedMax : known->second == text) return;
    SLUICE_LOG_WARNING("An object serves nothing", {"kind", kind_}, {"object", key.to_string()},
                       {"field", warnings.front().path}, {"why", text});
    reported_[key] = text;
  }

  void refuse(const model::ObjectKey& key, const FieldProblem& problem) {
    std::string text = fmt::format("{}: {}", problem.path, problem.text);
    const auto known = reported_.find(key);
    if (known != reported_.end() && known->second == text) return;
    if (hooks_.on_refused) hooks_.on_refused(kind_);
    if (known == reported_.end() && reported_.size() >= kReportedMax) return;
    SLUICE_LOG_ERROR("An object cannot be used, keeping its last good state", {"kind", kind_},
                     {"object", key.to_string()}, {"err", text});
    reported_[key] = std::move(text);
  }

  const std::string kind_;
  const SourceHooks& hooks_;
  const std::function<void(bool)> on_presence_;
  Decoder decoder_;
  model::Update pending_;
  // Objects that were reported, and the list in which, or since which, they were last seen.
  std::unordered_map<model::ObjectKey, std::uint32_t> known_;
  std::uint32_t generation_ = 0;
  bool any_ = false;           // the list that is being read has an object
  bool said_damaged_ = false;  // of the previous list
  bool damaged_ = false;       // the list that is being read has an object that cannot be identified
  std::unordered_map<model::ObjectKey, std::string> reported_;  // unusable objects and why, so that each is logged once
};

Collection services_collection() {
  const std::string labels = "labelSelector=%21service.kubernetes.io%2Fservice-proxy-name";
  // Servers before 1.31 refuse the field selector.
  return {"Service", {"/api/v1/services"}, {"fieldSelector=spec.clusterIP%21%3DNone&" + labels, labels}};
}

Collection slices_collection() {
  return {"EndpointSlice",
          {"/apis/discovery.k8s.io/v1/endpointslices", "/apis/discovery.k8s.io/v1beta1/endpointslices"},
          {"labelSelector=%21service.kubernetes.io%2Fheadless"}};
}

Collection node_collection(const std::string& node_name) {
  return {"Node", {"/api/v1/nodes"}, {"fieldSelector=metadata.name%3D" + escape_query(node_name)}};
}

class ApiSource : public Source {
 public:
  ApiSource(net::EventLoop& loop, ClientConfig config, const std::string& node_name, SourceHooks hooks,
            ApiTiming timing)
      : config_(std::move(config)),
        hooks_(std::move(hooks)),
        timing_(timing),
        services_("Service", hooks_),
        slices_("EndpointSlice", hooks_),
        node_("Node", hooks_, [this](bool present) { node_search_.note(present); }),
        node_search_(loop, config_, node_name, hooks_, timing_, board_),
        node_reflector_(loop, config_, node_collection(node_name), timing_, hooks_, node_, board_),
        services_reflector_(loop, config_, services_collection(), timing_, hooks_, services_, board_),
        slices_reflector_(loop, config_, slices_collection(), timing_, hooks_, slices_, board_) {}

  void start() override {
    node_reflector_.start();
    services_reflector_.start();
    slices_reflector_.start();
  }

  [[nodiscard]] std::vector<Waiting> waiting() const override { return board_.list(); }

 private:
  const ClientConfig config_;
  const SourceHooks hooks_;
  const ApiTiming timing_;
  WaitBoard board_;
  Collector services_;
  Collector slices_;
  Collector node_;
  NodeSearch node_search_;
  Reflector node_reflector_;
  Reflector services_reflector_;
  Reflector slices_reflector_;
};

}  // namespace

std::unique_ptr<Source> make_api_source(net::EventLoop& loop, ClientConfig config, const std::string& node_name,
                                        SourceHooks hooks, ApiTiming timing) {
  return std::make_unique<ApiSource>(loop, std::move(config), node_name, std::move(hooks), timing);
}

}  // namespace sluice::kube
