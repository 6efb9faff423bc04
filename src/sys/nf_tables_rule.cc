// SPDX-License-Identifier: Apache-2.0
// A rule of nf_tables is a small program for a register machine: "[ meta load mark => reg 1 ] [ cmp eq reg 1 0x4000 ] [
// masq ]". The registers are 64 bytes, addressed either as sixteen of 4 bytes (NFT_REG32_00 to _15) or as four of 16
// (NFT_REG_1 to _4). Where both names fit, the kernel gives back the latter (nft_dump_register() in
// net/netfilter/nf_tables_api.c), and so it is written here: a rule that was read then looks like the rule that was
// written. Neighbours: nf_tables_batch.cc sends rules, nf_tables_read.cc reads them.
#include <cstdio>  // libnftnl/expr.h needs it and does not include it

#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/udata.h>
#include <netinet/in.h>

// The kernel's headers yield to libc's where these come first.
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "sys/nf_tables.h"
#include "sys/nf_tables_detail.h"

namespace sluice::sys {
namespace {

std::uint32_t register_of(unsigned slot) {
  return slot % 4 == 0 ? NFT_REG_1 + slot / 4 : NFT_REG32_00 + slot;
}

std::span<const std::uint8_t> bytes_of(const std::uint32_t& number) {
  return {reinterpret_cast<const std::uint8_t*>(&number), sizeof number};
}

void set_bytes(nftnl_expr& expression, std::uint16_t attribute, std::span<const std::uint8_t> value) {
  SLUICE_CHECK(nftnl_expr_set(&expression, attribute, value.data(), static_cast<std::uint32_t>(value.size())) == 0);
}

void set_text(nftnl_expr& expression, std::uint16_t attribute, const std::string& value) {
  SLUICE_CHECK(nftnl_expr_set_str(&expression, attribute, value.c_str()) == 0);
}

// As nft keeps a rule's comment: type, length, and the text with its NUL.
void set_comment(nftnl_rule& rule, std::string comment) {
  comment.resize(std::min<std::size_t>(comment.size(), NFTNL_UDATA_COMMENT_MAXLEN - 1));
  std::vector<std::uint8_t> data{NFTNL_UDATA_RULE_COMMENT, static_cast<std::uint8_t>(comment.size() + 1)};
  data.insert(data.end(), comment.begin(), comment.end());
  data.push_back(0);
  SLUICE_CHECK(nftnl_rule_set_data(&rule, NFTNL_RULE_USERDATA, data.data(), static_cast<std::uint32_t>(data.size())) ==
               0);
}

int append_text(nftnl_expr* expression, void* data) {
  std::array<char, 512> buffer{};
  const int length = nftnl_expr_snprintf(buffer.data(), buffer.size(), expression, NFTNL_OUTPUT_DEFAULT, 0);
  auto& text = *static_cast<std::string*>(data);
  const char* name = nftnl_expr_get_str(expression, NFTNL_EXPR_NAME);
  if (!text.empty()) text += ' ';
  text += "[ ";
  text += name;
  text += ' ';
  if (length > 0) text += buffer.data();
  text += ']';
  return 0;
}

}  // namespace

void NftRule::Free::operator()(nftnl_rule* rule) const {
  nftnl_rule_free(rule);
}

NftRule::NftRule(const std::string& chain, const std::string& comment) : rule_(nftnl_rule_alloc()) {
  SLUICE_CHECK(rule_ != nullptr);
  SLUICE_CHECK(nftnl_rule_set_str(rule_.get(), NFTNL_RULE_CHAIN, chain.c_str()) == 0);
  if (!comment.empty()) set_comment(*rule_, comment);
}

nftnl_expr& NftRule::append(const char* name) {
  nftnl_expr* expression = nftnl_expr_alloc(name);
  SLUICE_CHECK(expression != nullptr);
  nftnl_rule_add_expr(rule_.get(), expression);
  return *expression;
}

NftRule& NftRule::load_payload(std::uint32_t base, std::uint32_t offset, std::uint32_t length, unsigned slot) {
  nftnl_expr& expression = append("payload");
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_PAYLOAD_DREG, register_of(slot));
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_PAYLOAD_BASE, base);
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_PAYLOAD_LEN, length);
  return *this;
}

NftRule& NftRule::load_meta(std::uint32_t key, unsigned slot) {
  nftnl_expr& expression = append("meta");
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_META_KEY, key);
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_META_DREG, register_of(slot));
  return *this;
}

NftRule& NftRule::store_meta(std::uint32_t key, unsigned slot) {
  nftnl_expr& expression = append("meta");
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_META_KEY, key);
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_META_SREG, register_of(slot));
  return *this;
}

NftRule& NftRule::load_conntrack(std::uint32_t key, unsigned slot) {
  nftnl_expr& expression = append("ct");
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_CT_KEY, key);
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_CT_DREG, register_of(slot));
  return *this;
}

NftRule& NftRule::load_fib(std::uint32_t result, std::uint32_t flags, unsigned slot) {
  nftnl_expr& expression = append("fib");
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_FIB_RESULT, result);
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_FIB_FLAGS, flags);
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_FIB_DREG, register_of(slot));
  return *this;
}

NftRule& NftRule::mask(std::span<const std::uint8_t> mask, std::span<const std::uint8_t> flipped, unsigned slot) {
  SLUICE_CHECK(mask.size() == flipped.size());
  nftnl_expr& expression = append("bitwise");
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_BITWISE_SREG, register_of(slot));
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_BITWISE_DREG, register_of(slot));
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_BITWISE_LEN, static_cast<std::uint32_t>(mask.size()));
  set_bytes(expression, NFTNL_EXPR_BITWISE_MASK, mask);
  set_bytes(expression, NFTNL_EXPR_BITWISE_XOR, flipped);
  return *this;
}

NftRule& NftRule::mask(std::uint32_t mask_bits, std::uint32_t flipped, unsigned slot) {
  return mask(bytes_of(mask_bits), bytes_of(flipped), slot);
}

NftRule& NftRule::compare(std::uint32_t operation, std::span<const std::uint8_t> value, unsigned slot) {
  nftnl_expr& expression = append("cmp");
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_CMP_SREG, register_of(slot));
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_CMP_OP, operation);
  set_bytes(expression, NFTNL_EXPR_CMP_DATA, value);
  return *this;
}

NftRule& NftRule::compare(std::uint32_t operation, std::uint32_t value, unsigned slot) {
  return compare(operation, bytes_of(value), slot);
}

NftRule& NftRule::lookup(const std::string& set, unsigned slot) {
  append_lookup(set, slot);
  return *this;
}

nftnl_expr& NftRule::append_lookup(const std::string& set, unsigned slot) {
  nftnl_expr& expression = append("lookup");
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_LOOKUP_SREG, register_of(slot));
  set_text(expression, NFTNL_EXPR_LOOKUP_SET, set);
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_LOOKUP_FLAGS, 0);  // the kernel gives them back, also where there are none
  return expression;
}

NftRule& NftRule::load_value(std::span<const std::uint8_t> value, unsigned slot) {
  nftnl_expr& expression = append("immediate");
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_IMM_DREG, register_of(slot));
  set_bytes(expression, NFTNL_EXPR_IMM_DATA, value);
  return *this;
}

NftRule& NftRule::load_number(std::uint32_t type, std::uint32_t modulus, unsigned slot, std::uint32_t first) {
  nftnl_expr& expression = append("numgen");
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_NG_DREG, register_of(slot));
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_NG_TYPE, type);
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_NG_MODULUS, modulus);
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_NG_OFFSET, first);
  return *this;
}

NftRule& NftRule::load_mapped(const std::string& map, unsigned slot, unsigned value_slot) {
  nftnl_expr_set_u32(&append_lookup(map, slot), NFTNL_EXPR_LOOKUP_DREG, register_of(value_slot));
  return *this;
}

NftRule& NftRule::verdict_of(const std::string& map, unsigned slot) {
  nftnl_expr_set_u32(&append_lookup(map, slot), NFTNL_EXPR_LOOKUP_DREG, NFT_REG_VERDICT);
  return *this;
}

NftRule& NftRule::update_element(const std::string& set, unsigned slot, std::chrono::milliseconds timeout,
                                 std::optional<unsigned> value_slot) {
  nftnl_expr& expression = append("dynset");
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_DYNSET_OP, NFT_DYNSET_OP_UPDATE);
  set_text(expression, NFTNL_EXPR_DYNSET_SET_NAME, set);
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_DYNSET_SREG_KEY, register_of(slot));
  if (value_slot) nftnl_expr_set_u32(&expression, NFTNL_EXPR_DYNSET_SREG_DATA, register_of(*value_slot));
  // The kernel gives it back, also where it is 0.
  nftnl_expr_set_u64(&expression, NFTNL_EXPR_DYNSET_TIMEOUT, static_cast<std::uint64_t>(timeout.count()));
  return *this;
}

NftRule& NftRule::verdict(std::uint32_t code, const std::string& chain) {
  nftnl_expr& expression = append("immediate");
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
  if (!chain.empty()) set_text(expression, NFTNL_EXPR_IMM_CHAIN, chain);
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_IMM_VERDICT, code);
  return *this;
}

NftRule& NftRule::masquerade(std::uint32_t flags) {
  nftnl_expr& expression = append("masq");
  if (flags != 0) nftnl_expr_set_u32(&expression, NFTNL_EXPR_MASQ_FLAGS, flags);
  return *this;
}

NftRule& NftRule::masquerade_to_ports(std::uint32_t flags, unsigned first_slot, unsigned last_slot) {
  nftnl_expr& expression = append("masq");
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_MASQ_FLAGS, flags | NF_NAT_RANGE_PROTO_SPECIFIED);
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_MASQ_REG_PROTO_MIN, register_of(first_slot));
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_MASQ_REG_PROTO_MAX, register_of(last_slot));
  return *this;
}

// The kernel gives back what follows from the registers, too: the range's end, which is its start, and the flags.
NftRule& NftRule::translate_destination(Family family, unsigned address_slot, std::optional<unsigned> port_slot) {
  nftnl_expr& expression = append("nat");
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_NAT_TYPE, NFT_NAT_DNAT);
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_NAT_FAMILY, nft_family(family));
  for (const std::uint16_t attribute : {NFTNL_EXPR_NAT_REG_ADDR_MIN, NFTNL_EXPR_NAT_REG_ADDR_MAX})
    nftnl_expr_set_u32(&expression, attribute, register_of(address_slot));
  std::uint32_t flags = NF_NAT_RANGE_MAP_IPS;
  if (port_slot) {
    for (const std::uint16_t attribute : {NFTNL_EXPR_NAT_REG_PROTO_MIN, NFTNL_EXPR_NAT_REG_PROTO_MAX})
      nftnl_expr_set_u32(&expression, attribute, register_of(*port_slot));
    flags |= NF_NAT_RANGE_PROTO_SPECIFIED;
  }
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_NAT_FLAGS, flags);
  return *this;
}

NftRule& NftRule::reject(std::uint32_t type, std::uint8_t code) {
  nftnl_expr& expression = append("reject");
  nftnl_expr_set_u32(&expression, NFTNL_EXPR_REJECT_TYPE, type);
  nftnl_expr_set_u8(&expression, NFTNL_EXPR_REJECT_CODE, code);
  return *this;
}

std::string NftRule::chain() const {
  return nftnl_rule_get_str(rule_.get(), NFTNL_RULE_CHAIN);
}

std::string NftRule::text() const {
  return nft_rule_text(*rule_);
}

std::string nft_rule_text(nftnl_rule& rule) {
  std::string text;
  nftnl_expr_foreach(&rule, append_text, &text);
  return text;
}

}  // namespace sluice::sys
