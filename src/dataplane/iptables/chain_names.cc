// SPDX-License-Identifier: Apache-2.0
// A chain name has at most 28 characters (XT_EXTENSION_MAXNAMELEN), a Service port's name up to 143: hence the hash.
// kube-proxy uses 80 of SHA-256's bits, which is enough that two Services of one cluster never collide.
#include "dataplane/iptables/chain_names.h"

#include <openssl/evp.h>

#include "base/check.h"

namespace sluice::dataplane::iptables {
namespace {

constexpr std::size_t kHashLength = 16;

// 16 characters of 5 bits are the first 10 bytes, most significant bit first.
std::string base32_prefix(const std::array<unsigned char, 32>& digest) {
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  std::string text;
  std::uint32_t bits = 0;
  int bit_count = 0;
  for (std::size_t i = 0; text.size() < kHashLength; ++i) {
    bits = (bits << 8) | digest[i];
    bit_count += 8;
    while (bit_count >= 5 && text.size() < kHashLength) {
      bit_count -= 5;
      text += kAlphabet[(bits >> bit_count) & 31];
    }
  }
  return text;
}

std::string hash_of(std::string_view text) {
  // Fetched once: looking up the algorithm costs more than hashing 40 bytes.
  static const EVP_MD* const algorithm = ::EVP_MD_fetch(nullptr, "SHA256", nullptr);
  std::array<unsigned char, 32> digest{};
  SLUICE_CHECK(algorithm != nullptr);
  SLUICE_CHECK(::EVP_Digest(text.data(), text.size(), digest.data(), nullptr, algorithm, nullptr) == 1);
  return base32_prefix(digest);
}

std::string hashed_text(const plan::ServicePortKey& key) {
  std::string text = key.printed_name();
  text += lower_name(key.protocol);
  return text;
}

}  // namespace

std::string_view to_string(Table table) {
  switch (table) {
    case Table::kFilter:
      return "filter";
    case Table::kNat:
      return "nat";
    case Table::kMangle:
      return "mangle";
  }
  return "";
}

std::string_view prefix_of(ChainKind kind) {
  constexpr std::array<std::string_view, kChainKinds> kPrefixes{"KUBE-FW-",  "KUBE-EXT-", "KUBE-XLB-",
                                                                "KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-"};
  return kPrefixes[static_cast<std::size_t>(kind)];
}

bool parse_port_chain(std::string_view name, ChainKind& kind) {
  for (std::size_t i = 0; i < kChainKinds; ++i) {
    kind = static_cast<ChainKind>(i);
    if (name.starts_with(prefix_of(kind))) return true;
  }
  return false;
}

std::string port_hash(const plan::ServicePortKey& key) {
  return hash_of(hashed_text(key));
}

std::string real_server_hash(const plan::ServicePortKey& key, const plan::RealServer& server) {
  return hash_of(hashed_text(key) + server.to_string());
}

}  // namespace sluice::dataplane::iptables
