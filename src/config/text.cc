// SPDX-License-Identifier: Apache-2.0
// From typed fields to text, in two steps: first a small tree of values, then YAML or JSON from the tree.
//
// The YAML has to be what kube-proxy's library prints, to the byte, because people compare the two. Its habits:
// mappings sorted by key, lists not indented below their key, an absent list is `null`, and a text gets quotes only
// where it would otherwise be read as something else: double quotes if it looks like another type ("0", ""), single
// ones if its characters have a meaning in YAML ('[::]:10256').
#include "config/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <system_error>

#include "base/yaml_scalar.h"
#include "config/fields.h"

namespace sluice::config {
namespace {

struct Member;

struct Value {
  enum class Kind : std::uint8_t { kBare, kText, kMap, kList };  // kBare: null, a number or a boolean, as printed
  Kind kind = Kind::kBare;
  std::string text = "null";
  std::vector<Member> members;
  std::vector<Value> items;
};

struct Member {
  std::string name;
  Value value;
};

Value bare(std::string text) {
  return {Value::Kind::kBare, std::move(text), {}, {}};
}
Value text_value(std::string text) {
  return {Value::Kind::kText, std::move(text), {}, {}};
}

Value value_of(bool value) {
  return bare(value ? "true" : "false");
}
Value value_of(std::int32_t value) {
  return bare(std::to_string(value));
}
Value value_of(std::uint32_t value) {
  return bare(std::to_string(value));
}
Value value_of(float value) {
  return bare(fmt::format("{}", value));
}
Value value_of(const std::string& value) {
  return text_value(value);
}
Value value_of(Duration value) {
  return text_value(format_duration(value));
}
Value value_of(const FlushFrequency& value) {
  return value_of(value.value);
}
Value value_of(const Quantity& value) {
  return text_value(value.text);
}

template <Described T>
Value value_of(const T& value);

template <typename T>
Value value_of(const std::vector<T>& value) {
  Value list{Value::Kind::kList, {}, {}, {}};
  for (const T& item : value) list.items.push_back(value_of(item));
  return list;
}

template <typename T>
Value value_of(const std::optional<T>& value) {
  return value ? value_of(*value) : Value{};
}

Value value_of(const std::map<std::string, bool>& value) {
  Value map{Value::Kind::kMap, {}, {}, {}};
  for (const auto& [name, enabled] : value) map.members.push_back({name, value_of(enabled)});
  return map;
}

template <typename T>
bool is_empty(const T& value) {
  return value == T{};
}

template <Described T>
Value value_of(const T& value) {
  Value map{Value::Kind::kMap, {}, {}, {}};
  for_each_field<T>([&](const auto& each) {
    const auto& member = value.*each.member;
    if (each.omit_empty && is_empty(member)) return;
    map.members.push_back({std::string(each.name), value_of(member)});
  });
  return map;
}

Value object_of(const ProxyConfig& config) {
  Value object = value_of(config);
  object.members.push_back({"apiVersion", text_value(std::string(kProxyApiVersion))});
  object.members.push_back({"kind", text_value(std::string(kProxyKind))});
  std::sort(object.members.begin(), object.members.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return object;
}

// "1:20" was a number in base 60 for old readers, and the library still quotes it: digits, then groups of at
// most 59.
bool is_base_60(std::string_view text) {
  if (text.front() == '-' || text.front() == '+') text.remove_prefix(1);
  const std::string_view fraction = text.substr(std::min(text.find('.'), text.size()));
  const std::vector<std::string> groups = split(text.substr(0, text.size() - fraction.size()), ':');
  const auto all_of = [](std::string_view part, std::string_view allowed) {
    return part.find_first_not_of(allowed) == std::string_view::npos;
  };
  if (groups.size() < 2 || groups[0].empty() || groups[0].front() == '_') return false;
  if (!all_of(groups[0], "0123456789_") || !all_of(fraction, ".0123456789_") ||
      (!fraction.empty() && fraction.rfind('.') > 0))
    return false;
  return std::all_of(groups.begin() + 1, groups.end(), [&](const std::string& group) {
    return !group.empty() && all_of(group, "0123456789") &&
           (group.size() == 1 || (group.size() == 2 && group[0] < '6'));
  });
}

// "2001-01-01", perhaps with a time: YAML 1.1 has dates.
bool is_date(std::string_view text) {
  const std::size_t end = std::min(text.find_first_of("Tt "), text.size());
  const std::vector<std::string> parts = split(text.substr(0, end), '-');
  const auto digits = [](const std::string& part, std::size_t least, std::size_t most) {
    return part.size() >= least && part.size() <= most && part.find_first_not_of("0123456789") == std::string::npos;
  };
  return parts.size() == 3 && digits(parts[0], 4, 4) && digits(parts[1], 1, 2) && digits(parts[2], 1, 2);
}

// libyaml's rules for an unquoted scalar of a block mapping or list.
bool can_be_plain(std::string_view text) {
  if (text.front() == ' ' || text.back() == ' ' || text.starts_with("---") || text.starts_with("...")) return false;
  if (std::string_view("#,[]{}&*!|>'\"%@`").find(text.front()) != std::string_view::npos) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool space_follows = i + 1 == text.size() || text[i + 1] == ' ';
    const bool space_before = i > 0 && text[i - 1] == ' ';
    if (text[i] == ':' && space_follows) return false;
    if (text[i] == '#' && space_before) return false;
    if (i == 0 && (text[i] == '-' || text[i] == '?') && space_follows) return false;
  }
  return true;
}

std::string yaml_scalar(const Value& value) {
  if (value.kind == Value::Kind::kBare) return value.text;
  const std::string& text = value.text;
  const bool control =
      std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (control || resolve_plain(text).kind != ScalarKind::kString || is_base_60(text) || is_date(text))
    return quoted(text);
  if (can_be_plain(text)) return text;
  std::string out = "'";
  for (const char c : text) out.append(c == '\'' ? 2 : 1, c);
  return out + "'";
}

void append_yaml(const Value& value, std::size_t indent, std::string& out);

// What follows "key:" or "-": a scalar on the same line, or a block below it.
void append_yaml_members(const Value& value, std::size_t indent, bool first_is_indented, std::string& out) {
  for (const auto& [name, member] : value.members) {
    out.append(first_is_indented ? indent : 0, ' ');
    first_is_indented = true;
    out += yaml_scalar(text_value(name)) + ":";
    append_yaml(member, indent, out);
  }
}

void append_yaml(const Value& value, std::size_t indent, std::string& out) {
  constexpr std::size_t kStep = 2;
  if (value.kind == Value::Kind::kMap) {
    out += value.members.empty() ? " {}\n" : "\n";
    append_yaml_members(value, indent + kStep, true, out);
  } else if (value.kind == Value::Kind::kList) {
    out += value.items.empty() ? " []\n" : "\n";
    for (const Value& item : value.items) {
      out.append(indent, ' ');
      out += "-";
      if (item.kind == Value::Kind::kMap) {
        out += " ";
        append_yaml_members(item, indent + kStep, false, out);
      } else {
        append_yaml(item, indent, out);
      }
    }
  } else {
    out += " " + yaml_scalar(value) + "\n";
  }
}

std::string json(const Value& value) {
  std::string out;
  switch (value.kind) {
    case Value::Kind::kBare:
      return value.text;
    case Value::Kind::kText:
      return quoted(value.text);
    case Value::Kind::kMap:
      for (const auto& [name, member] : value.members)
        out += (out.empty() ? "" : ",") + quoted(name) + ":" + json(member);
      return "{" + out + "}";
    case Value::Kind::kList:
      break;
  }
  for (const Value& item : value.items) out += (out.empty() ? "" : ",") + json(item);
  return "[" + out + "]";
}

}  // namespace

std::string config_yaml(const ProxyConfig& config) {
  std::string out;
  append_yaml_members(object_of(config), 0, true, out);
  return out;
}

std::string configz_json(const ProxyConfig& config) {
  return json(object_of(config));
}

Result<> write_config(const ProxyConfig& config, const std::string& path) {
  std::ofstream stream(path, std::ios::binary | std::ios::trunc);
  stream << config_yaml(config);
  stream.close();
  if (!stream)
    return fail(Errc::kUnavailable, fmt::format("write {}: {}", path, std::generic_category().message(errno)), errno);
  return {};
}

}  // namespace sluice::config
