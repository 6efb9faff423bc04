// SPDX-License-Identifier: Apache-2.0
// A cluster's list of EndpointSlices may be 100 MB of JSON, of which a proxy keeps a tenth. So the list is never held:
// objects are cut out as they pass, by counting brackets outside of strings, and only each object's own text goes to
// the parser. What is cut need not be valid; the parser says so later.
#include "kube/json_stream.h"

#include <fmt/format.h>

namespace sluice::kube {
namespace {

constexpr std::size_t kRestBytesMax = 1024 * 1024;
constexpr std::size_t kKeyBytesMax = 64;
constexpr std::size_t kDepthMax = 1024;

bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

}  // namespace

Result<> JsonSplitter::feed(std::string_view chunk) {
  for (const char c : chunk) {
    const bool was_capturing = capturing();
    const bool was_in_items = in_items_;
    if (in_string_) {
      if (escaped_) {
        escaped_ = false;
      } else if (c == '\\') {
        escaped_ = true;
      } else if (c == '"') {
        in_string_ = false;
      }
      if (in_string_ && depth_ == 1 && key_.size() < kKeyBytesMax) key_ += c;
    } else if (c == '"') {
      if (depth_ == 0) return fail(Errc::kInvalid, "a JSON string where an object must begin");
      in_string_ = true;
      if (depth_ == 1) key_.clear();
    } else if (c == '{' || c == '[' || c == '}' || c == ']') {
      SLUICE_CHECK_OK(structural(c));
    } else if (depth_ == 0 && !is_space(c)) {
      return fail(Errc::kInvalid,
                  fmt::format("unexpected character 0x{:02x} between JSON objects", static_cast<unsigned char>(c)));
    }
    if (was_capturing || capturing()) {
      if (object_.size() == kObjectBytesMax)
        return fail(Errc::kExhausted, fmt::format("an object is larger than {} bytes", kObjectBytesMax));
      object_ += c;
      if (!capturing()) {
        SLUICE_CHECK_OK(on_object_(object_));
        object_.clear();
        // One large object must not cost its memory for ever.
        if (object_.capacity() > kRestBytesMax) object_.shrink_to_fit();
      }
    } else if (kind_ == Kind::kListItems && !(was_in_items && in_items_)) {
      if (rest_.size() == kRestBytesMax)
        return fail(Errc::kExhausted, fmt::format("a list holds more than {} bytes beside its items", kRestBytesMax));
      rest_ += c;
    }
  }
  return {};
}

Result<> JsonSplitter::structural(char c) {
  if (c == '{' || c == '[') {
    if (depth_ == 0 && (c == '[' || (complete_ && kind_ == Kind::kListItems)))
      return fail(Errc::kInvalid, "more than one JSON object, or none");
    if (depth_ == kDepthMax) return fail(Errc::kExhausted, "JSON is nested too deeply");
    if (kind_ == Kind::kListItems && depth_ == 1 && c == '[' && key_ == "items") in_items_ = true;
    const std::size_t outside = kind_ == Kind::kDocuments ? 0 : 2;
    if (!capturing() && c == '{' && depth_ == outside && (kind_ == Kind::kDocuments || in_items_))
      capture_depth_ = depth_ + 1;
    ++depth_;
    return {};
  }
  if (depth_ == 0) return fail(Errc::kInvalid, "a closing bracket without an opening one");
  --depth_;
  if (capturing() && depth_ + 1 == capture_depth_) capture_depth_ = 0;
  if (in_items_ && depth_ == 1) in_items_ = false;
  if (depth_ == 0) complete_ = true;
  return {};
}

Result<std::string> JsonSplitter::finish() {
  if (depth_ != 0 || in_string_) return fail(Errc::kUnavailable, "the stream ended in the middle of an object");
  if (kind_ == Kind::kListItems && !complete_) return fail(Errc::kUnavailable, "the stream ended before a list began");
  return std::move(rest_);
}

}  // namespace sluice::kube
