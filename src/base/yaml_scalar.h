// SPDX-License-Identifier: Apache-2.0
// The type of a YAML scalar without quotes follows from its text: 80 is a number, web a string, nothing a null. Which
// text has which type differs between YAML versions; only this file decides it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sluice {

enum class ScalarKind : std::uint8_t { kNull, kBool, kInteger, kFloat, kString };

struct PlainScalar {
  ScalarKind kind = ScalarKind::kString;
  bool truth = false;           // kBool
  bool negative = false;        // kInteger: from -2^63 to 2^64-1
  std::uint64_t magnitude = 0;  // kInteger
  double number = 0;            // kFloat, may be infinite or NaN; kInteger: the nearest
  // Of a kBool or a number: the text of its value in JSON, however the scalar was written; empty if JSON has none
  // (.inf, .nan), and for the other kinds.
  [[nodiscard]] std::string json() const;
};

// As resolved by go-yaml v2, with which kube-proxy and kubectl read YAML (sigs.k8s.io/yaml): the booleans of YAML 1.1
// (y, yes, on and similar), integers with Go's prefixes (0x, 0o, 0b, 0), underscores ignored. Dates
// are strings, and so are YAML 1.1's base-60 numbers.
PlainScalar resolve_plain(std::string_view text);

}  // namespace sluice
