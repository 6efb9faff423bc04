// SPDX-License-Identifier: Apache-2.0
// Events of a YAML parser -> JSON text, value by value. Independent of Kubernetes; manifest_text.cc feeds it the
// events. The first fault sticks, and everything after it is ignored.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/result.h"

namespace sluice::kube {

class YamlToJson {
 public:
  using Anchor = std::size_t;  // 0 = none, as yaml-cpp counts them

  // `line` counts from 1.
  void scalar(int line, std::string_view text, bool plain, Anchor anchor);
  void alias(int line, Anchor anchor);
  void begin(int line, bool map, Anchor anchor);
  void end();

  // What was written since the document began, and how many maps and sequences are open.
  [[nodiscard]] const std::string& text() const { return text_; }
  [[nodiscard]] std::size_t depth() const { return frames_.size(); }
  // The key of the next value of the innermost open map; empty where a key comes next.
  [[nodiscard]] const std::string& key() const { return key_; }
  [[nodiscard]] int line() const { return line_; }  // of the last event
  [[nodiscard]] const Result<>& outcome() const { return outcome_; }
  void fault(int line, const std::string& what);

  // Cuts out the last element of the innermost open sequence, which begins at `position` of the text.
  std::string cut_element(std::size_t position);
  void reset();  // for the next document

  // The nodes since the document began, or since the last forget_marks(): to find lines by paths.
  struct Mark {
    std::size_t parent = 0;  // index of the map or sequence that holds it, plus one; 0 = it is the root
    std::string key;         // in a map
    std::size_t index = 0;   // in a sequence
    int line = 0;
  };
  [[nodiscard]] std::size_t marks() const { return marks_.size(); }
  void forget_marks(std::size_t size) { marks_.resize(size); }
  // The line of `path` below the node whose mark is the `root`th.
  [[nodiscard]] int line_of(std::size_t root, std::string_view path) const;

  static constexpr std::size_t kTextBytesMax = 16UL * 1024 * 1024;
  static constexpr std::size_t kDepthMax = 100;

 private:
  struct Frame {
    bool map = false;
    std::size_t begin = 0;  // of the text
    std::size_t count = 0;  // values so far
    std::size_t mark = 0;   // index of its own mark, plus one
    Anchor anchor = 0;
    bool merging = false;  // the value that comes is that of a merge key
    std::unordered_set<std::string> keys;
    std::vector<std::string> merged;  // maps whose members go in where they are missing
  };
  bool before_value(int line);
  void after_value(std::size_t position, Anchor anchor);
  void take_key(int line, std::string_view text, bool plain, Anchor anchor);
  void take_merged(Frame& frame, std::size_t position);
  void write_merged(Frame& frame);
  bool fits(std::size_t bytes);
  void remember(Anchor anchor, std::string_view value);

  std::string text_;
  std::string key_;
  bool has_key_ = false;
  std::vector<Frame> frames_;
  std::vector<Mark> marks_;
  std::unordered_map<Anchor, std::string> anchors_;
  std::size_t anchor_bytes_ = 0;
  int line_ = 1;
  Result<> outcome_;
};

}  // namespace sluice::kube
