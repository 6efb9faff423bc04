// SPDX-License-Identifier: Apache-2.0
// Cuts a stream of JSON into objects without holding more than one: the items of a list, or the documents of a watch.
// Chunk boundaries may fall anywhere. Memory use follows the largest object, up to a fixed bound.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::kube {

class JsonSplitter {
 public:
  enum class Kind : unsigned char {
    kDocuments,  // objects one after the other, as a watch sends them
    kListItems,  // the elements of the member "items" of one object
  };
  using OnObject = std::function<Result<>(std::string_view)>;
  JsonSplitter(Kind kind, OnObject on_object) : kind_(kind), on_object_(std::move(on_object)) {}

  // Feeds the next bytes. An error (also the callback's) ends the stream; nothing may be fed after it.
  Result<> feed(std::string_view chunk);
  // kListItems: the list itself with its items cut out, once everything was fed; an error if it is not complete.
  // kDocuments: an error if the stream ended within an object.
  Result<std::string> finish();
  [[nodiscard]] bool within_object() const { return depth_ != 0; }

  [[nodiscard]] std::size_t line() const { return line_; }  // how far the stream was read, counted from 1
  // Within the callback: the line where the object begins.
  [[nodiscard]] std::size_t object_line() const { return object_line_; }

  // kListItems: the list so far, with its items cut out.
  [[nodiscard]] std::string_view rest() const { return rest_; }

  static constexpr std::size_t kObjectBytesMax = 16UL * 1024 * 1024;

 private:
  Result<std::size_t> pass_string(std::string_view chunk, std::size_t at);
  std::size_t pass_ordinary(std::string_view chunk, std::size_t at);
  Result<std::size_t> structural(std::string_view chunk, std::size_t run, std::size_t at);
  Result<std::size_t> open_bracket(std::string_view chunk, std::size_t run, std::size_t at);
  Result<std::size_t> close_bracket(std::string_view chunk, std::size_t run, std::size_t at);
  Result<> keep(std::string_view bytes);
  [[nodiscard]] bool capturing() const { return capture_depth_ != 0; }

  const Kind kind_;
  const OnObject on_object_;
  std::string object_;  // the object that is being captured
  std::string rest_;    // kListItems: everything outside of the items
  std::string key_;     // kListItems: the last string seen at depth 1
  std::size_t depth_ = 0;
  std::size_t capture_depth_ = 0;  // depth outside of the captured object, plus one; 0 = none
  std::size_t line_ = 1;
  std::size_t object_line_ = 0;
  bool in_items_ = false;
  bool in_string_ = false;
  bool escaped_ = false;
  bool complete_ = false;
  char last_ = 0;  // the last character outside of strings that is no space
};

}  // namespace sluice::kube
