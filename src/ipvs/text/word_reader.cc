// SPDX-License-Identifier: Apache-2.0
// popt's rules (poptGetNextOpt() of popt 1.19) in short: long names in full, their argument after = or as the next
// word; short ones may be joined, and what follows one that takes an argument is that argument, with a leading =
// removed; an optional argument is the next word unless it starts with -; a required one is the next word whatever
// it looks like.
#include "ipvs/text/word_reader.h"

#include <algorithm>
#include <utility>

namespace sluice::ipvs::text {
namespace {

using Kind = WordReader::Event::Kind;

constexpr std::string_view kUnknown = "unknown option";
constexpr std::string_view kMissing = "missing argument";
constexpr std::string_view kUnwanted = "option does not take an argument";

WordReader::Event error(std::string_view problem) {
  return {Kind::kError, nullptr, std::nullopt, problem};
}

template <typename Matches>
const Word* find_word(Matches matches) {
  const auto all = words();
  const auto found = std::find_if(all.begin(), all.end(), matches);
  return found == all.end() ? nullptr : &*found;
}

bool is_option(const std::string& text) {
  return text.size() > 1 && text.front() == '-';
}

}  // namespace

const std::string& WordReader::last_word() const {
  static const std::string kNothing;
  return next_ == 0 ? kNothing : arguments_[next_ - 1];
}

WordReader::Event WordReader::with_argument(const Word& word, std::optional<std::string> attached) {
  if (word.argument == Argument::kNone) return {Kind::kOption, &word, std::nullopt, {}};
  if (attached) return {Kind::kOption, &word, std::move(attached), {}};
  if (next_ == arguments_.size()) {
    if (word.argument == Argument::kRequired) return error(kMissing);
    return {Kind::kOption, &word, std::nullopt, {}};
  }
  if (word.argument == Argument::kOptional && arguments_[next_].starts_with('-'))
    return {Kind::kOption, &word, std::nullopt, {}};
  return {Kind::kOption, &word, arguments_[next_++], {}};
}

WordReader::Event WordReader::read_long(std::string_view text) {
  const std::size_t equals = text.find('=');
  const std::string_view name = text.substr(0, equals);
  const Word* word = name.empty() ? nullptr : find_word([&](const Word& w) { return w.long_name == name; });
  if (word == nullptr) return error(kUnknown);
  if (equals == std::string_view::npos) return with_argument(*word, std::nullopt);
  if (word->argument == Argument::kNone) return error(kUnwanted);
  return with_argument(*word, std::string(text.substr(equals + 1)));
}

WordReader::Event WordReader::read_short() {
  const std::string group = *std::exchange(group_, std::nullopt);
  const char name = group.empty() ? '\0' : group.front();
  const Word* word = name == '\0' ? nullptr : find_word([&](const Word& w) { return w.short_name == name; });
  if (word == nullptr) return error(kUnknown);
  std::string rest = group.substr(1);
  if (rest.empty()) return with_argument(*word, std::nullopt);
  if (rest.front() == '=') {
    if (word->argument == Argument::kNone) return error(kUnwanted);
    rest.erase(0, 1);
  }
  if (word->argument != Argument::kNone) return with_argument(*word, std::move(rest));
  group_ = std::move(rest);
  return with_argument(*word, std::nullopt);
}

WordReader::Event WordReader::next() {
  while (!group_) {
    if (next_ == arguments_.size()) return {};
    const std::string& text = arguments_[next_++];
    if (options_ended_ || !is_option(text)) {
      leftovers_.push_back(text);
    } else if (text == "--") {
      options_ended_ = true;
    } else if (text.starts_with("--")) {
      return read_long(std::string_view(text).substr(2));
    } else {
      group_ = text.substr(1);
    }
  }
  return read_short();
}

}  // namespace sluice::ipvs::text
