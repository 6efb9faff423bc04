// SPDX-License-Identifier: Apache-2.0
// A YAML scalar without quotes carries its type in its looks: 80 is a number, web a text, nothing a null. Which looks
// mean what depends on whom one asks; this is the only place that says so.
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
  // Of a kBool or a number: the text of its value in JSON, whatever the scalar looked like; empty where JSON has none
  // (.inf, .nan), and for the other kinds.
  [[nodiscard]] std::string json() const;
};

// As go-yaml v2 resolves it, by which kube-proxy and kubectl read YAML (sigs.k8s.io/yaml): the truth values of YAML 1.1
// (y, yes, on and their like), whole numbers with Go's prefixes (0x, 0o, 0b, 0), underscores that do not count. Dates
// are texts, and so are YAML 1.1's numbers to the base of 60.
PlainScalar resolve_plain(std::string_view text);

}  // namespace sluice
