// SPDX-License-Identifier: Apache-2.0
// A cluster's list of EndpointSlices may be 100 MB of JSON, of which a proxy keeps a tenth. So the list is never held
// whole: objects are cut out as they pass, by counting brackets outside of strings, and only each object's own text
// goes to the parser. The cut text need not be valid; the parser checks it later. Here we check only where a string or
// a bracket is allowed: if a server breaks off within an object and continues with the next one, everything that
// follows would otherwise be taken for the rest of the first. Bytes are copied in runs: from one change of where they
// belong (an object, the list around it, nowhere) to the next.
#include "kube/json_stream.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::kube {
namespace {

constexpr std::size_t kKeptCapacityMax = 1024 * 1024;
constexpr std::size_t kKeyBytesMax = 64;
constexpr std::size_t kDepthMax = 1024;

bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}
bool is_bracket(char c) {
  return c == '{' || c == '[' || c == '}' || c == ']';
}
bool is_opening(char c) {
  return c == '{' || c == '[';
}
// Whether a value, or the name of a member, may begin after `last`.
bool may_begin(char c, char last) {
  return last == ':' || last == ',' || last == '[' || (last == '{' && c == '"');
}

}  // namespace

Result<> JsonSplitter::feed(std::string_view chunk) {
  std::size_t at = 0;
  std::size_t run = 0;  // where the bytes begin that were passed, but not kept yet
  while (at < chunk.size()) {
    if (in_string_) {
      SLUICE_TRY(at, pass_string(chunk, at));
      continue;
    }
    at = pass_ordinary(chunk, at);
    if (at == chunk.size()) break;
    const char c = chunk[at];
    if (depth_ > 0 && (c == '"' || is_opening(c)) && !may_begin(c, last_))
      return fail(Errc::kInvalid, fmt::format("'{}' is not allowed here: an object broke off", c));
    last_ = c;
    if (is_bracket(c)) {
      SLUICE_TRY(run, structural(chunk, run, at));
    } else if (depth_ == 0) {
      return fail(Errc::kInvalid, fmt::format("unexpected character 0x{:02x} where an object must begin",
                                              static_cast<unsigned char>(c)));
    } else {
      in_string_ = true;
      if (depth_ == 1) key_.clear();
    }
    ++at;
  }
  return keep(chunk.substr(run));
}

// Up to and including the closing quotation mark, or to the end of the chunk.
Result<std::size_t> JsonSplitter::pass_string(std::string_view chunk, std::size_t at) {
  const std::size_t begin = at;
  if (escaped_) {
    escaped_ = false;
    ++at;
  }
  while (at < chunk.size() && chunk[at] != '"') {
    if (chunk[at] == '\\') {
      if (at + 1 == chunk.size()) escaped_ = true;
      ++at;
    } else if (chunk[at] == '\n') {
      return fail(Errc::kInvalid, "a line ends within a string");
    }
    ++at;
  }
  at = std::min(at, chunk.size());
  if (depth_ == 1)
    key_.append(chunk.substr(begin, std::min(at - begin, kKeyBytesMax - std::min(kKeyBytesMax, key_.size()))));
  if (at == chunk.size()) return at;
  in_string_ = false;
  return at + 1;
}

// To the next character that changes the state: a bracket, a quotation mark; between objects also an unexpected one.
std::size_t JsonSplitter::pass_ordinary(std::string_view chunk, std::size_t at) {
  for (; at < chunk.size(); ++at) {
    const char c = chunk[at];
    if (c == '\n') ++line_;
    if (c == '"' || is_bracket(c) || (depth_ == 0 && !is_space(c))) break;
    if (!is_space(c)) last_ = c;
  }
  return at;
}

// Returns where the run of bytes that are not kept yet begins afterwards.
Result<std::size_t> JsonSplitter::structural(std::string_view chunk, std::size_t run, std::size_t at) {
  return is_opening(chunk[at]) ? open_bracket(chunk, run, at) : close_bracket(chunk, run, at);
}

Result<std::size_t> JsonSplitter::open_bracket(std::string_view chunk, std::size_t run, std::size_t at) {
  const bool brace = chunk[at] == '{';
  if (depth_ == 0 && (!brace || (complete_ && kind_ == Kind::kListItems))) {
    return fail(Errc::kInvalid, brace ? "more than one JSON object" : "a JSON array where an object must begin");
  }
  if (depth_ == kDepthMax) return fail(Errc::kExhausted, fmt::format("nested deeper than {} levels", kDepthMax));
  const bool documents = kind_ == Kind::kDocuments;
  if (!documents && depth_ == 1 && !brace && key_ == "items") {
    SLUICE_CHECK_OK(keep(chunk.substr(run, at + 1 - run)));
    in_items_ = true;
    run = at + 1;
  } else if (!capturing() && brace && (documents ? depth_ == 0 : in_items_ && depth_ == 2)) {
    SLUICE_CHECK_OK(keep(chunk.substr(run, at - run)));
    capture_depth_ = depth_ + 1;
    object_line_ = line_;
    run = at;
  }
  ++depth_;
  return run;
}

Result<std::size_t> JsonSplitter::close_bracket(std::string_view chunk, std::size_t run, std::size_t at) {
  if (depth_ == 0) return fail(Errc::kInvalid, "a closing bracket without an opening one");
  --depth_;
  if (capturing() && depth_ + 1 == capture_depth_) {
    SLUICE_CHECK_OK(keep(chunk.substr(run, at + 1 - run)));
    capture_depth_ = 0;
    SLUICE_CHECK_OK(on_object_(object_));
    object_.clear();
    // One large object must not hold its memory forever.
    if (object_.capacity() > kKeptCapacityMax) object_.shrink_to_fit();
    run = at + 1;
  } else if (in_items_ && depth_ == 1) {
    in_items_ = false;
    run = at;  // the commas between the objects belong to none
  }
  if (depth_ == 0) complete_ = true;
  return run;
}

// Adds bytes to what they belong to at present.
Result<> JsonSplitter::keep(std::string_view bytes) {
  if (!capturing() && (in_items_ || kind_ == Kind::kDocuments)) return {};
  std::string& target = capturing() ? object_ : rest_;
  if (bytes.size() > kObjectBytesMax - target.size()) {
    return fail(Errc::kExhausted, fmt::format("an object is larger than {} bytes", kObjectBytesMax));
  }
  target.append(bytes);
  return {};
}

Result<std::string> JsonSplitter::finish() {
  if (depth_ != 0 || in_string_) return fail(Errc::kUnavailable, "the stream ended in the middle of an object");
  if (kind_ == Kind::kListItems && !complete_)
    return fail(Errc::kUnavailable, "the stream ended before an object began");
  return std::move(rest_);
}

}  // namespace sluice::kube
