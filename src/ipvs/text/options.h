// SPDX-License-Identifier: Apache-2.0
// ipvsadm's words, defined once: the parser, the rules of what goes with what, the messages and the help text use
// these tables.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>

namespace sluice::ipvs::text {

enum class Command : std::uint8_t {
  kAddService,
  kEditService,
  kDeleteService,
  kFlush,
  kList,
  kZero,
  kAddServer,
  kEditServer,
  kDeleteServer,
  kSet,
  kRestore,
  kSave,
  kStartDaemon,
  kStopDaemon,
  kHelp,
  kVersion,
};

// What counts as an option, in the order in which problems are searched: the first one wins.
enum class Option : std::uint8_t {
  kNumeric,
  kConnection,
  kService,
  kScheduler,
  kPersistent,
  kNetmask,
  kServer,
  kForward,
  kWeight,
  kUpperThreshold,
  kLowerThreshold,
  kMcastInterface,
  kTimeout,
  kDaemon,
  kStats,
  kRate,
  kThresholds,
  kPersistentConn,
  kNoSort,
  kSyncId,
  kExact,
  kOnePacket,
  kPersistenceEngine,
  kSchedulerFlags,
  kMcastGroup,
  kMcastPort,
  kMcastTtl,
  kSyncMaxlen,
  kTunInfo,
  kTunType,
  kTunPort,
  kTunNocsum,
  kTunCsum,
  kTunRemcsum,
  kNone,  // may be given any number of times, with every command
};
inline constexpr int kOptionCount = static_cast<int>(Option::kNone);
std::string_view name_of(Option option);  // in messages

class OptionSet {
 public:
  constexpr OptionSet() = default;
  constexpr OptionSet(std::initializer_list<Option> options) {
    for (const Option option : options) add(option);
  }
  constexpr void add(Option option) { bits_ |= bit(option); }
  [[nodiscard]] constexpr bool has(Option option) const { return (bits_ & bit(option)) != 0; }
  [[nodiscard]] constexpr bool has_any(OptionSet others) const { return (bits_ & others.bits_) != 0; }

 private:
  static constexpr std::uint64_t bit(Option option) { return std::uint64_t{1} << static_cast<unsigned>(option); }
  std::uint64_t bits_ = 0;
};

// What goes with a command, or with a tunnel type.
struct Rules {
  std::string_view name;  // in messages
  OptionSet must;
  OptionSet may;
  OptionSet one_of;  // at most one of these
};
const Rules& rules_of(Command command);

enum class Argument : std::uint8_t { kNone, kRequired, kOptional };

// One word of the command line.
struct Word {
  char short_name;             // 0: none
  std::string_view long_name;  // empty: none
  Argument argument;
  bool is_command;
  Command command;  // of a command
  Option option;    // of an option
  std::string_view argument_name;
  std::string_view help;  // empty: another spelling of the word before it
};
std::span<const Word> words();

}  // namespace sluice::ipvs::text
