// SPDX-License-Identifier: Apache-2.0
// A 64-bit digest of bytes: equal for equal ones, and by chance alone for others. Against accidents, not attackers: who can
// choose what stands in our table can change the rules, too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace sluice::dataplane::nftables {

class Digest {
 public:
  // Its length counts, too: "ab", "c" is not "a", "bc".
  void add(std::span<const std::uint8_t> bytes) {
    add_number(bytes.size());
    for (const std::uint8_t byte : bytes) add_byte(byte);
  }
  void add(std::string_view text) {
    add_number(text.size());
    for (const char c : text) add_byte(static_cast<std::uint8_t>(c));
  }
  void add_number(std::uint64_t number) {
    for (int shift = 0; shift < 64; shift += 8) add_byte(static_cast<std::uint8_t>(number >> shift));
  }
  // Mixed once more (the finalizer of MurmurHash3), since sums of digests are compared.
  [[nodiscard]] std::uint64_t value() const {
    std::uint64_t mixed = state_;
    mixed = (mixed ^ mixed >> 33) * 0xff51afd7ed558ccdULL;
    mixed = (mixed ^ mixed >> 33) * 0xc4ceb9fe1a85ec53ULL;
    return mixed ^ mixed >> 33;
  }

 private:
  void add_byte(std::uint8_t byte) { state_ = (state_ ^ byte) * 0x100000001b3ULL; }  // FNV-1a
  std::uint64_t state_ = 0xcbf29ce484222325ULL;
};

}  // namespace sluice::dataplane::nftables
