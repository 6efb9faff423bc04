// SPDX-License-Identifier: Apache-2.0
// Annotations are free text from any user with access to a Service, so the worst that may happen to one is to be
// refused: a bad value costs the Service its setting, not its traffic. The words are those that operators use:
// schedulers and flags as `ipvsadm -s -b` spells them (ip_vs.h: IP_VS_SVC_F_SCHED1 to 3), durations as in Kubernetes'
// configuration.
#include "dataplane/ipvs/annotations.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "ipvs/virtual_server.h"

namespace sluice::dataplane::ipvs {
namespace {

using sluice::ipvs::kNoScheduler;
using sluice::ipvs::kSchedulerFlag1;
using sluice::ipvs::kSchedulerFlag2;
using sluice::ipvs::kSchedulerFlag3;
using sluice::ipvs::kSchedulerNameMax;

struct FlagName {
  std::string_view name;
  std::string_view scheduler;  // empty: any
  std::uint32_t flag;
};
constexpr std::array kFlagNames{
    FlagName{"sh-fallback", "sh", kSchedulerFlag1}, FlagName{"sh-port", "sh", kSchedulerFlag2},
    FlagName{"mh-fallback", "mh", kSchedulerFlag1}, FlagName{"mh-port", "mh", kSchedulerFlag2},
    FlagName{"flag-1", "", kSchedulerFlag1},        FlagName{"flag-2", "", kSchedulerFlag2},
    FlagName{"flag-3", "", kSchedulerFlag3},
};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

// The part before the next comma, which is removed with it.
std::string_view take_word(std::string_view& text) {
  const std::size_t comma = std::min(text.find(','), text.size());
  const std::string_view word = trimmed(text.substr(0, comma));
  text.remove_prefix(std::min(comma + 1, text.size()));
  return word;
}

bool can_name_a_scheduler(std::string_view word) {
  // It becomes part of the name of a kernel module, ip_vs_NAME.
  const auto usable = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'; };
  return !word.empty() && word.size() <= kSchedulerNameMax && word != kNoScheduler &&
         std::all_of(word.begin(), word.end(), usable);
}

struct Unit {
  std::string_view name;
  double milliseconds;
};
// Longer names first: "ms" begins with "m".
constexpr std::array kUnits{Unit{"ms", 1},        Unit{"us", 1e-3},  Unit{"ns", 1e-6},
                            Unit{"h", 3'600'000}, Unit{"m", 60'000}, Unit{"s", 1'000}};
constexpr double kDrainMaxMs = 365.0 * 24 * 3'600'000;

}  // namespace

Result<Scheduler> parse_scheduler(std::string_view text) {
  std::string_view rest = text;
  const std::string_view name = take_word(rest);
  if (!can_name_a_scheduler(name))
    return fail(Errc::kInvalid, fmt::format("'{}' is not the name of a scheduler", name));
  Scheduler scheduler{std::string(name), 0};
  while (!rest.empty()) {
    const std::string_view word = take_word(rest);
    const auto* known =
        std::find_if(kFlagNames.begin(), kFlagNames.end(), [&](const FlagName& flag) { return flag.name == word; });
    if (known == kFlagNames.end()) return fail(Errc::kInvalid, fmt::format("'{}' is not a scheduler flag", word));
    if (!known->scheduler.empty() && known->scheduler != name) {
      return fail(Errc::kInvalid,
                  fmt::format("'{}' is a flag of scheduler {}, not of {}", word, known->scheduler, name));
    }
    scheduler.flags |= known->flag;
  }
  return scheduler;
}

Result<Scheduler> parse_default_scheduler(std::string_view text) {
  if (trimmed(text).empty()) return Scheduler{};
  if (trimmed(text) == "mh") return Scheduler{"mh", kSchedulerFlag2};
  return parse_scheduler(text);
}

Result<std::chrono::milliseconds> parse_drain_timeout(std::string_view text) {
  const auto bad = [&] {
    return fail(Errc::kInvalid, fmt::format("'{}' is not a duration from 0 to a year, such as 30s or 5m", text));
  };
  std::string_view rest = trimmed(text);
  if (rest == "0") return std::chrono::milliseconds(0);
  if (rest.empty()) return bad();
  double total = 0;
  while (!rest.empty()) {
    double number = 0;
    const bool starts_with_digit = rest.front() >= '0' && rest.front() <= '9';
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number, std::chars_format::fixed);
    if (!starts_with_digit || error != std::errc()) return bad();
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    const auto* unit =
        std::find_if(kUnits.begin(), kUnits.end(), [&](const Unit& each) { return rest.starts_with(each.name); });
    if (unit == kUnits.end()) return bad();
    rest.remove_prefix(unit->name.size());
    total += number * unit->milliseconds;
    if (!(total <= kDrainMaxMs)) return bad();
  }
  return std::chrono::milliseconds(static_cast<std::int64_t>(total));
}

}  // namespace sluice::dataplane::ipvs
