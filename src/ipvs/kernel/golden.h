// SPDX-License-Identifier: Apache-2.0
// For tests: what was recorded from the family IPVS (test/golden/ipvs/netlink.txt).
#pragma once

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/test_paths.h"

namespace sluice::ipvs::kernel::test {

struct Exchange {
  std::string name;
  int command = 0;
  std::string result;                              // "OK", or the errno's name
  std::vector<std::uint8_t> attributes;            // of the request
  std::vector<std::vector<std::uint8_t>> replies;  // attributes only
};

inline std::vector<std::uint8_t> from_hex(const std::string& text) {
  std::vector<std::uint8_t> bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2)
    bytes.push_back(static_cast<std::uint8_t>(std::stoi(text.substr(i, 2), nullptr, 16)));
  return bytes;
}

inline std::vector<Exchange> read_golden() {
  std::vector<Exchange> all;
  std::ifstream file(source_path("test/golden/ipvs/netlink.txt"));
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("reply ")) {
      std::vector<std::uint8_t> bytes = from_hex(line.substr(6));
      all.back().replies.emplace_back(bytes.begin() + 4, bytes.end());  // after the generic netlink header
    } else if (line.starts_with("request ")) {
      std::istringstream fields(line.substr(8));
      std::vector<std::string> parts;
      for (std::string part; std::getline(fields, part, '|');) {
        const std::size_t begin = part.find_first_not_of(' ');
        parts.push_back(begin == std::string::npos ? "" : part.substr(begin, part.find_last_not_of(' ') - begin + 1));
      }
      all.push_back({parts.at(0), std::stoi(parts.at(1)), parts.at(3), from_hex(parts.at(4)), {}});
    }
  }
  return all;
}

// The first exchange of that name.
inline Exchange golden(const std::string& name) {
  for (const Exchange& exchange : read_golden()) {
    if (exchange.name == name) return exchange;
  }
  return {"nothing recorded under: " + name, 0, "", {}, {}};
}

}  // namespace sluice::ipvs::kernel::test
