// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/elements.h"

#include <fmt/format.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "base/ip.h"
#include "dataplane/nft/keys.h"

namespace sluice::dataplane::nft {
namespace {

using sys::NftElement;
using sys::NftField;

std::string protocol_text(std::uint8_t number) {
  const auto protocol = protocol_of(number);
  return protocol ? std::string(lower_name(*protocol)) : std::to_string(number);
}

std::string field_text(NftField field, std::span<const std::uint8_t> bytes) {
  switch (field) {
    case NftField::kIPv4Address:
    case NftField::kIPv6Address:
      return IpAddress::from_bytes(bytes).value_or(IpAddress()).to_string();
    case NftField::kInetProtocol:
      return protocol_text(bytes[0]);
    case NftField::kInetService:
      return std::to_string(bytes[0] << 8 | bytes[1]);
    case NftField::kMark: {
      std::uint32_t number = 0;
      std::memcpy(&number, bytes.data(), sizeof number);
      return fmt::format("0x{:08x}", number);
    }
  }
  return {};
}

// "10.0.0.0-10.255.255.255 . tcp"; `last` is empty if there is no range.
std::string fields_text(std::span<const NftField> fields, std::span<const std::uint8_t> first,
                        std::span<const std::uint8_t> last) {
  std::string text;
  std::size_t at = 0;
  for (const NftField field : fields) {
    const std::size_t length = sys::nft_field_length(field);
    if (at + length > first.size()) return {};
    if (!text.empty()) text += " . ";
    const std::string begin = field_text(field, first.subspan(at, length));
    text += begin;
    if (at + length <= last.size()) {
      const std::string end = field_text(field, last.subspan(at, length));
      if (end != begin) text += "-" + end;
    }
    at += (length + 3) / 4 * 4;
  }
  return text;
}

std::string verdict_text(const sys::NftVerdict& verdict) {
  switch (static_cast<std::int32_t>(verdict.code)) {
    case NF_ACCEPT:
      return "accept";
    case NF_DROP:
      return "drop";
    case NFT_JUMP:
      return "jump " + verdict.chain;
    case NFT_GOTO:
      return "goto " + verdict.chain;
    case NFT_RETURN:
      return "return";
    case NFT_CONTINUE:
      return "continue";
    default:
      return fmt::format("verdict {}", static_cast<std::int32_t>(verdict.code));
  }
}

std::size_t count(const ElementsBySet& sets) {
  std::size_t total = 0;
  for (const auto& [set, elements] : sets) total += elements.size();
  return total;
}

}  // namespace

std::size_t ElementChanges::size() const {
  return count(add) + count(remove);
}

const Elements& elements_of(const ElementsBySet& sets, const std::string& name) {
  static const Elements kNone;
  const auto found = sets.find(name);
  return found == sets.end() ? kNone : found->second;
}

Elements subtract(const Elements& left, const Elements& right) {
  Elements result;
  std::ranges::set_difference(left, right, std::back_inserter(result));
  return result;
}

std::string element_text(const sys::NftSet& set, const NftElement& element) {
  std::string text = fields_text(set.key, element.key, element.key_end);
  if (!set.value.empty()) text += " : " + fields_text(set.value, element.value, {});
  if (element.verdict) text += " : " + verdict_text(*element.verdict);
  return text;
}

}  // namespace sluice::dataplane::nft
