// SPDX-License-Identifier: Apache-2.0
// nf_tables lists its tables, chains, rules, sets and elements by netlink dumps. The kernel picks rules and sets by
// table; tables and chains come all of the family and are picked here. A dump during which any table of the namespace
// changed, whosever it is, is repeated (netlink_dump.h); where others change theirs all the time, the last attempt
// counts, and what is missing in it is written again by the caller, which does no harm.
#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/gen.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "base/check.h"
#include "sys/netlink_dump.h"
#include "sys/nf_tables.h"
#include "sys/nf_tables_detail.h"

namespace sluice::sys {
namespace {

template <typename T, void (*Free)(const T*)>
struct Freer {
  void operator()(const T* object) const { Free(object); }
};
using TablePtr = std::unique_ptr<nftnl_table, Freer<nftnl_table, nftnl_table_free>>;
using ChainPtr = std::unique_ptr<nftnl_chain, Freer<nftnl_chain, nftnl_chain_free>>;
using RulePtr = std::unique_ptr<nftnl_rule, Freer<nftnl_rule, nftnl_rule_free>>;
using GenPtr = std::unique_ptr<nftnl_gen, Freer<nftnl_gen, nftnl_gen_free>>;
using SetPtr = std::unique_ptr<nftnl_set, Freer<nftnl_set, nftnl_set_free>>;

// The names of tables and sets have up to 256 bytes (NFT_NAME_MAXLEN).
using RequestBuffer = std::array<char, 1024>;

nlmsghdr& put_dump_request(RequestBuffer& buffer, unsigned type, Family family) {
  return *nftnl_nlmsg_build_hdr(buffer.data(), static_cast<std::uint16_t>(type), nft_family(family), NLM_F_DUMP, 0);
}

Result<> dump(nlmsghdr& request, const std::string& what, const DumpReader& reader) {
  const auto dumped = dump_netlink(NETLINK_NETFILTER, request, reader);
  if (dumped) return {};
  // A kernel without nf_tables lacks the subsystem and returns EINVAL (nfnetlink_rcv_msg()); netlink_dump reports
  // unsupported then.
  if (dumped.error().sys_errno == ENOENT) return tl::unexpected(nft_error(what, ENOENT));
  return annotate(dumped.error(), "nftables: " + what);
}

struct Reading {
  Family family;
  const std::string& name;
  [[nodiscard]] bool is_ours(const char* table) const { return table != nullptr && name == table; }
};

Result<bool> read_table(const Reading& reading, NftTable& table) {
  RequestBuffer buffer{};
  bool found = false;
  const DumpReader reader{[&] { found = false; },
                          [&](const nlmsghdr& message) {
                            const TablePtr one(nftnl_table_alloc());
                            if (nftnl_table_nlmsg_parse(&message, one.get()) < 0) return;
                            if (!reading.is_ours(nftnl_table_get_str(one.get(), NFTNL_TABLE_NAME))) return;
                            found = true;
                            table.dormant =
                                (nftnl_table_get_u32(one.get(), NFTNL_TABLE_FLAGS) & NFT_TABLE_F_DORMANT) != 0;
                          }};
  SLUICE_CHECK_OK(dump(put_dump_request(buffer, NFT_MSG_GETTABLE, reading.family), "list the tables", reader));
  return found;
}

NftChain chain_from(const nftnl_chain& chain) {
  NftChain result{nftnl_chain_get_str(&chain, NFTNL_CHAIN_NAME), std::nullopt};
  if (const char* type = nftnl_chain_get_str(&chain, NFTNL_CHAIN_TYPE); type != nullptr) {
    result.hook =
        NftHook{type, nftnl_chain_get_u32(&chain, NFTNL_CHAIN_HOOKNUM), nftnl_chain_get_s32(&chain, NFTNL_CHAIN_PRIO),
                nftnl_chain_get_u32(&chain, NFTNL_CHAIN_POLICY)};
  }
  return result;
}

Result<> read_chains(const Reading& reading, NftTable& table) {
  RequestBuffer buffer{};
  const DumpReader reader{[&] { table.chains.clear(); },
                          [&](const nlmsghdr& message) {
                            const ChainPtr one(nftnl_chain_alloc());
                            if (nftnl_chain_nlmsg_parse(&message, one.get()) < 0) return;
                            if (!reading.is_ours(nftnl_chain_get_str(one.get(), NFTNL_CHAIN_TABLE))) return;
                            NftChain chain = chain_from(*one);
                            table.chains.insert_or_assign(chain.name, std::move(chain));
                          }};
  return dump(put_dump_request(buffer, NFT_MSG_GETCHAIN, reading.family), "list the chains", reader);
}

Result<> read_rules(const Reading& reading, NftTable& table) {
  RequestBuffer buffer{};
  nlmsghdr& request = put_dump_request(buffer, NFT_MSG_GETRULE, reading.family);
  mnl_attr_put_strz(&request, NFTA_RULE_TABLE, reading.name.c_str());
  const DumpReader reader{[&] { table.rules.clear(); },
                          [&](const nlmsghdr& message) {
                            const RulePtr one(nftnl_rule_alloc());
                            const bool parsed = nftnl_rule_nlmsg_parse(&message, one.get()) >= 0;
                            if (!reading.is_ours(nftnl_rule_get_str(one.get(), NFTNL_RULE_TABLE))) return;
                            const char* chain = nftnl_rule_get_str(one.get(), NFTNL_RULE_CHAIN);
                            if (chain == nullptr) return;
                            // An expression that libnftnl does not support.
                            table.rules[chain].push_back(parsed ? nft_rule_text(*one) : "[ unknown ]");
                          }};
  return dump(request, "list the rules of " + nft_table_name(reading.family, reading.name), reader);
}

bool is_known(std::uint32_t field) {
  using enum NftField;
  return std::ranges::any_of(std::array{kIPv4Address, kIPv6Address, kInetProtocol, kInetService, kMark},
                             [field](NftField known) { return static_cast<std::uint32_t>(known) == field; });
}

std::vector<NftField> key_from(std::uint32_t type) {
  std::vector<NftField> key;
  for (; type != 0; type >>= 6) {
    if (!is_known(type & 0x3f)) return {};
    key.insert(key.begin(), static_cast<NftField>(type & 0x3f));
  }
  return key;
}

NftSet set_from(const nftnl_set& set) {
  const std::uint32_t flags = nftnl_set_get_u32(&set, NFTNL_SET_FLAGS);
  NftSet result{nftnl_set_get_str(&set, NFTNL_SET_NAME), key_from(nftnl_set_get_u32(&set, NFTNL_SET_KEY_TYPE)),
                (flags & NFT_SET_INTERVAL) != 0};
  result.dynamic = (flags & NFT_SET_EVAL) != 0;
  if ((flags & NFT_SET_TIMEOUT) != 0)
    result.timeout = std::chrono::milliseconds(nftnl_set_get_u64(&set, NFTNL_SET_TIMEOUT));
  if ((flags & NFT_SET_MAP) != 0) {
    const std::uint32_t type = nftnl_set_get_u32(&set, NFTNL_SET_DATA_TYPE);
    result.verdicts = type == NFT_DATA_VERDICT;
    if (!result.verdicts) result.value = key_from(type);
  }
  result.elements_max = nftnl_set_get_u32(&set, NFTNL_SET_DESC_SIZE);
  if (nft_set_flags(result) != flags) result.key.clear();
  return result;
}

Result<> read_sets(const Reading& reading, NftTable& table) {
  RequestBuffer buffer{};
  nlmsghdr& request = put_dump_request(buffer, NFT_MSG_GETSET, reading.family);
  mnl_attr_put_strz(&request, NFTA_SET_TABLE, reading.name.c_str());
  const DumpReader reader{[&] { table.sets.clear(); },
                          [&](const nlmsghdr& message) {
                            const SetPtr one(nftnl_set_alloc());
                            if (nftnl_set_nlmsg_parse(&message, one.get()) < 0) return;
                            if (!reading.is_ours(nftnl_set_get_str(one.get(), NFTNL_SET_TABLE))) return;
                            NftSet set = set_from(*one);
                            table.sets.insert_or_assign(set.name, std::move(set));
                          }};
  return dump(request, "list the sets of " + nft_table_name(reading.family, reading.name), reader);
}

std::vector<std::uint8_t> bytes_of(nftnl_set_elem& element, std::uint16_t attribute) {
  if (!nftnl_set_elem_is_set(&element, attribute)) return {};
  std::uint32_t length = 0;
  const auto* bytes = static_cast<const std::uint8_t*>(nftnl_set_elem_get(&element, attribute, &length));
  return {bytes, bytes + length};
}

std::optional<NftVerdict> verdict_of(nftnl_set_elem& element) {
  if (!nftnl_set_elem_is_set(&element, NFTNL_SET_ELEM_VERDICT)) return std::nullopt;
  NftVerdict verdict{nftnl_set_elem_get_u32(&element, NFTNL_SET_ELEM_VERDICT)};
  if (const char* chain = nftnl_set_elem_get_str(&element, NFTNL_SET_ELEM_CHAIN); chain != nullptr)
    verdict.chain = chain;
  return verdict;
}

int hand_over(nftnl_set_elem* element, void* data) {
  static_cast<const NftElementReader*>(data)->element({bytes_of(*element, NFTNL_SET_ELEM_KEY),
                                                       bytes_of(*element, NFTNL_SET_ELEM_KEY_END),
                                                       bytes_of(*element, NFTNL_SET_ELEM_DATA), verdict_of(*element)});
  return 0;
}

}  // namespace

Result<bool> has_nft_table(Family family, const std::string& table) {
  NftTable read;
  return read_table({family, table}, read);
}

Result<std::optional<NftTable>> read_nft_table(Family family, const std::string& table) {
  const Reading reading{family, table};
  NftTable read;
  SLUICE_TRY(const bool found, read_table(reading, read));
  if (!found) return std::optional<NftTable>();
  SLUICE_CHECK_OK(read_chains(reading, read));
  SLUICE_CHECK_OK(read_rules(reading, read));
  const auto sets = read_sets(reading, read);
  // It was removed meanwhile.
  if (!sets && sets.error().code == Errc::kNotFound) return std::optional<NftTable>();
  if (!sets) return tl::unexpected(sets.error());
  return std::optional<NftTable>(std::move(read));
}

Result<std::uint32_t> nft_generation() {
  RequestBuffer buffer{};
  // No dump: one reply, whose end is the acknowledgement.
  nlmsghdr& request = *nftnl_nlmsg_build_hdr(buffer.data(), NFT_MSG_GETGEN, AF_UNSPEC, NLM_F_ACK, 0);
  std::uint32_t generation = 0;
  const DumpReader reader{[&] { generation = 0; },
                          [&](const nlmsghdr& message) {
                            const GenPtr one(nftnl_gen_alloc());
                            if (nftnl_gen_nlmsg_parse(&message, one.get()) < 0) return;
                            generation = nftnl_gen_get_u32(one.get(), NFTNL_GEN_ID);
                          }};
  SLUICE_CHECK_OK(dump(request, "ask for the generation", reader));
  return generation;
}

Result<> read_nft_elements(Family family, const std::string& table, const std::string& set,
                           const NftElementReader& reader) {
  RequestBuffer buffer{};
  nlmsghdr& request = put_dump_request(buffer, NFT_MSG_GETSETELEM, family);
  mnl_attr_put_strz(&request, NFTA_SET_ELEM_LIST_TABLE, table.c_str());
  mnl_attr_put_strz(&request, NFTA_SET_ELEM_LIST_SET, set.c_str());
  NftElementReader to = reader;  // libnftnl passes on a pointer to what may change
  const DumpReader replies{reader.restart, [&](const nlmsghdr& message) {
                             const SetPtr some(nftnl_set_alloc());
                             if (nftnl_set_elems_nlmsg_parse(&message, some.get()) < 0) return;
                             nftnl_set_elem_foreach(some.get(), hand_over, &to);
                           }};
  return dump(request, fmt::format("list set {} of {}", set, nft_table_name(family, table)), replies);
}

Result<std::vector<NftElement>> read_nft_elements(Family family, const std::string& table, const std::string& set) {
  std::vector<NftElement> elements;
  SLUICE_CHECK_OK(
      read_nft_elements(family, table, set,
                        {[&] { elements.clear(); }, [&](const NftElement& element) { elements.push_back(element); }}));
  std::ranges::sort(elements);
  elements.erase(std::unique(elements.begin(), elements.end()), elements.end());
  return elements;
}

}  // namespace sluice::sys
