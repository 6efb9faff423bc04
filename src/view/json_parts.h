// SPDX-License-Identifier: Apache-2.0
// What the JSON forms of this room have in common.
#pragma once

#include <string>

#include "base/json.h"

namespace sluice::view {

template <typename Range, typename Element>
std::string json_array(const Range& range, Element element) {
  std::string out = "[";
  for (const auto& item : range) {
    if (out.size() > 1) out += ',';
    out += element(item);
  }
  return out + "]";
}

inline std::string text_or_null(const std::string& text) {
  return text.empty() ? "null" : json_string(text);
}

}  // namespace sluice::view
