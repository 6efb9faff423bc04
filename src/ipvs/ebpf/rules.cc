// SPDX-License-Identifier: Apache-2.0
#include "ipvs/ebpf/rules.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "ipvs/ebpf/hooks.h"
#include "ipvs/ebpf/records.h"
#include "sys/bpf_place.h"
#include "sys/links.h"

namespace sluice::ipvs::ebpf {
namespace {

constexpr unsigned kMappedBits = 96;  // of an IPv4 address in 16 bytes
constexpr std::uint32_t kAllFlags = SLUICE_RULE_MASQUERADE_OTHERS | SLUICE_RULE_MASQUERADE_ALL | SLUICE_RULE_FILTERED;
static_assert(kMasqueradeOthers == SLUICE_RULE_MASQUERADE_OTHERS && kMasqueradeAll == SLUICE_RULE_MASQUERADE_ALL &&
              kFilteredFlag == SLUICE_RULE_FILTERED);

std::size_t index_of(Family family) {
  return family == Family::kIPv4 ? 0 : 1;
}

// As in sluice_rule: the address is zero for the port of any address.
sluice_service_key rule_key(const VirtualServerKey& key) {
  sluice_service_key record = record_of(key);
  if (key.address.is_unspecified()) std::memset(record.address, 0, sizeof record.address);
  return record;
}

sluice_allowed_key allowed_key(const AllowedSource& allowed) {
  sluice_allowed_key record{};
  const unsigned before = allowed.key.family == Family::kIPv4 ? kMappedBits : 0;
  record.prefix = SLUICE_ALLOWED_SERVICE_BITS + before + allowed.source.prefix_length();
  record.service = rule_key(allowed.key);
  std::memcpy(record.source, allowed.source.address().mapped_bytes().data(), sizeof record.source);
  return record;
}

AllowedSource allowed_in(const sluice_allowed_key& record) {
  AllowedSource allowed;
  allowed.key = key_in(record.service);
  const unsigned before = allowed.key.family == Family::kIPv4 ? kMappedBits : 0;
  allowed.source = Cidr(*IpAddress::from_bytes(record.source), record.prefix - SLUICE_ALLOWED_SERVICE_BITS - before);
  return allowed;
}

Result<bool> set_rule(const Tables& tables, const ServiceRule& rule) {
  const sluice_service_key key = rule_key(rule.key);
  const sluice_rule wanted{rule.flags & kAllFlags, 0};
  sluice_rule there{};
  SLUICE_TRY(const bool found, sys::find_bpf_element(tables.rules(), &key, &there));
  if (found && there.flags == wanted.flags) return false;
  SLUICE_CHECK_OK(sys::set_bpf_element(tables.rules(), &key, &wanted));
  return true;
}

// Whether it was there.
template <typename Key>
Result<bool> remove_element(int map, const Key& key) {
  const auto removed = sys::remove_bpf_element(map, &key);
  return removed ? Result<bool>(*removed) : tl::unexpected(removed.error());
}

Result<std::size_t> add_elements(const Tables& tables, const std::vector<ServiceRule>& rules,
                                 const std::vector<AllowedSource>& allowed) {
  std::size_t written = 0;
  const std::uint32_t one = 1;
  // Sources first: a client that is to come in never meets a rule that does not know it.
  for (const AllowedSource& each : allowed) {
    const sluice_allowed_key key = allowed_key(each);
    const auto added = sys::set_bpf_element(tables.allowed(), &key, &one, true);
    if (!added && added.error().code != Errc::kAlreadyExists) return tl::unexpected(added.error());
    written += added ? 1 : 0;
  }
  for (const ServiceRule& each : rules) {
    SLUICE_TRY(const bool changed, set_rule(tables, each));
    written += changed ? 1 : 0;
  }
  return written;
}

Result<std::size_t> remove_elements(const Tables& tables, const std::vector<ServiceRule>& rules,
                                    const std::vector<AllowedSource>& allowed) {
  std::size_t written = 0;
  for (const ServiceRule& each : rules) {
    SLUICE_TRY(const bool was, remove_element(tables.rules(), rule_key(each.key)));
    written += was ? 1 : 0;
  }
  for (const AllowedSource& each : allowed) {
    SLUICE_TRY(const bool was, remove_element(tables.allowed(), allowed_key(each)));
    written += was ? 1 : 0;
  }
  return written;
}

Result<RuleElements> elements_in(const Tables& tables, Family family) {
  RuleElements there;
  const auto add_rule = [&](const sluice_service_key& key, const sluice_rule& rule) {
    ServiceRule shown{key_in(key), rule.flags};
    if (shown.key.address.is_unspecified()) shown.flags |= kAnyOwnAddress;
    if (shown.key.family == family) there.rules.push_back(std::move(shown));
  };
  const auto add_allowed = [&](const sluice_allowed_key& key, std::uint32_t /*value*/) {
    AllowedSource shown = allowed_in(key);
    if (shown.key.family == family) there.allowed.push_back(std::move(shown));
  };
  SLUICE_CHECK_OK((sys::for_each_bpf_element<sluice_service_key, sluice_rule>(tables.rules(), add_rule)));
  SLUICE_CHECK_OK((sys::for_each_bpf_element<sluice_allowed_key, std::uint32_t>(tables.allowed(), add_allowed)));
  return there;
}

// What of `live` is not wanted.
RuleElements surplus(const RuleElements& live, const RuleElements& wanted) {
  RuleElements all;
  std::set<VirtualServerKey> rules;
  for (const ServiceRule& each : wanted.rules) rules.insert(each.key);
  for (const ServiceRule& each : live.rules) {
    if (!rules.contains(each.key)) all.rules.push_back(each);
  }
  const std::set<AllowedSource> allowed(wanted.allowed.begin(), wanted.allowed.end());
  for (const AllowedSource& each : live.allowed) {
    if (!allowed.contains(each)) all.allowed.push_back(each);
  }
  return all;
}

// The settings of one family as they are in the maps.
struct FamilySettings {
  std::uint32_t rules = 0;
  std::uint32_t mark = 0;
  AddressBytes prefix{};
  AddressBytes mask{};
  std::array<char, 16> interface{};
  friend bool operator==(const FamilySettings&, const FamilySettings&) = default;
};

FamilySettings settings_of(const RuleSettings& settings) {
  FamilySettings s;
  s.rules = SLUICE_RULES_ANY;
  s.mark = settings.masquerade_mark;
  if (settings.expire_without_real_server) s.rules |= SLUICE_RULES_EXPIRE_GONE;
  if (settings.expire_quiescent_templates) s.rules |= SLUICE_RULES_EXPIRE_QUIESCENT;
  const LocalClients& local = settings.local_clients;
  if (local.kind == LocalClients::Kind::kCidr) {
    s.rules |= SLUICE_RULES_PODS_BY_PREFIX;
    s.prefix = local.cidr.address().mapped_bytes();
    const unsigned bits = (settings.family == Family::kIPv4 ? kMappedBits : 0) + local.cidr.prefix_length();
    for (unsigned bit = 0; bit < bits; ++bit) s.mask[bit / 8] |= static_cast<std::uint8_t>(0x80 >> bit % 8);
  } else if (local.kind != LocalClients::Kind::kNone) {
    s.rules |=
        local.kind == LocalClients::Kind::kInterface ? SLUICE_RULES_PODS_BY_DEVICE : SLUICE_RULES_PODS_BY_DEVICE_PREFIX;
    local.interface.copy(s.interface.data(), s.interface.size() - 1);
  }
  return s;
}

FamilySettings settings_in(const sluice_settings& record, std::size_t family) {
  FamilySettings s;
  s.rules = __atomic_load_n(&record.rules[family], __ATOMIC_ACQUIRE);
  s.mark = record.masquerade_mark[family];
  std::copy_n(record.pod_prefix[family], s.prefix.size(), s.prefix.begin());
  std::copy_n(record.pod_mask[family], s.mask.size(), s.mask.begin());
  std::copy_n(record.pod_interface[family], s.interface.size(), s.interface.begin());
  return s;
}

void write(sluice_settings& record, std::size_t family, const FamilySettings& s) {
  record.masquerade_mark[family] = s.mark;
  std::copy(s.prefix.begin(), s.prefix.end(), record.pod_prefix[family]);
  std::copy(s.mask.begin(), s.mask.end(), record.pod_mask[family]);
  std::copy(s.interface.begin(), s.interface.end(), record.pod_interface[family]);
  __atomic_store_n(&record.rules[family], s.rules, __ATOMIC_RELEASE);
}

bool is_pods(const FamilySettings& s, const std::string& device) {
  const std::string_view name(s.interface.data());
  if ((s.rules & SLUICE_RULES_PODS_BY_DEVICE) != 0) return device == name;
  return (s.rules & SLUICE_RULES_PODS_BY_DEVICE_PREFIX) != 0 && device.starts_with(name);
}

}  // namespace

// Settings alone rule nothing: a family without Services has them, too.
Result<bool> has_no_rules(const Tables& tables) {
  for (const Family family : {Family::kIPv4, Family::kIPv6}) {
    SLUICE_TRY(const RuleElements there, elements_in(tables, family));
    if (!there.empty()) return false;
  }
  return true;
}

// A bridge's port is what its bridge is: what it receives for this node comes in by the bridge.
Result<> describe_devices(const Tables& tables) {
  const FamilySettings v4 = settings_in(tables.settings(), 0);
  const FamilySettings v6 = settings_in(tables.settings(), 1);
  SLUICE_TRY(const std::vector<sys::Device> devices, sys::list_devices());
  SLUICE_TRY(const std::vector<sys::LinkState> links, sys::list_link_states());
  const auto link_of = [&links](int index) { return std::ranges::find(links, index, &sys::LinkState::index); };
  std::map<std::uint32_t, sluice_device> wanted;
  for (const sys::Device& device : devices) {
    sluice_device record{};
    std::string name = device.name;
    const auto link = link_of(device.index);
    const auto bridge = link == links.end() || link->bridge == 0 ? links.end() : link_of(link->bridge);
    if (bridge != links.end()) {
      name = bridge->name;
      record.flags |= SLUICE_DEVICE_BRIDGE_PORT;
      std::ranges::copy(bridge->mac, record.bridge);
    }
    record.flags |= (is_pods(v4, name) ? SLUICE_DEVICE_POD4 : 0) | (is_pods(v6, name) ? SLUICE_DEVICE_POD6 : 0) |
                    (device.ethernet ? 0 : SLUICE_DEVICE_L3);
    if (record.flags != 0) wanted.emplace(static_cast<std::uint32_t>(device.index), record);
  }
  std::map<std::uint32_t, sluice_device> live;
  const auto add = [&](std::uint32_t index, const sluice_device& device) { live.emplace(index, device); };
  SLUICE_CHECK_OK((sys::for_each_bpf_element<std::uint32_t, sluice_device>(tables.devices(), add)));
  for (const auto& [index, device] : wanted) {
    const auto there = live.find(index);
    if (there != live.end() && std::memcmp(&there->second, &device, sizeof device) == 0) continue;
    SLUICE_CHECK_OK(sys::set_bpf_element(tables.devices(), &index, &device));
  }
  for (const auto& [index, device] : live) {
    if (!wanted.contains(index)) SLUICE_CHECK_OK(sys::remove_bpf_element(tables.devices(), &index));
  }
  return {};
}

Result<Tables*> EbpfRules::make(bool anew, bool with_device) {
  int device = 0;
  // Before the programs are put on every device.
  if (with_device) {
    SLUICE_TRY(device, OwnDevice::ensure());
  }
  SLUICE_TRY(Tables* const tables, source_.make(anew));
  if (with_device)
    __atomic_store_n(&tables->settings().own_device, static_cast<std::uint32_t>(device), __ATOMIC_RELEASE);
  return tables;
}

Result<std::size_t> EbpfRules::replace(const RuleSettings& settings, const RuleElements& wanted) {
  SLUICE_TRY(Tables* const tables, make(true, !wanted.addresses.empty()));
  SLUICE_TRY(const sys::FileLock lock, tables->lock());
  SLUICE_TRY(const RuleElements live, elements_in(*tables, settings.family));
  SLUICE_TRY(std::size_t written, add_elements(*tables, wanted.rules, wanted.allowed));
  const RuleElements old = surplus(live, wanted);
  SLUICE_TRY(const std::size_t removed, remove_elements(*tables, old.rules, old.allowed));
  // After the rules: without settings no rule is looked at, and with them every one is as it must be.
  write(tables->settings(), index_of(settings.family), settings_of(settings));
  SLUICE_CHECK_OK(describe_devices(*tables));
  SLUICE_TRY(const std::size_t routed, device_.replace(settings.family, wanted.addresses));
  return written + removed + routed;
}

Result<std::size_t> EbpfRules::change(Family family, const RuleElements& add, const RuleElements& remove) {
  SLUICE_TRY(Tables * tables, source_.find());
  // In new ones all the others would be missing.
  if (tables == nullptr)
    return fail(Errc::kUnavailable,
                "ipvs: the rules of Services were taken out of the kernel, with all tables of the engine ebpf");
  SLUICE_TRY(tables, make(false, !add.addresses.empty()));
  SLUICE_TRY(const sys::FileLock lock, tables->lock());
  SLUICE_TRY(std::size_t written, add_elements(*tables, add.rules, add.allowed));
  SLUICE_TRY(const std::size_t removed, remove_elements(*tables, remove.rules, remove.allowed));
  SLUICE_TRY(const std::size_t routed, device_.change(family, add.addresses, remove.addresses));
  return written + removed + routed;
}

Result<> EbpfRules::retire(Family family) {
  SLUICE_TRY(Tables* const tables, source_.find());
  if (tables == nullptr) return {};
  SLUICE_TRY(const sys::FileLock lock, tables->lock());
  __atomic_fetch_or(&tables->settings().rules[index_of(family)], SLUICE_RULES_RETIRING, __ATOMIC_RELEASE);
  return {};
}

Result<> EbpfRules::clear(Family family) {
  SLUICE_CHECK_OK(device_.replace(family, {}));
  SLUICE_TRY(Tables* const tables, source_.find());
  if (tables == nullptr) return {};
  SLUICE_TRY(const sys::FileLock lock, tables->lock());
  SLUICE_TRY(const RuleElements live, elements_in(*tables, family));
  write(tables->settings(), index_of(family), {});
  SLUICE_CHECK_OK(remove_elements(*tables, live.rules, live.allowed));
  return describe_devices(*tables);
}

Result<RuleElements> EbpfRules::read(Family family) {
  SLUICE_TRY(Tables* const tables, source_.find());
  if (tables == nullptr) return RuleElements{};
  SLUICE_TRY(const sys::FileLock lock, tables->lock());
  SLUICE_TRY(RuleElements there, elements_in(*tables, family));
  SLUICE_TRY(there.addresses, OwnDevice::addresses(family));
  return there;
}

Result<bool> EbpfRules::intact(const RuleSettings& settings) {
  SLUICE_TRY(Tables* const tables, source_.find());
  if (tables == nullptr || !tables->current()) return false;
  if (settings_in(tables->settings(), index_of(settings.family)) != settings_of(settings)) return false;
  if (tables->settings().own_device != 0) {
    SLUICE_TRY(const bool device, OwnDevice::intact());
    if (!device) return false;
  }
  SLUICE_TRY(const Programs programs, tables->programs());
  SLUICE_TRY(const Coverage found, coverage(programs));
  return std::ranges::all_of(found.without,
                             [this](const sys::Device& device) { return source_.may_lack_programs(device.index); });
}

}  // namespace sluice::ipvs::ebpf
