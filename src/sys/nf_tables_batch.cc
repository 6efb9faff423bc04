// SPDX-License-Identifier: Apache-2.0
// nf_tables takes changes as a batch: messages between NFNL_MSG_BATCH_BEGIN and _END in one datagram, hence in one
// sendmsg(2) (nfnetlink_rcv_batch() in net/netfilter/nfnetlink.c). The kernel tries all of them before the call
// returns. If it refuses one, it undoes all, and the replies that wait in the socket name it. It follows:
//  - The socket must take the whole datagram: 100,000 elements are 6 MB, far above the usual 208 KiB. SO_SNDBUFFORCE
//    lets root go beyond net.core.wmem_max.
//  - Only the last change requests an acknowledgement. Refusals are sent in any case, so the replies do not grow with
//    the batch.
//  - A list of elements is one attribute, whose length has 16 bits: elements go in messages of less than 64 KiB.
#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "sys/netlink_calls.h"
#include "sys/nf_tables.h"
#include "sys/nf_tables_detail.h"

namespace sluice::sys {
namespace {

using SocketPtr = std::unique_ptr<mnl_socket, decltype(&mnl_socket_close)>;
using TablePtr = std::unique_ptr<nftnl_table, decltype(&nftnl_table_free)>;
using ChainPtr = std::unique_ptr<nftnl_chain, decltype(&nftnl_chain_free)>;
using RulePtr = std::unique_ptr<nftnl_rule, decltype(&nftnl_rule_free)>;
using SetPtr = std::unique_ptr<nftnl_set, decltype(&nftnl_set_free)>;

// libnftnl writes into the buffer without looking at its end: twice what an attribute can hold is enough for any
// message.
constexpr std::size_t kScratchSize = 128 * 1024;
constexpr std::size_t kElementBytesMax = 60'000;
// Headers of an element and of its keys, and those of its value or verdict, with the padding.
constexpr std::size_t kElementHeaders = 56;
constexpr std::size_t kValueHeaders = 40;
constexpr std::size_t kAnswerSize = 64 * 1024;
constexpr int kReplyLost = EPROTO;  // which the kernel's nf_tables never returns

SetPtr make_set(const std::string& table, const std::string& name) {
  SetPtr set(nftnl_set_alloc(), &nftnl_set_free);
  SLUICE_CHECK(set != nullptr);
  SLUICE_CHECK(nftnl_set_set_str(set.get(), NFTNL_SET_TABLE, table.c_str()) == 0);
  SLUICE_CHECK(nftnl_set_set_str(set.get(), NFTNL_SET_NAME, name.c_str()) == 0);
  return set;
}

// nft numbers the type of a key of several fields by putting the fields' numbers of 6 bits behind each other (its
// TYPE_BITS).
std::uint32_t key_type(std::span<const NftField> key) {
  std::uint32_t type = 0;
  for (const NftField field : key) type = type << 6 | static_cast<std::uint32_t>(field);
  return type;
}

void set_data(nftnl_set& set, std::uint16_t attribute, std::span<const std::uint8_t> data) {
  SLUICE_CHECK(nftnl_set_set_data(&set, attribute, data.data(), static_cast<std::uint32_t>(data.size())) == 0);
}

// The byte order in which nft prints a single field: its tag, a length of four bytes, and 1 for the machine's order or
// 2 for the network's. Fields of a concatenation have the order of their types.
void append_byte_order(std::vector<std::uint8_t>& user_data, std::uint8_t tag, std::span<const NftField> fields) {
  if (fields.size() != 1) return;
  const std::uint32_t order = fields[0] == NftField::kMark ? 1 : 2;
  user_data.insert(user_data.end(), {tag, sizeof order});
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&order);
  user_data.insert(user_data.end(), bytes, bytes + sizeof order);
}

void describe_value(nftnl_set& set, const NftSet& wanted) {
  if (wanted.verdicts) nftnl_set_set_u32(&set, NFTNL_SET_DATA_TYPE, NFT_DATA_VERDICT);
  if (wanted.value.empty()) return;
  nftnl_set_set_u32(&set, NFTNL_SET_DATA_TYPE, key_type(wanted.value));
  nftnl_set_set_u32(&set, NFTNL_SET_DATA_LEN, static_cast<std::uint32_t>(nft_key_length(wanted.value)));
}

void describe(nftnl_set& set, const NftSet& wanted) {
  nftnl_set_set_u32(&set, NFTNL_SET_KEY_TYPE, key_type(wanted.key));
  nftnl_set_set_u32(&set, NFTNL_SET_KEY_LEN, static_cast<std::uint32_t>(nft_key_length(wanted.key)));
  describe_value(set, wanted);
  std::vector<std::uint8_t> user_data;
  append_byte_order(user_data, NFTNL_UDATA_SET_KEYBYTEORDER, wanted.key);
  append_byte_order(user_data, NFTNL_UDATA_SET_DATABYTEORDER, wanted.value);
  if (!user_data.empty()) set_data(set, NFTNL_SET_USERDATA, user_data);
  if (const std::uint32_t flags = nft_set_flags(wanted); flags != 0) nftnl_set_set_u32(&set, NFTNL_SET_FLAGS, flags);
  if (wanted.timeout && wanted.timeout->count() > 0)
    nftnl_set_set_u64(&set, NFTNL_SET_TIMEOUT, static_cast<std::uint64_t>(wanted.timeout->count()));
  if (wanted.elements_max != 0) nftnl_set_set_u32(&set, NFTNL_SET_DESC_SIZE, wanted.elements_max);
  if (!wanted.intervals) return;
  SLUICE_CHECK(wanted.key.size() > 1);
  std::vector<std::uint8_t> lengths;
  for (const NftField field : wanted.key) lengths.push_back(static_cast<std::uint8_t>(nft_field_length(field)));
  set_data(set, NFTNL_SET_DESC_CONCAT, lengths);
}

void append_element(nftnl_set& set, const NftElement& element) {
  nftnl_set_elem* added = nftnl_set_elem_alloc();
  SLUICE_CHECK(added != nullptr);
  const auto put = [added](std::uint16_t attribute, const std::vector<std::uint8_t>& bytes) {
    SLUICE_CHECK(nftnl_set_elem_set(added, attribute, bytes.data(), static_cast<std::uint32_t>(bytes.size())) == 0);
  };
  put(NFTNL_SET_ELEM_KEY, element.key);
  if (!element.key_end.empty()) put(NFTNL_SET_ELEM_KEY_END, element.key_end);
  if (!element.value.empty()) put(NFTNL_SET_ELEM_DATA, element.value);
  if (element.verdict) {
    nftnl_set_elem_set_u32(added, NFTNL_SET_ELEM_VERDICT, element.verdict->code);
    if (!element.verdict->chain.empty())
      SLUICE_CHECK(nftnl_set_elem_set_str(added, NFTNL_SET_ELEM_CHAIN, element.verdict->chain.c_str()) == 0);
  }
  nftnl_set_elem_add(&set, added);
}

// As it is in a message.
std::size_t bytes_at_most(const NftElement& element) {
  std::size_t bytes = kElementHeaders + element.key.size() + element.key_end.size();
  if (!element.value.empty()) bytes += kValueHeaders + element.value.size();
  if (element.verdict) bytes += kValueHeaders + element.verdict->chain.size();
  return bytes;
}

Result<SocketPtr> open_socket(std::size_t datagram) {
  SocketPtr socket(mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC), &mnl_socket_close);
  if (!socket) return tl::unexpected(nft_error("open a socket", errno));
  if (mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0)
    return tl::unexpected(nft_error("bind the socket", errno));
  int on = 1;  // refusals without a copy of what was refused
  if (mnl_socket_setsockopt(socket.get(), NETLINK_CAP_ACK, &on, sizeof on) < 0) {
    return tl::unexpected(nft_error("set NETLINK_CAP_ACK", errno));
  }
  // netlink_sendmsg() refuses what is longer than the buffer less 32 bytes.
  const int size = static_cast<int>(datagram + 4096);
  const int descriptor = mnl_socket_get_fd(socket.get());
  if (::setsockopt(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0 &&
      ::setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) < 0) {
    return tl::unexpected(nft_error("enlarge the send buffer", errno));
  }
  return socket;
}

struct Answers {
  bool any = false;
  bool lost = false;           // some, for want of room
  int error = 0;               // the first refusal
  std::uint32_t sequence = 0;  // of what was refused
};

void read_answers(const char* data, int length, Answers& answers) {
  const auto* message = reinterpret_cast<const nlmsghdr*>(data);
  for (; mnl_nlmsg_ok(message, length); message = mnl_nlmsg_next(message, &length)) {
    if (message->nlmsg_type != NLMSG_ERROR || mnl_nlmsg_get_payload_len(message) < sizeof(nlmsgerr)) continue;
    answers.any = true;
    const int error = -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message))->error;
    if (error == 0 || answers.error != 0) continue;
    answers.error = error;
    answers.sequence = message->nlmsg_seq;
  }
}

// All replies are there when sendmsg(2) has returned, so there is nothing to wait for. ENOBUFS: there were more than the
// socket's buffer holds; the first ones are there.
Answers receive_answers(mnl_socket& socket) {
  Answers answers;
  std::vector<char> buffer(kAnswerSize);
  while (true) {
    const ssize_t received = netlink_calls().receive(mnl_socket_get_fd(&socket), buffer, MSG_DONTWAIT);
    if (received >= 0) {
      read_answers(buffer.data(), static_cast<int>(received), answers);
    } else if (errno == ENOBUFS) {
      answers.lost = true;
    } else if (errno != EINTR) {
      if (errno != EAGAIN) answers.lost = true;
      return answers;
    }
  }
}

}  // namespace

std::uint8_t nft_family(Family family) {
  return family == Family::kIPv4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
}

std::string nft_table_name(Family family, const std::string& table) {
  return fmt::format("table {} {}", family == Family::kIPv4 ? "ip" : "ip6", table);
}

bool nft_outcome_unknown(const Error& error) {
  return error.sys_errno == kReplyLost;
}

Error nft_error(const std::string& doing, int error) {
  const Errc code = error == EPERM || error == EACCES                                            ? Errc::kPermission
                    : error == ENOENT                                                            ? Errc::kNotFound
                    : error == EEXIST || error == ENOTEMPTY                                      ? Errc::kAlreadyExists
                    : error == EINVAL || error == ERANGE                                         ? Errc::kInvalid
                    : error == EOPNOTSUPP || error == EPROTONOSUPPORT || error == EAFNOSUPPORT   ? Errc::kUnsupported
                    : error == EMSGSIZE || error == ENFILE || error == ENOSPC || error == EMLINK ? Errc::kExhausted
                    : error == EAGAIN || error == EBUSY || error == ENOBUFS || error == ENOMEM || error == EINTR
                        ? Errc::kUnavailable
                        : Errc::kInternal;
  return Error{code, fmt::format("nftables: {}: {}", doing, std::strerror(error)), error};
}

std::size_t nft_field_length(NftField field) {
  switch (field) {
    case NftField::kIPv4Address:
      return 4;
    case NftField::kIPv6Address:
      return 16;
    case NftField::kInetProtocol:
      return 1;
    case NftField::kInetService:
      return 2;
    case NftField::kMark:
      return 4;
  }
  SLUICE_CHECK(false);
}

std::uint32_t nft_set_flags(const NftSet& set) {
  std::uint32_t flags = 0;
  if (set.intervals) flags |= NFT_SET_INTERVAL | NFT_SET_CONCAT;
  if (set.verdicts || !set.value.empty()) flags |= NFT_SET_MAP;
  if (set.dynamic) flags |= NFT_SET_EVAL;
  if (set.timeout) flags |= NFT_SET_TIMEOUT;
  return flags;
}

std::size_t nft_key_length(std::span<const NftField> key) {
  if (key.size() == 1) return nft_field_length(key[0]);
  std::size_t length = 0;
  for (const NftField field : key) length += (nft_field_length(field) + 3) / 4 * 4;
  return length;
}

NftBatch::NftBatch(Family family, std::string table) : family_(family), table_(std::move(table)) {}

nlmsghdr& NftBatch::begin_message(unsigned type, unsigned flags, std::string description) {
  scratch_.resize(kScratchSize);
  described_.push_back(std::move(description));
  return *nftnl_nlmsg_build_hdr(scratch_.data(), static_cast<std::uint16_t>(type), nft_family(family_),
                                static_cast<std::uint16_t>(flags), static_cast<std::uint32_t>(described_.size()));
}

void NftBatch::end_message() {
  const auto* message = reinterpret_cast<const nlmsghdr*>(scratch_.data());
  SLUICE_CHECK(message->nlmsg_len <= scratch_.size());
  last_begins_ = messages_.size();
  messages_.insert(messages_.end(), scratch_.begin(),
                   scratch_.begin() + static_cast<std::ptrdiff_t>(MNL_ALIGN(message->nlmsg_len)));
}

void NftBatch::add_table() {
  const TablePtr table(nftnl_table_alloc(), &nftnl_table_free);
  SLUICE_CHECK(table != nullptr && nftnl_table_set_str(table.get(), NFTNL_TABLE_NAME, table_.c_str()) == 0);
  nlmsghdr& message = begin_message(NFT_MSG_NEWTABLE, NLM_F_CREATE, "add the table");
  nftnl_table_nlmsg_build_payload(&message, table.get());
  end_message();
}

void NftBatch::wake_table() {
  const TablePtr table(nftnl_table_alloc(), &nftnl_table_free);
  SLUICE_CHECK(table != nullptr && nftnl_table_set_str(table.get(), NFTNL_TABLE_NAME, table_.c_str()) == 0);
  nftnl_table_set_u32(table.get(), NFTNL_TABLE_FLAGS, 0);
  nlmsghdr& message = begin_message(NFT_MSG_NEWTABLE, 0, "wake the table");
  nftnl_table_nlmsg_build_payload(&message, table.get());
  end_message();
}

void NftBatch::delete_table() {
  const TablePtr table(nftnl_table_alloc(), &nftnl_table_free);
  SLUICE_CHECK(table != nullptr && nftnl_table_set_str(table.get(), NFTNL_TABLE_NAME, table_.c_str()) == 0);
  nlmsghdr& message = begin_message(NFT_MSG_DELTABLE, 0, "delete the table");
  nftnl_table_nlmsg_build_payload(&message, table.get());
  end_message();
}

void NftBatch::add_chain(const NftChain& chain) {
  const ChainPtr added(nftnl_chain_alloc(), &nftnl_chain_free);
  SLUICE_CHECK(added != nullptr);
  SLUICE_CHECK(nftnl_chain_set_str(added.get(), NFTNL_CHAIN_TABLE, table_.c_str()) == 0);
  SLUICE_CHECK(nftnl_chain_set_str(added.get(), NFTNL_CHAIN_NAME, chain.name.c_str()) == 0);
  if (chain.hook) {
    SLUICE_CHECK(nftnl_chain_set_str(added.get(), NFTNL_CHAIN_TYPE, chain.hook->type.c_str()) == 0);
    nftnl_chain_set_u32(added.get(), NFTNL_CHAIN_HOOKNUM, chain.hook->number);
    nftnl_chain_set_s32(added.get(), NFTNL_CHAIN_PRIO, chain.hook->priority);
    nftnl_chain_set_u32(added.get(), NFTNL_CHAIN_POLICY, chain.hook->policy);
  }
  nlmsghdr& message = begin_message(NFT_MSG_NEWCHAIN, NLM_F_CREATE, "add chain " + chain.name);
  nftnl_chain_nlmsg_build_payload(&message, added.get());
  end_message();
}

void NftBatch::delete_chain(const std::string& chain) {
  const ChainPtr deleted(nftnl_chain_alloc(), &nftnl_chain_free);
  SLUICE_CHECK(deleted != nullptr);
  SLUICE_CHECK(nftnl_chain_set_str(deleted.get(), NFTNL_CHAIN_TABLE, table_.c_str()) == 0);
  SLUICE_CHECK(nftnl_chain_set_str(deleted.get(), NFTNL_CHAIN_NAME, chain.c_str()) == 0);
  nlmsghdr& message = begin_message(NFT_MSG_DELCHAIN, 0, "delete chain " + chain);
  nftnl_chain_nlmsg_build_payload(&message, deleted.get());
  end_message();
}

// A removal that names a chain and no rule is one of all its rules (nf_tables_delrule() in nf_tables_api.c).
void NftBatch::delete_rules(const std::string& chain) {
  const RulePtr deleted(nftnl_rule_alloc(), &nftnl_rule_free);
  SLUICE_CHECK(deleted != nullptr);
  SLUICE_CHECK(nftnl_rule_set_str(deleted.get(), NFTNL_RULE_TABLE, table_.c_str()) == 0);
  SLUICE_CHECK(nftnl_rule_set_str(deleted.get(), NFTNL_RULE_CHAIN, chain.c_str()) == 0);
  nlmsghdr& message = begin_message(NFT_MSG_DELRULE, 0, "delete the rules of chain " + chain);
  nftnl_rule_nlmsg_build_payload(&message, deleted.get());
  end_message();
}

void NftBatch::delete_set(const std::string& set) {
  const SetPtr deleted = make_set(table_, set);
  nlmsghdr& message = begin_message(NFT_MSG_DELSET, 0, "delete set " + set);
  nftnl_set_nlmsg_build_payload(&message, deleted.get());
  end_message();
}

void NftBatch::add_set(const NftSet& set) {
  const SetPtr added = make_set(table_, set.name);
  describe(*added, set);
  nftnl_set_set_u32(added.get(), NFTNL_SET_ID,
                    ++sets_);  // the kernel requires one, though only rules of the same batch would use it
  nlmsghdr& message = begin_message(NFT_MSG_NEWSET, NLM_F_CREATE, "add set " + set.name);
  nftnl_set_nlmsg_build_payload(&message, added.get());
  end_message();
}

void NftBatch::add_rule(const NftRule& rule) {
  SLUICE_CHECK(nftnl_rule_set_str(rule.rule_.get(), NFTNL_RULE_TABLE, table_.c_str()) == 0);
  nlmsghdr& message = begin_message(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND,
                                    fmt::format("add to chain {} the rule {}", rule.chain(), rule.text()));
  nftnl_rule_nlmsg_build_payload(&message, rule.rule_.get());
  end_message();
}

void NftBatch::put_elements(unsigned type, unsigned flags, const std::string& set, std::span<const NftElement> elements,
                            std::string_view verb) {
  while (!elements.empty()) {
    std::size_t count = 0;
    for (std::size_t bytes = 0; count < elements.size(); ++count) {
      bytes += bytes_at_most(elements[count]);
      if (count > 0 && bytes > kElementBytesMax) break;
    }
    const auto some = elements.first(count);
    const SetPtr listed = make_set(table_, set);
    for (const NftElement& element : some) append_element(*listed, element);
    nlmsghdr& message = begin_message(type, flags, fmt::format("{} {} elements of set {}", verb, some.size(), set));
    nftnl_set_elems_nlmsg_build_payload(&message, listed.get());
    end_message();
    elements = elements.subspan(some.size());
  }
}

void NftBatch::add_elements(const std::string& set, std::span<const NftElement> elements) {
  put_elements(NFT_MSG_NEWSETELEM, NLM_F_CREATE, set, elements, "add");
}

void NftBatch::remove_elements(const std::string& set, std::span<const NftElement> elements) {
  put_elements(NFT_MSG_DELSETELEM, 0, set, elements, "remove");
}

Result<> NftBatch::commit() const {
  return send(Ending::kCommit);
}

// Without its end the kernel tries a batch and undoes it (nfnetlink_rcv_batch()), as `nft --check` wants it.
Result<> NftBatch::check() const {
  return send(Ending::kUndo);
}

Result<> NftBatch::send(Ending ending) const {
  if (described_.empty()) return {};
  std::array<char, 64> frame{};
  const nlmsghdr* begin = nftnl_batch_begin(frame.data(), 0);
  std::vector<char> datagram(frame.begin(), frame.begin() + begin->nlmsg_len);
  const std::size_t last = datagram.size() + last_begins_;
  datagram.insert(datagram.end(), messages_.begin(), messages_.end());
  reinterpret_cast<nlmsghdr*>(datagram.data() + last)->nlmsg_flags |= NLM_F_ACK;
  const nlmsghdr* end = nftnl_batch_end(frame.data(), static_cast<std::uint32_t>(described_.size() + 1));
  if (ending == Ending::kCommit) datagram.insert(datagram.end(), frame.begin(), frame.begin() + end->nlmsg_len);

  SLUICE_TRY(const SocketPtr socket, open_socket(datagram.size()));
  const std::string table = nft_table_name(family_, table_);
  if (netlink_calls().send(mnl_socket_get_fd(socket.get()), datagram) < 0) {
    return tl::unexpected(nft_error(fmt::format("{}: send {} changes", table, described_.size()), errno));
  }
  const Answers answers = receive_answers(*socket);
  if (answers.error != 0) {
    const bool known = answers.sequence >= 1 && answers.sequence <= described_.size();
    const std::string what =
        known ? described_[answers.sequence - 1] : fmt::format("commit {} changes", described_.size());
    return tl::unexpected(nft_error(fmt::format("{}: {}", table, what), answers.error));
  }
  // An acknowledgement says that the last change was accepted; where others were refused, those replies may be lost.
  if (!answers.any || answers.lost) {
    return tl::unexpected(
        nft_error(fmt::format("{}: the reply to {} changes was lost", table, described_.size()), kReplyLost));
  }
  return {};
}

}  // namespace sluice::sys
