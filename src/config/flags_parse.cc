// SPDX-License-Identifier: Apache-2.0
// kube-proxy's command line is parsed by Go's pflag, and unit files and DaemonSets in use rely on its corner cases: a
// boolean never takes the next argument (`--cleanup false` is --cleanup and a stray word), every other flag does,
// even if that word begins with a dash (`--oom-score-adj -999`), and `--bind_address` is `--bind-address`.
#include "config/flags_parse.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::config {
namespace {

class Parser {
 public:
  explicit Parser(const std::vector<std::string>& arguments) : arguments_(arguments) {}

  Result<Flags> run() {
    while (next_ < arguments_.size() && !flags_.help) {
      const std::string& argument = arguments_[next_++];
      if (argument == "--") {
        positional_.insert(positional_.end(), arguments_.begin() + static_cast<std::ptrdiff_t>(next_),
                           arguments_.end());
        break;
      }
      if (argument.starts_with("--")) {
        SLUICE_CHECK_OK(parse_long(argument));
      } else if (argument.size() > 1 && argument.front() == '-') {
        SLUICE_CHECK_OK(parse_short(argument));
      } else {
        positional_.push_back(argument);
      }
    }
    // A template that leaves a variable empty makes an empty argument; kube-proxy ignores those, and so do we.
    const bool words =
        std::any_of(positional_.begin(), positional_.end(), [](const std::string& word) { return !word.empty(); });
    if (words && !flags_.help) return fail(Errc::kInvalid, refusal());
    return std::move(flags_);
  }

 private:
  // The next argument as a value; nothing at the end.
  std::optional<std::string> take_value() {
    if (next_ == arguments_.size()) return std::nullopt;
    return arguments_[next_++];
  }

  Result<> parse_long(const std::string& argument) {
    const std::size_t equals = argument.find('=');
    const std::string written = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
    if (written.empty() || written.front() == '-') return fail(Errc::kInvalid, "bad flag syntax: " + argument);
    std::string name = written;
    std::replace(name.begin(), name.end(), '_', '-');
    const FlagSpec* flag = find_flag(name);
    if (flag == nullptr) return fail(Errc::kInvalid, "unknown flag: --" + written);
    std::optional<std::string> value;
    if (equals != std::string::npos) value = argument.substr(equals + 1);
    return set(*flag, std::move(value), "--" + written);
  }

  // The only letters are -h and -v, so that a group of letters is all -h, or ends with -v and its value.
  Result<> parse_short(const std::string& argument) {
    if (argument[1] == 'h') {
      flags_.help = true;
      return {};
    }
    if (argument[1] != 'v') {
      return fail(Errc::kInvalid, fmt::format("unknown shorthand flag: '{}' in {}", argument[1], argument));
    }
    std::optional<std::string> value;
    if (argument.size() > 2) value = argument.substr(argument.size() > 3 && argument[2] == '=' ? 3 : 2);
    return set(*find_flag("v"), std::move(value), "'v' in " + argument);
  }

  // pflag names a flag as it was written if its value is missing, and by all of its names if its value is wrong.
  Result<> set(const FlagSpec& flag, std::optional<std::string> value, const std::string& written) {
    const bool may_stand_alone = flag.value_name.empty() || flag.name == "version";
    if (!value) value = may_stand_alone ? "true" : take_value();
    if (!value) return fail(Errc::kInvalid, "flag needs an argument: " + written);
    if (auto done = flag.set(flags_, *value); !done) {
      const std::string letter = flag.name == "v" ? "-v, " : flag.name == "help" ? "-h, " : "";
      return fail(Errc::kInvalid, fmt::format("invalid argument {} for \"{}--{}\" flag: {}", quoted(*value), letter,
                                              flag.name, done.error().what));
    }
    flags_.given.insert_or_assign(std::string(flag.name), *value);
    return {};
  }

  [[nodiscard]] std::string refusal() const {
    std::string list;
    for (const std::string& word : positional_) list += (list.empty() ? "" : " ") + quoted(word);
    return fmt::format("\"kube-proxy\" does not take any arguments, got [{}]", list);
  }

  const std::vector<std::string>& arguments_;
  std::size_t next_ = 0;
  std::vector<std::string> positional_;
  Flags flags_;
};

}  // namespace

Result<Flags> parse_flags(const std::vector<std::string>& arguments) {
  return Parser(arguments).run();
}

}  // namespace sluice::config
