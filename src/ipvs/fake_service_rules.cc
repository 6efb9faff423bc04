// SPDX-License-Identifier: Apache-2.0
#include "ipvs/fake_service_rules.h"

#include <algorithm>
#include <utility>

namespace sluice::ipvs {
namespace {

// How many elements must be written to make `live` what is wanted.
template <typename Container>
std::size_t make_equal(Container& live, Container wanted) {
  const auto differing = [](const Container& of, const Container& from) {
    return static_cast<std::size_t>(
        std::count_if(of.begin(), of.end(), [&](const auto& each) { return !from.contains(each); }));
  };
  const std::size_t written = differing(wanted, live) + differing(live, wanted);
  live = std::move(wanted);
  return written;
}

std::size_t make_equal(std::map<VirtualServerKey, std::uint32_t>& live,
                       std::map<VirtualServerKey, std::uint32_t> wanted) {
  std::size_t written = 0;
  for (const auto& [key, flags] : wanted) {
    const auto found = live.find(key);
    if (found == live.end() || found->second != flags) ++written;
  }
  for (const auto& [key, flags] : live) written += wanted.contains(key) ? 0 : 1;
  live = std::move(wanted);
  return written;
}

}  // namespace

bool FakeServiceRules::empty() const {
  return std::all_of(families_.begin(), families_.end(), [](const auto& entry) {
    return entry.second.rules.empty() && entry.second.allowed.empty() && entry.second.addresses.empty();
  });
}

Result<std::size_t> FakeServiceRules::replace(const RuleSettings& settings, const RuleElements& wanted) {
  if (refusal) return tl::unexpected(*refusal);
  OfFamily& live = families_[settings.family];
  live.settings = settings;
  std::map<VirtualServerKey, std::uint32_t> rules;
  for (const ServiceRule& rule : wanted.rules) rules.emplace(rule.key, rule.flags);
  return make_equal(live.rules, std::move(rules)) +
         make_equal(live.allowed, std::set(wanted.allowed.begin(), wanted.allowed.end())) +
         make_equal(live.addresses, std::set(wanted.addresses.begin(), wanted.addresses.end()));
}

Result<std::size_t> FakeServiceRules::change(Family family, const RuleElements& add, const RuleElements& remove) {
  if (refusal) return tl::unexpected(*refusal);
  OfFamily& live = families_[family];
  std::size_t written = 0;
  for (const ServiceRule& rule : add.rules) {
    const auto [entry, is_new] = live.rules.emplace(rule.key, rule.flags);
    if (is_new || std::exchange(entry->second, rule.flags) != rule.flags) ++written;
  }
  for (const AllowedSource& source : add.allowed) written += live.allowed.insert(source).second ? 1 : 0;
  for (const IpAddress& address : add.addresses) written += live.addresses.insert(address).second ? 1 : 0;
  for (const ServiceRule& rule : remove.rules) written += live.rules.erase(rule.key);
  for (const AllowedSource& source : remove.allowed) written += live.allowed.erase(source);
  for (const IpAddress& address : remove.addresses) written += live.addresses.erase(address);
  return written;
}

Result<> FakeServiceRules::clear(Family family) {
  if (refusal) return tl::unexpected(*refusal);
  families_.erase(family);
  return {};
}

Result<RuleElements> FakeServiceRules::read(Family family) {
  RuleElements there;
  const auto found = families_.find(family);
  if (found == families_.end()) return there;
  const OfFamily& live = found->second;
  for (const auto& [key, flags] : live.rules) there.rules.push_back({key, flags});
  there.allowed.assign(live.allowed.begin(), live.allowed.end());
  there.addresses.assign(live.addresses.begin(), live.addresses.end());
  return there;
}

Result<bool> FakeServiceRules::intact(const RuleSettings& settings) {
  const auto found = families_.find(settings.family);
  return found != families_.end() && found->second.settings == settings;
}

}  // namespace sluice::ipvs
