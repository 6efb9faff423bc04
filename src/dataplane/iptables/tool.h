// SPDX-License-Identifier: Apache-2.0
// The iptables programs of this node: which flavour, where they are, and how to read and write with them.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/ip.h"
#include "base/result.h"
#include "dataplane/iptables/chain_names.h"

namespace sluice::dataplane::iptables {

enum class Flavour : std::uint8_t { kNft, kLegacy };
std::string_view to_string(Flavour flavour);  // "nft", "legacy"

struct Tool {
  Family family = Family::kIPv4;
  Flavour flavour = Flavour::kNft;
  std::string command;  // "iptables-nft", or "iptables" if there is only one flavour
  std::string save;
  std::string restore;
  std::array<unsigned, 3> version{};
  [[nodiscard]] bool newer_than_1_6_2() const { return version >= std::array<unsigned, 3>{1, 6, 2}; }
};

// Finds the programs. Where no flavour is named: the one that kubelet uses here, else a proxy before us, else the one
// that holds chains of Kubernetes, else the one that has more rules, else the one that plain `iptables` is.
// Errc::kUnsupported names the missing package.
Result<Tool> find_tool(Family family, std::optional<Flavour> wanted);
// Every flavour that is installed, for cleaning up. None is no error.
std::vector<Tool> installed_tools(Family family);

// Without programs nothing can be read or written. Returns whether there is anything that they would show and that may
// be ours. True also if that is unknown.
bool rules_without_programs(Family family);

// Checks that this kernel serves the family with these programs (IPv6 may be switched off). kUnsupported: it does not.
// A held xtables lock does not matter.
Result<> probe(const Tool& tool);

// The output of iptables-save, line by line. Table names other than ours occur.
class SaveVisitor {
 public:
  virtual ~SaveVisitor() = default;
  // Before the first line. Called again if the tables changed while they were read: drop what was reported.
  virtual void begin() = 0;
  virtual void chain(std::string_view table, std::string_view name) = 0;
  virtual void rule(std::string_view table, std::string_view chain, std::string_view rule) = 0;
};

// Splits the output of iptables-save into lines and passes them on; input may come in pieces.
class SaveReader {
 public:
  explicit SaveReader(SaveVisitor& visitor) : visitor_(visitor) {}
  void feed(std::string_view piece);
  // A table that iptables cannot show because nft made it so; empty = none. (Up to 1.8.7; later versions show the rest
  // of it.)
  [[nodiscard]] const std::string& unreadable_table() const { return unreadable_table_; }

 private:
  void line(std::string_view text);
  SaveVisitor& visitor_;
  std::string partial_;
  std::string table_;
  std::string unreadable_table_;
};

// Reads all tables that exist, or one. Creates none, unlike iptables-legacy-save -t. Reads again, a few times at most,
// if another process changes nf_tables meanwhile.
Result<> read_live(const Tool& tool, SaveVisitor& visitor, std::optional<Table> only = std::nullopt);

// One run of iptables-restore over `input`, pulled piece by piece.
struct RestoreOutcome {
  bool ok = false;
  std::optional<std::size_t> line;  // of the input, from 1, if the tool named one
  std::string message;              // the tool's
};
// An Error if nothing is known about the input: the program is missing, hangs, or does not get the lock
// (kUnavailable).
Result<RestoreOutcome> restore(const Tool& tool, const std::function<std::string_view()>& input);

// Whether a chain exists in a table. Creates neither. Takes no lock.
Result<bool> chain_exists(const Tool& tool, Table table, std::string_view chain);

// Whether a chain of the kernel's own may still have a jump to `to`. False after a flush. Cheap whatever the table's
// size, so for a legacy table it only returns whether the chain has any rule.
struct BuiltInChain {
  Table table = Table::kFilter;
  std::string_view name;
  unsigned hook = 0;  // NF_INET_...
};
Result<bool> may_jump(const Tool& tool, const BuiltInChain& from, std::string_view to);

}  // namespace sluice::dataplane::iptables
