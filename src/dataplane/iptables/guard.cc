// SPDX-License-Identifier: Apache-2.0
#include "dataplane/iptables/guard.h"

#include <fmt/format.h>

#include <set>
#include <string>
#include <utility>

#include "dataplane/iptables/canonical.h"
#include "dataplane/iptables/encode.h"

namespace sluice::dataplane::iptables {
namespace {

// Table filter, as far as the guard is concerned.
class GuardState : public SaveVisitor {
 public:
  explicit GuardState(std::string martian_rule)
      : martian_(canonical_rule(Family::kIPv4, martian_rule, Comments::kIgnore)) {}
  void begin() override {
    chain_ = rule_ = false;
    jumps_.clear();
  }
  void chain(std::string_view, std::string_view name) override { chain_ = chain_ || name == kFirewallChain; }
  void rule(std::string_view, std::string_view chain, std::string_view rule) override {
    if (chain == kFirewallChain) rule_ = rule_ || canonical_rule(Family::kIPv4, rule, Comments::kIgnore) == martian_;
    if (rule == fmt::format("-j {}", kFirewallChain)) jumps_.emplace(chain);
  }
  [[nodiscard]] bool has_chain() const { return chain_; }
  [[nodiscard]] bool has_rule() const { return rule_; }
  [[nodiscard]] bool has_jump(const std::string& from) const { return jumps_.contains(from); }

 private:
  std::string martian_;
  bool chain_ = false;
  bool rule_ = false;
  std::set<std::string> jumps_;
};

}  // namespace

Result<bool> ensure_guard(const Tool& tool) {
  EncodeSettings settings;
  settings.family = Family::kIPv4;
  const std::string rule = Encoder(settings).martian_rule({});
  GuardState state(rule);
  SLUICE_CHECK_OK(read_live(tool, state, Table::kFilter));
  std::string text = "*filter\n";
  if (!state.has_chain()) text += fmt::format(":{} - [0:0]\n", kFirewallChain);
  if (!state.has_rule()) text += fmt::format("-A {} {}\n", kFirewallChain, rule);
  for (const JumpRule& jump : jump_rules()) {
    if (jump.to == kFirewallChain && !state.has_jump(std::string(jump.from)))
      text += fmt::format("-I {} {}\n", jump.from, jump.rule);
  }
  text += "COMMIT\n";
  bool given = false;
  SLUICE_TRY(const RestoreOutcome outcome, restore(tool, [&]() -> std::string_view {
               return std::exchange(given, true) ? std::string_view() : std::string_view(text);
             }));
  if (!outcome.ok) return fail(Errc::kInternal, fmt::format("{}: {}", tool.restore, outcome.message));
  return state.has_rule();
}

}  // namespace sluice::dataplane::iptables
