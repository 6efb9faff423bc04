// SPDX-License-Identifier: Apache-2.0
// One command line, two kernels. Since 1.8 `iptables` comes in two flavours that do not see each other's rules:
// "legacy" replaces whole tables by setsockopt(2), "nft" translates to nf_tables. Both are in the kernel at once and
// packets pass both, so a node whose kubelet uses one and whose proxy uses the other behaves strangely. kubelet
// leaves a chain in mangle as a hint (KEP-3178), of one family or of both; without it, and without anything of
// Kubernetes, the flavour with more rules in it is the one that this node uses.
//
// Reading must not change anything: any use of a legacy table loads it, with its hooks in every packet's path, so the
// kernel's list of loaded tables is read first. (iptables-legacy-save without -t does the same.)
#include "dataplane/iptables/tool.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "sys/legacy_tables.h"
#include "sys/nf_tables.h"
#include "sys/process.h"
#include "sys/sysctl.h"

namespace sluice::dataplane::iptables {
namespace {

// "-w 5": how long the legacy programs wait for /run/xtables.lock. The nft ones take the option and need no lock.
constexpr std::string_view kLockWaitSeconds = "5";
// A full load of 10,000 Services takes the tool 15 s on a small machine.
constexpr std::chrono::minutes kToolTimeout{5};
constexpr int kReadsMax = 5;

std::string program_name(Family family) {
  return family == Family::kIPv4 ? "iptables" : "ip6tables";
}

std::array<unsigned, 3> parse_version(std::string_view text) {
  std::array<unsigned, 3> version{};
  std::size_t at = text.find(" v");
  if (at == std::string_view::npos) return version;
  const char* position = text.data() + at + 2;
  const char* const end = text.data() + text.size();
  for (unsigned& part : version) {
    const auto [next, error] = std::from_chars(position, end, part);
    if (error != std::errc() || next == end || *next != '.') break;
    position = next + 1;
  }
  return version;
}

// The programs called `command`, `command`-save and `command`-restore, if they exist.
std::optional<Tool> tool_named(Family family, const std::string& command) {
  const auto answer = sys::run_and_collect({command, "--version"});
  if (!answer || answer->exit_status != 0) return std::nullopt;
  const bool nft = answer->output.find("nf_tables") != std::string::npos;
  return Tool{family,
              nft ? Flavour::kNft : Flavour::kLegacy,
              command,
              command + "-save",
              command + "-restore",
              parse_version(answer->output)};
}

std::optional<Tool> tool_of(Family family, Flavour flavour) {
  auto tool = tool_named(family, fmt::format("{}-{}", program_name(family), to_string(flavour)));
  if (!tool) tool = tool_named(family, program_name(family));
  return tool && tool->flavour == flavour ? tool : std::nullopt;
}

Error missing(Family family, std::string_view what) {
  return Error{Errc::kUnsupported,
               fmt::format("{}: no {} program in PATH; install the package iptables", program_name(family), what)};
}

std::vector<std::string> loaded_legacy_tables(Family family) {
  // From this thread's network namespace; /proc/net would be that of the process' first thread.
  std::ifstream file(family == Family::kIPv4 ? "/proc/thread-self/net/ip_tables_names"
                                             : "/proc/thread-self/net/ip6_tables_names");
  std::vector<std::string> names;
  for (std::string name; std::getline(file, name);) names.push_back(name);
  return names;
}

bool table_loaded(const Tool& tool, Table table) {
  if (tool.flavour == Flavour::kNft) return true;  // reading a missing table creates nothing in nf_tables
  const std::vector<std::string> names = loaded_legacy_tables(tool.family);
  return std::find(names.begin(), names.end(), to_string(table)) != names.end();
}

// The meaningful lines of the tool's stderr, as one line.
std::string condensed(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.starts_with("Try `") || line.starts_with('#')) continue;
    if (!result.empty()) result += "; ";
    result += line;
  }
  return result;
}

// "line 3: RULE_APPEND failed", "line 4 failed", "Error occurred at line: 5".
std::optional<std::size_t> line_number(std::string_view message) {
  for (std::size_t at = message.find("line"); at != std::string_view::npos; at = message.find("line", at + 1)) {
    const std::size_t digits = message.find_first_not_of(": ", at + 4);
    if (digits == std::string_view::npos) continue;
    std::size_t number = 0;
    const auto [end, error] = std::from_chars(message.data() + digits, message.data() + message.size(), number);
    if (error == std::errc() && number > 0) return number;
  }
  return std::nullopt;
}

Result<> read_once(const Tool& tool, SaveVisitor& visitor, std::optional<Table> only) {
  SaveReader reader(visitor);
  sys::ProcessOptions options;
  options.arguments = {tool.save};
  if (only) options.arguments.insert(options.arguments.end(), {"-t", std::string(to_string(*only))});
  options.output = [&reader](std::string_view piece) { reader.feed(piece); };
  options.timeout = kToolTimeout;
  SLUICE_TRY(const auto outcome, sys::run_process(options));
  if (outcome.exit_status != 0) {
    return fail(Errc::kInternal, fmt::format("{} failed with status {}: {}", tool.save, outcome.exit_status,
                                             condensed(outcome.error_output)));
  }
  // Taking it for empty would make us insert the same jumps repeatedly.
  if (!reader.unreadable_table().empty()) {
    return fail(Errc::kUnsupported, fmt::format("{} cannot show table {}: nft made it what iptables has no words for",
                                                tool.save, reader.unreadable_table()));
  }
  return {};
}

// Evidence for a flavour.
class Evidence : public SaveVisitor {
 public:
  void begin() override { *this = Evidence(); }
  void chain(std::string_view, std::string_view name) override {
    kubelet = kubelet || name == kKubeletHintChain || name == kKubeletCanaryChain;
    proxy = proxy || name == kCanaryChain;
    kubernetes = kubernetes || name.starts_with("KUBE-");
  }
  void rule(std::string_view, std::string_view, std::string_view) override { ++rules; }
  bool kubelet = false;
  bool proxy = false;
  bool kubernetes = false;
  std::size_t rules = 0;
};

class ChainSearch : public SaveVisitor {
 public:
  explicit ChainSearch(std::string_view wanted) : wanted_(wanted) {}
  void begin() override { found_ = false; }
  void chain(std::string_view, std::string_view name) override { found_ = found_ || name == wanted_; }
  void rule(std::string_view, std::string_view, std::string_view) override {}
  [[nodiscard]] bool found() const { return found_; }

 private:
  std::string_view wanted_;
  bool found_ = false;
};

struct Ground {
  Evidence nft;
  Evidence legacy;
};

Result<Ground> look(const Tool& nft, const Tool& legacy, std::optional<Table> only) {
  Ground ground;
  SLUICE_CHECK_OK(read_live(nft, ground.nft, only));
  SLUICE_CHECK_OK(read_live(legacy, ground.legacy, only));
  return ground;
}

Result<Tool> pick(const Tool& nft, const Tool& legacy) {
  SLUICE_TRY(const Ground mangle, look(nft, legacy, Table::kMangle));
  std::vector<Ground> grounds{mangle};
  // One node, one flavour: what only the other family shows counts too. A failure to read it is ignored.
  const Family other = nft.family == Family::kIPv4 ? Family::kIPv6 : Family::kIPv4;
  const auto other_nft = tool_of(other, Flavour::kNft);
  const auto other_legacy = tool_of(other, Flavour::kLegacy);
  if (other_nft && other_legacy) {
    if (const auto seen = look(*other_nft, *other_legacy, Table::kMangle)) grounds.push_back(*seen);
  }
  // An earlier proxy is considered second; that also keeps a restart from counting a large rule set.
  for (bool Evidence::* const sign : {&Evidence::kubelet, &Evidence::proxy}) {
    for (const Ground& ground : grounds) {
      if (ground.nft.*sign != ground.legacy.*sign) return ground.nft.*sign ? nft : legacy;
    }
  }
  SLUICE_TRY(const Ground all, look(nft, legacy, std::nullopt));
  if (all.nft.kubernetes != all.legacy.kubernetes) return all.nft.kubernetes ? nft : legacy;
  if (all.nft.rules != all.legacy.rules) return all.nft.rules > all.legacy.rules ? nft : legacy;
  const auto plain = tool_named(nft.family, program_name(nft.family));
  return plain && plain->flavour == Flavour::kLegacy ? legacy : nft;
}

}  // namespace

std::string_view to_string(Flavour flavour) {
  return flavour == Flavour::kNft ? "nft" : "legacy";
}

std::vector<Tool> installed_tools(Family family) {
  std::vector<Tool> tools;
  for (const Flavour flavour : {Flavour::kNft, Flavour::kLegacy}) {
    if (auto tool = tool_of(family, flavour)) tools.push_back(std::move(*tool));
  }
  return tools;
}

bool rules_without_programs(Family family) {
  if (!loaded_legacy_tables(family).empty()) return true;  // only the programs can list their chains
  for (const Table table : kTables) {
    const auto read = sys::read_nft_table(family, std::string(to_string(table)));
    if (!read && read.error().code != Errc::kUnsupported) return true;
    if (!read || !*read) continue;
    const auto& chains = (*read)->chains;
    if (std::any_of(chains.begin(), chains.end(), [](const auto& chain) { return chain.first.starts_with("KUBE-"); }))
      return true;
  }
  return false;
}

Result<Tool> find_tool(Family family, std::optional<Flavour> wanted) {
  if (wanted) {
    auto tool = tool_of(family, *wanted);
    if (!tool) return tl::unexpected(missing(family, fmt::format("{}-{}", program_name(family), to_string(*wanted))));
    return *std::move(tool);
  }
  const std::vector<Tool> tools = installed_tools(family);
  if (tools.empty()) return tl::unexpected(missing(family, program_name(family)));
  return tools.size() == 1 ? Result<Tool>(tools.front()) : pick(tools[0], tools[1]);
}

Result<> probe(const Tool& tool) {
  if (tool.family == Family::kIPv6) {
    std::error_code ignored;
    if (!std::filesystem::exists("/proc/thread-self/net/if_inet6", ignored)) {
      return fail(Errc::kUnsupported, "ip6tables: this kernel has no IPv6 (/proc/net/if_inet6 is missing)");
    }
    const auto disabled = sys::read_sysctl("net/ipv6/conf/all/disable_ipv6");
    if (disabled && *disabled == "1") {
      return fail(Errc::kUnsupported, "ip6tables: IPv6 is switched off (net/ipv6/conf/all/disable_ipv6 is 1)");
    }
  }
  // The legacy program takes the xtables lock for any -S, and gives up while it is held; its -save takes none.
  if (tool.flavour == Flavour::kLegacy && table_loaded(tool, Table::kNat)) return {};
  sys::ProcessOptions options;
  options.arguments = {tool.save, "-t", "nat"};
  if (tool.flavour == Flavour::kNft)
    options.arguments = {tool.command, "-w", std::string(kLockWaitSeconds), "-S", "POSTROUTING", "-t", "nat"};
  options.timeout = kToolTimeout;
  SLUICE_TRY(const auto outcome, sys::run_process(options));
  if (outcome.exit_status != 0) {
    return fail(Errc::kUnsupported, fmt::format("{} cannot read table nat: {}", options.arguments.front(),
                                                condensed(outcome.error_output)));
  }
  return {};
}

void SaveReader::feed(std::string_view piece) {
  for (;;) {
    const std::size_t end = piece.find('\n');
    if (end == std::string_view::npos) break;
    if (partial_.empty()) {
      line(piece.substr(0, end));
    } else {
      partial_ += piece.substr(0, end);
      line(partial_);
      partial_.clear();
    }
    piece.remove_prefix(end + 1);
  }
  partial_ += piece;
}

void SaveReader::line(std::string_view text) {
  if (text.empty()) return;
  const auto word_end = [&text](std::size_t from) { return std::min(text.find(' ', from), text.size()); };
  constexpr std::string_view kTableNote = "# Table `";
  if (text.starts_with(kTableNote) && text.find("is incompatible") != std::string_view::npos) {
    const std::string_view name = text.substr(kTableNote.size());
    unreadable_table_ = name.substr(0, name.find('\''));
  } else if (text[0] == '*') {
    table_ = text.substr(1);
  } else if (text[0] == ':') {
    visitor_.chain(table_, text.substr(1, word_end(1) - 1));
  } else if (text.starts_with("-A ")) {
    const std::size_t end = word_end(3);
    visitor_.rule(table_, text.substr(3, end - 3), end < text.size() ? text.substr(end + 1) : std::string_view());
  }
}

Result<> read_live(const Tool& tool, SaveVisitor& visitor, std::optional<Table> only) {
  visitor.begin();
  if (only && !table_loaded(tool, *only)) return {};
  if (tool.flavour == Flavour::kLegacy) return read_once(tool, visitor, only);  // one system call reads a whole table
  // iptables-nft-save lists a long chain in several parts and does not check whether they belong together: if a chain
  // is rewritten meanwhile, rules are listed twice or not at all. A second copy of a rule that exists once would cost
  // us the rule itself. If others change something all the time, the last reading must do.
  auto before = sys::nft_generation();
  for (int attempt = 1;; ++attempt) {
    SLUICE_CHECK_OK(read_once(tool, visitor, only));
    const auto after = sys::nft_generation();
    if (!before || !after || *before == *after || attempt == kReadsMax) return {};
    before = after;
    visitor.begin();
  }
}

Result<RestoreOutcome> restore(const Tool& tool, const std::function<std::string_view()>& input) {
  sys::ProcessOptions options;
  options.arguments = {tool.restore};
  if (tool.newer_than_1_6_2()) options.arguments.insert(options.arguments.end(), {"-w", std::string(kLockWaitSeconds)});
  options.arguments.insert(options.arguments.end(), {"--noflush", "--counters"});
  options.input = input;
  options.timeout = kToolTimeout;
  SLUICE_TRY(const auto outcome, sys::run_process(options));
  if (outcome.exit_status == 0) return RestoreOutcome{true, std::nullopt, ""};
  const std::string message = condensed(outcome.error_output);
  const auto line = line_number(message);
  // Status 4 is "resource problem", mostly the lock; but the nft flavour also returns 4 for a rule that the kernel
  // refused, with a line.
  if (!line) {
    return fail(outcome.exit_status == 4 ? Errc::kUnavailable : Errc::kInternal,
                fmt::format("{} failed with status {}: {}", tool.restore, outcome.exit_status, message));
  }
  return RestoreOutcome{false, line, message};
}

Result<bool> chain_exists(const Tool& tool, Table table, std::string_view chain) {
  if (tool.flavour == Flavour::kLegacy) {
    // Waiting seconds for the lock, every sync period, to check one chain would delay pending writes.
    ChainSearch search(chain);
    SLUICE_CHECK_OK(read_live(tool, search, table));
    return search.found();
  }
  SLUICE_TRY(const auto answer, sys::run_and_collect({tool.command, "-w", std::string(kLockWaitSeconds), "-S",
                                                      std::string(chain), "-t", std::string(to_string(table))}));
  if (answer.exit_status == 4) {
    return fail(Errc::kUnavailable,
                fmt::format("{}: look for chain {}: {}", tool.command, chain, condensed(answer.error_output)));
  }
  return answer.exit_status == 0;
}

Result<bool> may_jump(const Tool& tool, const BuiltInChain& from, std::string_view to) {
  if (!table_loaded(tool, from.table)) return false;
  const std::string table(to_string(from.table));
  if (tool.flavour == Flavour::kLegacy) {
    SLUICE_TRY(const bool empty, sys::legacy_chain_empty(tool.family, table, from.hook));
    return !empty;
  }
  SLUICE_TRY(const auto answer, sys::run_and_collect({tool.command, "-w", std::string(kLockWaitSeconds), "-S",
                                                      std::string(from.name), "-t", table}));
  if (answer.exit_status != 0) {
    return fail(answer.exit_status == 4 ? Errc::kUnavailable : Errc::kInternal,
                fmt::format("{}: list chain {}: {}", tool.command, from.name, condensed(answer.error_output)));
  }
  return answer.output.find(fmt::format("-j {}\n", to)) != std::string::npos;
}

}  // namespace sluice::dataplane::iptables
