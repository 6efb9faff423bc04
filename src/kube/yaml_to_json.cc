// SPDX-License-Identifier: Apache-2.0
// base/yaml_scalar.h defines what a scalar without quotes means: 80 is a number, "80" a string. Aliases (*name) let a
// small file mean a huge one ("a billion laughs"); they are expanded here, so the bound on an object's text bounds them
// too. Merge keys (<<) fill in what a map lacks, after its own members.
#include "kube/yaml_to_json.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json.h"
#include "base/utf8.h"
#include "base/yaml_scalar.h"

namespace sluice::kube {
namespace {

void append_plain(std::string& out, std::string_view text) {
  const PlainScalar scalar = resolve_plain(text);
  std::string value = scalar.kind == ScalarKind::kNull ? "null" : scalar.json();
  // JSON has no infinity: as a string it is refused where a number is required.
  out += value.empty() ? json_string(text) : value;
}

// A key's text: sigs.k8s.io/yaml writes the value of what is not a string, so that `on: 1` has the key "true".
std::string key_text(std::string_view text, bool plain) {
  std::string value = plain ? resolve_plain(text).json() : std::string();
  return value.empty() ? std::string(text) : value;
}

// Position behind the JSON value that begins at `at`. Only for text written by this file.
std::size_t skip_value(std::string_view json, std::size_t at) {
  std::size_t depth = 0;
  bool in_string = false;
  for (; at < json.size(); ++at) {
    const char c = json[at];
    if (in_string) {
      if (c == '\\') ++at;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      if (depth == 0) break;
      --depth;
    } else if (depth == 0 && (c == ',' || c == ':')) {
      break;
    }
  }
  return at;
}

}  // namespace

void YamlToJson::fault(int line, const std::string& what) {
  if (outcome_) outcome_ = fail(Errc::kInvalid, fmt::format("{}: {}", line, what));
}

bool YamlToJson::fits(std::size_t bytes) {
  if (bytes <= kTextBytesMax - std::min(kTextBytesMax, text_.size())) return true;
  fault(line_, fmt::format("an object expands to more than {} bytes", kTextBytesMax));
  return false;
}

void YamlToJson::scalar(int line, std::string_view text, bool plain, Anchor anchor) {
  line_ = line;
  if (!outcome_) return;
  if (!is_utf8(text)) return fault(line, "a text that is not UTF-8");
  if (!frames_.empty() && frames_.back().map && !has_key_) return take_key(line, text, plain, anchor);
  if (!before_value(line) || !fits(2 * text.size() + 8)) return;
  const std::size_t begin = text_.size();
  if (plain) {
    append_plain(text_, text);
  } else {
    text_ += json_string(text);
  }
  after_value(begin, anchor);
}

void YamlToJson::take_key(int line, std::string_view text, bool plain, Anchor anchor) {
  if (anchor != 0) {
    std::string value;
    if (plain) {
      append_plain(value, text);
    } else {
      value = json_string(text);
    }
    remember(anchor, value);
  }
  Frame& frame = frames_.back();
  frame.merging = plain && text == "<<";
  if (plain && resolve_plain(text).kind == ScalarKind::kNull) return fault(line, "a key must be a string");
  key_ = key_text(text, plain);
  if (!frame.merging && !frame.keys.insert(key_).second)
    return fault(line, fmt::format("key '{}' is given twice", key_));
  has_key_ = true;
}

// Writes what precedes a value: a comma, a key. False if no value is allowed here.
bool YamlToJson::before_value(int line) {
  std::size_t parent = 0;
  std::size_t index = 0;
  if (!frames_.empty()) {
    Frame& frame = frames_.back();
    if (frame.map && !has_key_) {
      fault(line, "a key must be a string");
      return false;
    }
    if (!fits(2 * key_.size() + 4)) return false;
    if (frame.count > 0 && !frame.merging) text_ += ',';
    if (frame.map && !frame.merging) {
      text_ += json_string(key_);
      text_ += ':';
    }
    parent = frame.mark;
    index = frame.count;
    if (!frame.merging) ++frame.count;
  }
  marks_.push_back({parent, std::move(key_), index, line});
  key_.clear();
  has_key_ = false;
  return true;
}

// `position` is where the value begins.
void YamlToJson::after_value(std::size_t position, Anchor anchor) {
  remember(anchor, std::string_view(text_).substr(position));
  if (frames_.empty() || !frames_.back().merging) return;
  take_merged(frames_.back(), position);
}

void YamlToJson::remember(Anchor anchor, std::string_view value) {
  if (anchor == 0) return;
  if (value.size() > kTextBytesMax - anchor_bytes_) {
    return fault(line_, fmt::format("anchors hold more than {} bytes", kTextBytesMax));
  }
  anchor_bytes_ += value.size();
  anchors_[anchor] = value;
}

void YamlToJson::alias(int line, Anchor anchor) {
  line_ = line;
  if (!outcome_) return;
  const auto known = anchors_.find(anchor);
  if (known == anchors_.end()) return fault(line, "an alias is within the value that it refers to");
  if (!before_value(line) || !fits(known->second.size())) return;
  const std::size_t begin = text_.size();
  text_ += known->second;
  after_value(begin, 0);
}

void YamlToJson::begin(int line, bool map, Anchor anchor) {
  line_ = line;
  if (!outcome_) return;
  if (frames_.size() == kDepthMax) return fault(line, fmt::format("nested deeper than {} levels", kDepthMax));
  if (!before_value(line)) return;
  Frame frame;
  frame.map = map;
  frame.begin = text_.size();
  frame.mark = marks_.size();
  frame.anchor = anchor;
  frames_.push_back(std::move(frame));
  text_ += map ? '{' : '[';
}

void YamlToJson::end() {
  if (!outcome_ || frames_.empty()) return;
  Frame& frame = frames_.back();
  if (frame.map && !frame.merged.empty()) write_merged(frame);
  text_ += frame.map ? '}' : ']';
  const std::size_t position = frame.begin;
  const Anchor anchor = frame.anchor;
  frames_.pop_back();
  after_value(position, anchor);
}

// The value of a merge key: a map, or a list of maps of which the earlier take precedence.
void YamlToJson::take_merged(Frame& frame, std::size_t position) {
  frame.merging = false;
  const std::string value = text_.substr(position);
  text_.resize(position);
  if (value.front() == '{') {
    frame.merged.push_back(value);
    return;
  }
  bool maps = value.front() == '[' && value.size() > 2;
  for (std::size_t at = 1; maps && at + 1 < value.size();) {
    const std::size_t end = skip_value(value, at);
    maps = value[at] == '{';
    frame.merged.push_back(value.substr(at, end - at));
    at = end + 1;
  }
  if (!maps) fault(line_, "a merge key needs a map or a list of maps");
}

void YamlToJson::write_merged(Frame& frame) {
  for (const std::string& map : frame.merged) {
    for (std::size_t at = 1; at + 1 < map.size();) {
      const std::size_t colon = skip_value(map, at);
      const std::size_t end = skip_value(map, colon + 1);
      const std::string member = map.substr(at, end - at);
      // Keys are compared as written in JSON, since both sides were written here; simple keys only lose their quotes.
      const std::string key = map.substr(at + 1, colon - at - 2);
      at = end + 1;
      if (!frame.keys.insert(key).second) continue;
      if (!fits(member.size() + 1)) return;
      if (frame.count++ > 0) text_ += ',';
      text_ += member;
    }
  }
}

std::string YamlToJson::cut_element(std::size_t position) {
  std::string element = text_.substr(position);
  text_.resize(position);
  if (!frames_.empty()) frames_.back().count = 0;
  return element;
}

void YamlToJson::reset() {
  text_.clear();
  key_.clear();
  has_key_ = false;
  frames_.clear();
  marks_.clear();
  anchors_.clear();
  anchor_bytes_ = 0;
}

int YamlToJson::line_of(std::size_t root, std::string_view path) const {
  if (root >= marks_.size()) return line_;
  // Marks are in the order of the text, parents before children: one pass builds all paths that begin like `path`.
  std::unordered_map<std::size_t, std::string> paths{{root + 1, std::string()}};
  std::size_t best_length = 0;
  int best_line = marks_[root].line;
  for (std::size_t i = root + 1; i < marks_.size(); ++i) {
    const auto parent = paths.find(marks_[i].parent);
    if (parent == paths.end()) continue;
    const std::string& above = parent->second;
    std::string own = marks_[i].key.empty() ? fmt::format("{}[{}]", above, marks_[i].index)
                                            : fmt::format("{}{}{}", above, above.empty() ? "" : ".", marks_[i].key);
    if (path.substr(0, own.size()) != own) continue;
    const char next = own.size() < path.size() ? path[own.size()] : '.';
    if (next != '.' && next != '[') continue;
    if (own.size() > best_length) {
      best_length = own.size();
      best_line = marks_[i].line;
    }
    paths.emplace(i + 1, std::move(own));
  }
  return best_line;
}

}  // namespace sluice::kube
