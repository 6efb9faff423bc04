// SPDX-License-Identifier: Apache-2.0
// For tests: a mechanism whose kernel is a list of objects. Its leftovers, how many connections continue there, what is
// refused and how much one piece removes are set by the test.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/mechanism.h"

namespace sluice::dataplane {

class FakeMechanism : public Mechanism {
 public:
  explicit FakeMechanism(std::string name) : name_(std::move(name)) {}

  [[nodiscard]] std::string_view name() const override { return name_; }
  Result<> probe(Family family) override {
    if (unavailable.contains(family)) return fail(Errc::kUnavailable, "the fake kernel has no memory");
    const auto missing = unsupported.find(family);
    return missing == unsupported.end() ? Result<>() : fail(Errc::kUnsupported, missing->second);
  }
  Result<std::unique_ptr<DataPlane>> open(const PlaneSettings& settings) override {
    if (!make_plane) return fail(Errc::kUnsupported, name_ + " makes no data planes");
    opened.push_back(settings.family);
    return make_plane(settings);
  }
  [[nodiscard]] std::string flavour() const override { return opened.empty() ? "" : "fake"; }

  Leftovers leftovers(std::span<const Family> serving) override {
    ++looks;
    served_when_looked.assign(serving.begin(), serving.end());
    Leftovers found;
    if (!objects.empty()) found.objects.push_back({"object", "objects", objects.size()});
    found.unsure = unsure;
    if (unrecognised > 0) found.unrecognised.push_back({"object", "objects", unrecognised});
    found.problems = problems;
    found.connections = connections;
    found.drain_timeout = drain_timeout;
    found.notes = std::make_unique<Notes>(objects);
    return found;
  }

  std::vector<std::string> retire(const Leftovers&) override {
    ++retirements;
    return {};
  }

  Removal remove(Leftovers leftovers) override {
    ++removals;
    Removal done;
    auto* notes = dynamic_cast<Notes*>(leftovers.notes.get());
    if (notes == nullptr) return done;
    std::vector<std::string>& waiting = notes->objects;
    for (std::size_t taken = 0; taken < piece && !waiting.empty(); ++taken) {
      const std::string object = std::move(waiting.front());
      waiting.erase(waiting.begin());
      if (const auto why = refused.find(object); why != refused.end()) {
        done.problems.push_back(object + ": " + why->second);
      } else if (std::erase(objects, object) > 0) {
        add(done.removed, {"object", "objects", 1});
      }
    }
    if (waiting.empty()) leftovers.objects.clear();
    for (Objects& left : leftovers.objects) left.count = waiting.size();
    if (objects.empty()) connections = leftovers.connections = 0;
    done.left = std::move(leftovers);
    return done;
  }

  // ---- what exists
  std::vector<std::string> objects;
  std::size_t unrecognised = 0;
  std::vector<std::string> unsure;
  std::vector<std::string> problems;
  std::uint64_t connections = 0;
  std::chrono::milliseconds drain_timeout{0};
  std::size_t piece = 1000;
  std::map<std::string, std::string> refused;  // an object, and why it cannot be removed
  std::map<Family, std::string> unsupported;
  std::set<Family> unavailable;  // it cannot be found out
  std::function<Result<std::unique_ptr<DataPlane>>(const PlaneSettings&)> make_plane;

  // ---- what was called
  std::vector<Family> opened;
  std::vector<Family> served_when_looked;
  std::size_t looks = 0;
  std::size_t removals = 0;
  std::size_t retirements = 0;

 private:
  struct Notes : LeftoverNotes {
    explicit Notes(std::vector<std::string> waiting) : objects(std::move(waiting)) {}
    std::vector<std::string> objects;
  };
  std::string name_;
};

}  // namespace sluice::dataplane
