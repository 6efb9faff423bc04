// SPDX-License-Identifier: Apache-2.0
// nf_tables without the nft program: tables, chains, rules, sets and elements written in one transaction, and read
// back. All functions act on the calling thread's network namespace; reading changes nothing.
#pragma once

#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

struct nftnl_expr;
struct nftnl_rule;
struct nlmsghdr;

namespace sluice::sys {

// What keys of sets and values of maps are made of. The numbers are the nft program's own (its include/datatype.h),
// which prints elements by them; to the kernel a key is bytes. kMark is a number of 32 bits in the machine's order: a
// packet's mark, or what NftRule::load_number() makes, for which nft has no name of its own.
enum class NftField : std::uint8_t {
  kIPv4Address = 7,
  kIPv6Address = 8,
  kInetProtocol = 12,
  kInetService = 13,
  kMark = 19
};
std::size_t nft_field_length(NftField field);
// In a key each field starts at a multiple of four bytes, as each is in 32-bit registers of its own.
std::size_t nft_key_length(std::span<const NftField> key);

// A set, or a map from keys to values or verdicts.
struct NftSet {
  std::string name;
  // In order. Empty, from read_nft_table(), where the set is of a kind that cannot be written here.
  std::vector<NftField> key;
  bool intervals = false;         // elements are ranges, field by field; for keys of two or more fields
  std::vector<NftField> value{};  // of a map's elements; empty for sets and for maps of verdicts
  bool verdicts = false;          // a map of verdicts
  bool dynamic = false;           // rules add and update elements (NftRule::update_element())
  // Elements go when their time is over: their own, or this one where they have none. Absent: they stay.
  std::optional<std::chrono::milliseconds> timeout{};
  std::uint32_t elements_max = 0;  // 0: no bound; the kernel refuses more
  friend auto operator<=>(const NftSet&, const NftSet&) = default;
};

// What happens to a packet: NF_ACCEPT, NF_DROP, or NFT_JUMP and NFT_GOTO with a chain.
struct NftVerdict {
  std::uint32_t code = 0;
  std::string chain{};
  friend auto operator<=>(const NftVerdict&, const NftVerdict&) = default;
};

struct NftElement {
  std::vector<std::uint8_t> key;  // network order, but for kMark
  // The last key of the range; as long as `key` in a set of intervals, empty in any other.
  std::vector<std::uint8_t> key_end;
  std::vector<std::uint8_t> value{};    // in a map of values, each field padded as in a key of several fields
  std::optional<NftVerdict> verdict{};  // in a map of verdicts
  friend auto operator<=>(const NftElement&, const NftElement&) = default;
};

struct NftHook {
  std::string type;          // "filter", "nat", "route"
  std::uint32_t number = 0;  // NF_INET_...
  std::int32_t priority = 0;
  std::uint32_t policy = 1;  // NF_ACCEPT
  friend auto operator<=>(const NftHook&, const NftHook&) = default;
};

struct NftChain {
  std::string name;
  std::optional<NftHook> hook;  // none: entered by jumps alone
  friend auto operator<=>(const NftChain&, const NftChain&) = default;
};

// One rule, written left to right: load something into a register, compare it, act. A register is named by the first of
// its 32-bit slots, 0 to 15; a value of 16 bytes takes four. Values are in network order, unless stated otherwise.
class NftRule {
 public:
  explicit NftRule(const std::string& chain, const std::string& comment = {});

  NftRule& load_payload(std::uint32_t base, std::uint32_t offset, std::uint32_t length,
                        unsigned slot = 0);                  // NFT_PAYLOAD_...
  NftRule& load_meta(std::uint32_t key, unsigned slot = 0);  // NFT_META_...; numbers in the machine's order
  NftRule& store_meta(std::uint32_t key, unsigned slot = 0);
  NftRule& load_conntrack(std::uint32_t key, unsigned slot = 0);  // NFT_CT_...; the machine's order
  NftRule& load_fib(std::uint32_t result, std::uint32_t flags,
                    unsigned slot = 0);  // NFT_FIB_RESULT_..., NFTA_FIB_F_...
  // register = (register & mask) ^ flipped, both of the register's length.
  NftRule& mask(std::span<const std::uint8_t> mask, std::span<const std::uint8_t> flipped, unsigned slot = 0);
  NftRule& mask(std::uint32_t mask, std::uint32_t flipped, unsigned slot = 0);
  NftRule& compare(std::uint32_t operation, std::span<const std::uint8_t> value, unsigned slot = 0);  // NFT_CMP_...
  NftRule& compare(std::uint32_t operation, std::uint32_t value, unsigned slot = 0);
  NftRule& load_value(std::span<const std::uint8_t> value, unsigned slot = 0);
  // A number from `first` to `first` + modulus - 1: the next one (NFT_NG_INCREMENTAL), or a random one (NFT_NG_RANDOM).
  NftRule& load_number(std::uint32_t type, std::uint32_t modulus, unsigned slot = 0, std::uint32_t first = 0);
  NftRule& lookup(const std::string& set,
                  unsigned slot = 0);  // goes on where the key that starts at `slot` is in the set
  // Go on where the key that starts at `slot` is in the map: with its value from `value_slot` on, or by its verdict.
  NftRule& load_mapped(const std::string& map, unsigned slot, unsigned value_slot);
  NftRule& verdict_of(const std::string& map, unsigned slot = 0);
  // Adds the element whose key starts at `slot` to a dynamic set with timeouts, or starts its time anew (kernel:
  // NFT_DYNSET_OP_UPDATE). Its time is `timeout`, or the set's where that is 0. Of a map: with the value from
  // `value_slot` on, unless the element is there already.
  NftRule& update_element(const std::string& set, unsigned slot, std::chrono::milliseconds timeout = {},
                          std::optional<unsigned> value_slot = std::nullopt);
  NftRule& verdict(std::uint32_t code, const std::string& chain = {});  // NF_..., NFT_...
  NftRule& masquerade(std::uint32_t flags);                             // NF_NAT_RANGE_...
  // The source port is one from that at `first_slot` to that at `last_slot`.
  NftRule& masquerade_to_ports(std::uint32_t flags, unsigned first_slot, unsigned last_slot);
  // Replaces the destination by the address, and the port where there is one, that start at these slots.
  NftRule& translate_destination(Family family, unsigned address_slot, std::optional<unsigned> port_slot);
  NftRule& reject(std::uint32_t type, std::uint8_t code);  // NFT_REJECT_..., code of the ICMP message

  [[nodiscard]] std::string chain() const;
  // "[ meta load mark => reg 1 ] [ ... ]": equal for two rules that do the same in the same way.
  [[nodiscard]] std::string text() const;

 private:
  friend class NftBatch;
  nftnl_expr& append(const char* name);
  nftnl_expr& append_lookup(const std::string& set, unsigned slot);
  struct Free {
    void operator()(nftnl_rule* rule) const;
  };
  std::unique_ptr<nftnl_rule, Free> rule_;
};

// Changes of one table, which come into force together or not at all.
class NftBatch {
 public:
  NftBatch(Family family, std::string table);

  void add_table();
  void wake_table();  // so that it is not dormant
  void delete_table();
  void add_chain(const NftChain& chain);
  void add_set(const NftSet& set);
  void delete_chain(const std::string& chain);  // without rules, and nothing jumps to it
  void delete_set(const std::string& set);      // which no rule uses; its elements go with it
  void add_rule(const NftRule& rule);           // behind those that its chain has
  void delete_rules(const std::string& chain);  // all of the chain; nothing where it has none
  // An element that is there already is left; one that is to be removed and is not there fails the batch with
  // Errc::kNotFound.
  void add_elements(const std::string& set, std::span<const NftElement> elements);
  void remove_elements(const std::string& set, std::span<const NftElement> elements);

  [[nodiscard]] std::size_t messages() const { return described_.size(); }
  [[nodiscard]] std::span<const char> bytes() const { return messages_; }  // of all messages
  // The Error names the first change that the kernel refused. Nothing is done then, except where
  // nft_outcome_unknown() says otherwise.
  [[nodiscard]] Result<> commit() const;
  // Whether the kernel would accept it. Nothing is done.
  [[nodiscard]] Result<> check() const;

 private:
  enum class Ending : std::uint8_t { kCommit, kUndo };
  [[nodiscard]] Result<> send(Ending ending) const;
  nlmsghdr& begin_message(unsigned type, unsigned flags, std::string description);
  void end_message();
  void put_elements(unsigned type, unsigned flags, const std::string& set, std::span<const NftElement> elements,
                    std::string_view verb);

  Family family_;
  std::string table_;
  std::vector<std::string> described_;  // by message
  std::vector<char> messages_;
  std::vector<char> scratch_;  // the message that is being written
  std::size_t last_begins_ = 0;
  std::uint32_t sets_ = 0;
};

// Whether the kernel's reply to a commit() was lost: all of it may be done, or nothing.
bool nft_outcome_unknown(const Error& error);

// A table as it is, without the elements of its sets.
struct NftTable {
  bool dormant = false;
  std::map<std::string, NftChain> chains{};  // by name
  std::map<std::string, NftSet> sets{};      // by name
  // By chain, in order, as NftRule::text(); chains without rules are left out.
  std::map<std::string, std::vector<std::string>> rules{};
  friend bool operator==(const NftTable&, const NftTable&) = default;
};
// Whether there is such a table, whatever it holds. Errc::kUnsupported: the kernel has no nf_tables.
Result<bool> has_nft_table(Family family, const std::string& table);
// Nothing: there is no such table. Errc::kUnsupported: the kernel has no nf_tables.
Result<std::optional<NftTable>> read_nft_table(Family family, const std::string& table);
// A number that grows by one (0 is left out) with every commit that changes any table of the network namespace; one that
// changes nothing leaves it as it is. A list longer than one dump can hold compares it before and after.
// Errc::kUnsupported: the kernel has no nf_tables.
Result<std::uint32_t> nft_generation();
// Receives the elements of a set as the kernel lists them, in no order; where the set grows meanwhile, one may come twice.
// `restart`: what has come so far is void.
struct NftElementReader {
  std::function<void()> restart;
  std::function<void(const NftElement& element)> element;
};
// Errc::kNotFound where there is no such set.
Result<> read_nft_elements(Family family, const std::string& table, const std::string& set,
                           const NftElementReader& reader);
// The same at once, in the order of their bytes, each once.
Result<std::vector<NftElement>> read_nft_elements(Family family, const std::string& table, const std::string& set);

}  // namespace sluice::sys
