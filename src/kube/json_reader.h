// SPDX-License-Identifier: Apache-2.0
// Reading fields out of parsed JSON with sticky faults: the first one is kept with its path, everything after it reads
// as absent, so that a decoder is a list of fields and checks once, at its end. Only decode*.cc include this (and with
// it simdjson).
#pragma once

#include <fmt/format.h>
#include <simdjson.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kube/decode.h"

namespace sluice::kube {

class JsonReader {
 public:
  using Element = simdjson::dom::element;
  JsonReader(std::vector<FieldProblem>& problems, std::vector<FieldProblem>& notes)
      : problems_(problems), notes_(notes) {}

  void fail(std::string path, std::string text) {
    if (problems_.empty()) problems_.push_back({std::move(path), std::move(text)});
  }
  void note(std::string path, std::string text) { notes_.push_back({std::move(path), std::move(text)}); }
  [[nodiscard]] bool failed() const { return !problems_.empty(); }

  // Absent and null read as nothing. `path` names the object itself.
  std::optional<Element> field(const Element& object, std::string_view key) const {
    Element value;
    if (object.at_key(key).get(value) != simdjson::SUCCESS || value.is_null()) return std::nullopt;
    return value;
  }
  std::optional<Element> object(const Element& parent, const std::string& path, std::string_view key) {
    const auto value = field(parent, key);
    if (value && !value->is_object()) return refuse(path, key, "must be an object");
    return value;
  }
  std::string text(const Element& parent, const std::string& path, std::string_view key) {
    const auto value = field(parent, key);
    if (!value) return {};
    std::string_view result;
    if (value->get(result) != simdjson::SUCCESS) refuse(path, key, "must be a string");
    return std::string(result);
  }
  std::optional<bool> boolean(const Element& parent, const std::string& path, std::string_view key) {
    const auto value = field(parent, key);
    if (!value) return std::nullopt;
    bool result = false;
    if (value->get(result) != simdjson::SUCCESS) {
      refuse(path, key, "must be true or false");
      return std::nullopt;
    }
    return result;
  }
  std::optional<std::int64_t> integer(const Element& parent, const std::string& path, std::string_view key,
                                      std::int64_t low, std::int64_t high) {
    const auto value = field(parent, key);
    if (!value) return std::nullopt;
    std::int64_t result = 0;
    if (value->get(result) != simdjson::SUCCESS) {
      double number = 0;
      const bool whole = value->is_number() && value->get(number) == simdjson::SUCCESS && number == std::floor(number);
      refuse(path, key,
             whole ? fmt::format("{} is not between {} and {}", number, low, high)
                   : fmt::format("must be a whole number between {} and {}", low, high));
      return std::nullopt;
    }
    if (result < low || result > high) {
      refuse(path, key, fmt::format("{} is not between {} and {}", result, low, high));
      return std::nullopt;
    }
    return result;
  }
  // Calls body(element, path of the element) for each element of an array.
  template <typename Body>
  void each(const Element& parent, const std::string& path, std::string_view key, Body body) {
    const auto value = field(parent, key);
    if (!value) return;
    simdjson::dom::array array;
    if (value->get(array) != simdjson::SUCCESS) {
      refuse(path, key, "must be a list");
      return;
    }
    std::size_t index = 0;
    for (const Element element : array) body(element, fmt::format("{}[{}]", join(path, key), index++));
  }
  // The same for an array of objects; other elements are faults.
  template <typename Body>
  void each_object(const Element& parent, const std::string& path, std::string_view key, Body body) {
    each(parent, path, key, [&](const Element& element, const std::string& element_path) {
      if (!element.is_object()) return fail(element_path, "must be an object");
      body(element, element_path);
    });
  }
  template <typename Body>
  void each_text(const Element& parent, const std::string& path, std::string_view key, Body body) {
    each(parent, path, key, [&](const Element& element, const std::string& element_path) {
      std::string_view value;
      if (element.get(value) != simdjson::SUCCESS) return fail(element_path, "must be a string");
      body(value, element_path);
    });
  }
  // A string-to-string map such as labels.
  template <typename Body>
  void each_pair(const Element& parent, const std::string& path, std::string_view key, Body body) {
    const auto value = object(parent, path, key);
    if (!value || failed()) return;
    simdjson::dom::object map;
    if (value->get(map) != simdjson::SUCCESS) return;
    for (const auto pair : map) {
      std::string_view content;
      if (pair.value.get(content) != simdjson::SUCCESS) {
        fail(join(join(path, key), pair.key), "must be a string");
        return;
      }
      body(pair.key, content);
    }
  }

  static std::string join(const std::string& path, std::string_view key) {
    return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
  }

 private:
  std::nullopt_t refuse(const std::string& path, std::string_view key, std::string text) {
    fail(join(path, key), std::move(text));
    return std::nullopt;
  }

  std::vector<FieldProblem>& problems_;
  std::vector<FieldProblem>& notes_;
};

}  // namespace sluice::kube
