// SPDX-License-Identifier: Apache-2.0
// A rule may have no expressions at all; then only its comment is left (nf_tables_newrule() in
// net/netfilter/nf_tables_api.c). The comment is the rule's user data, in the form of the nft program: type, length,
// the text with its NUL.
#include "sys/node_notes.h"

#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/rule.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <memory>

#include "sys/netlink_dump.h"
#include "sys/nf_tables.h"

namespace sluice::sys {
namespace {

struct Freer {
  void operator()(nftnl_rule* rule) const { nftnl_rule_free(rule); }
};

std::string comment_of(const nftnl_rule& rule) {
  std::uint32_t length = 0;
  const auto* data = static_cast<const std::uint8_t*>(nftnl_rule_get_data(&rule, NFTNL_RULE_USERDATA, &length));
  while (data != nullptr && length >= 2) {
    const std::uint32_t size = data[1];
    if (length - 2 < size) break;
    if (data[0] == NFTNL_UDATA_RULE_COMMENT && size > 0) return {reinterpret_cast<const char*>(data + 2), size - 1};
    data += 2 + size;
    length -= 2 + size;
  }
  return {};
}

Result<NodeNotes> read_notes() {
  std::array<char, 1024> buffer{};
  nlmsghdr& request =
      *nftnl_nlmsg_build_hdr(buffer.data(), NFT_MSG_GETRULE, NFPROTO_IPV4, static_cast<std::uint16_t>(NLM_F_DUMP), 0);
  mnl_attr_put_strz(&request, NFTA_RULE_TABLE, kNodeNotesTable);
  NodeNotes notes;
  const DumpReader reader{[&] { notes.clear(); },
                          [&](const nlmsghdr& message) {
                            const std::unique_ptr<nftnl_rule, Freer> rule(nftnl_rule_alloc());
                            if (nftnl_rule_nlmsg_parse(&message, rule.get()) < 0) return;
                            const char* table = nftnl_rule_get_str(rule.get(), NFTNL_RULE_TABLE);
                            const char* chain = nftnl_rule_get_str(rule.get(), NFTNL_RULE_CHAIN);
                            if (table == nullptr || chain == nullptr || std::string(table) != kNodeNotesTable) return;
                            std::string text = comment_of(*rule);
                            if (!text.empty()) notes[chain].push_back(std::move(text));
                          }};
  const auto dumped = dump_netlink(NETLINK_NETFILTER, request, reader);
  if (!dumped && dumped.error().sys_errno == ENOENT) return NodeNotes();
  if (!dumped) return annotate(dumped.error(), "nftables: list the notes of this node");
  return notes;
}

Result<> write_notes(const NodeNotes& notes) {
  for (const auto& [kind, texts] : notes) {
    for (const std::string& text : texts) {
      if (text.size() > kNoteBytesMax) return fail(Errc::kInvalid, fmt::format("too long for a note: {}", text));
    }
  }
  SLUICE_TRY(const auto before, read_nft_table(Family::kIPv4, kNodeNotesTable));
  NftBatch batch(Family::kIPv4, kNodeNotesTable);
  if (before) batch.delete_table();
  if (!notes.empty()) batch.add_table();
  for (const auto& [kind, texts] : notes) {
    batch.add_chain({kind, std::nullopt});
    for (const std::string& text : texts) batch.add_rule(NftRule(kind, text));
  }
  return batch.messages() == 0 ? Result<>() : batch.commit();
}

}  // namespace

NotesAccess kernel_notes() {
  return {.read = read_notes, .write = write_notes};
}

Result<> replace_notes(const NotesAccess& access, const std::string& kind, const std::vector<std::string>& texts) {
  SLUICE_TRY(NodeNotes notes, access.read());
  const auto there = notes.find(kind);
  if (there == notes.end() ? texts.empty() : there->second == texts) return {};
  if (texts.empty()) {
    notes.erase(kind);
  } else {
    notes[kind] = texts;
  }
  return access.write(notes);
}

}  // namespace sluice::sys
