// SPDX-License-Identifier: Apache-2.0
// From YAML to typed fields.
//
// What a scalar may be depends on the field: `masqueradeBit: "14"` is an error, and so is `hostnameOverride: 14`,
// because Kubernetes turns YAML into JSON first and JSON has types. A null means nothing: the field keeps what it
// has. Two faults are tolerated, since files outlive versions: unknown fields (a 1.20 file has udpIdleTimeout) and
// repeated ones (the last wins); they are collected, with their lines, for one line of log. Everything else stops the
// program, with the field and its line in the error.
//
// JSON is a subset of YAML, so one reader serves both. yaml-cpp throws; its exceptions end in this file.
#include "config/file.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <sstream>

#include "base/file.h"
#include "base/yaml_scalar.h"
#include "config/fields.h"
#include "ipvs/engine_choice.h"

namespace sluice::config {
namespace {

// The place of a value: "iptables.masqueradeBit", line 7.
struct Place {
  std::string path;
  int line = 0;
};

ScalarKind kind_of(const YAML::Node& node) {
  if (node.IsNull()) return ScalarKind::kNull;
  const std::string& tag = node.Tag();
  // yaml-cpp's "!" means in quotes; "?" means plain.
  return tag == "!" || tag == "tag:yaml.org,2002:str" ? ScalarKind::kString : resolve_plain(node.Scalar()).kind;
}

std::string describe(const YAML::Node& node) {
  if (node.IsMap()) return "a mapping";
  if (node.IsSequence()) return "a list";
  switch (kind_of(node)) {
    case ScalarKind::kNull:
      return "null";
    case ScalarKind::kBool:
      return "the truth value " + node.Scalar();
    case ScalarKind::kInteger:
    case ScalarKind::kFloat:
      return "the number " + node.Scalar();
    case ScalarKind::kString:
      break;
  }
  return "the text " + quoted(node.Scalar());
}

auto refuse(const Place& place, std::string_view reason) {
  return fail(Errc::kInvalid, fmt::format("{} (line {}): {}", place.path, place.line, reason));
}

auto wants(const Place& place, std::string_view wanted, const YAML::Node& node) {
  return refuse(place, fmt::format("{} is wanted, not {}", wanted, describe(node)));
}

template <typename Enum>
struct EnumNames;
template <>
struct EnumNames<IptablesFlavour> {
  static std::string wanted() { return "auto, nft or legacy"; }
  static constexpr std::array<std::pair<std::string_view, IptablesFlavour>, 3> kNames{
      {{"auto", IptablesFlavour::kAuto}, {"nft", IptablesFlavour::kNft}, {"legacy", IptablesFlavour::kLegacy}}};
};
template <>
struct EnumNames<IpvsEngine> {
  // An engine that this program lacks is a word of the format nevertheless; opening it fails.
  static std::string wanted() { return "auto or " + ipvs::built_in_engines(" or "); }
  static constexpr auto kNames = ipvs::kEngineWords;
};

// Reads one document. `strict_problems` is filled on the way.
class Decoder {
 public:
  template <Described T>
  Result<> decode(const YAML::Node& node, T& out, const Place& place) {
    if (!node.IsMap()) return wants(place, "a mapping", node);
    std::set<std::string> seen;
    for (const auto& entry : node) {
      const int line = entry.first.Mark().line + 1;
      if (!entry.first.IsScalar()) return refuse({place.path, line}, "a field's name is wanted");
      const std::string& name = entry.first.Scalar();
      const Place here{place.path.empty() ? name : place.path + "." + name, line};
      if (!seen.insert(name).second) note("repeated", here);
      SLUICE_CHECK_OK(decode_field(name, entry.second, out, here));
    }
    return {};
  }

  [[nodiscard]] std::string strict_problems() const { return fmt::format("{}", fmt::join(strict_problems_, ", ")); }

 private:
  template <Described T>
  Result<> decode_field(const std::string& name, const YAML::Node& node, T& out, const Place& place) {
    // At the top these two have already selected the type.
    if ((std::is_same_v<T, ProxyConfig> || std::is_same_v<T, SluiceConfig>) && (name == "apiVersion" || name == "kind"))
      return {};
    Result<> outcome;
    bool known = false;
    for_each_field<T>([&](const auto& each) {
      if (known || each.name != name) return;
      known = true;
      if (!node.IsNull()) outcome = decode(node, out.*each.member, place);
    });
    if (!known) note("unknown", place);
    return outcome;
  }

  Result<> decode(const YAML::Node& node, std::string& out, const Place& place) {
    if (!node.IsScalar() || kind_of(node) != ScalarKind::kString) {
      return wants(place, node.IsScalar() ? "a text (in quotes)" : "a text", node);
    }
    out = node.Scalar();
    return {};
  }

  Result<> decode(const YAML::Node& node, bool& out, const Place& place) {
    const bool is_bool = node.IsScalar() && kind_of(node) == ScalarKind::kBool;
    if (!is_bool) return wants(place, "true or false", node);
    out = resolve_plain(node.Scalar()).truth;
    return {};
  }

  template <typename Integer>
    requires std::is_same_v<Integer, std::int32_t> || std::is_same_v<Integer, std::uint32_t>
  Result<> decode(const YAML::Node& node, Integer& out, const Place& place) {
    double number = 0;
    SLUICE_CHECK_OK(decode_number(node, "a whole number", number, place));
    // Every 32 bit number is exact as a double. 14.0 is whole, as in Go's JSON after its conversion from YAML.
    using Limits = std::numeric_limits<Integer>;
    if (number != std::floor(number)) return wants(place, "a whole number", node);
    if (number < static_cast<double>(Limits::min()) || number > static_cast<double>(Limits::max())) {
      return refuse(place, fmt::format("{} is out of range: {} to {}", node.Scalar(), Limits::min(), Limits::max()));
    }
    out = static_cast<Integer>(number);
    return {};
  }

  Result<> decode(const YAML::Node& node, float& out, const Place& place) {
    double number = 0;
    SLUICE_CHECK_OK(decode_number(node, "a number", number, place));
    out = static_cast<float>(number);
    return {};
  }

  static Result<> decode_number(const YAML::Node& node, std::string_view wanted, double& out, const Place& place) {
    const ScalarKind kind = node.IsScalar() ? kind_of(node) : ScalarKind::kString;
    if (kind != ScalarKind::kInteger && kind != ScalarKind::kFloat) return wants(place, wanted, node);
    out = resolve_plain(node.Scalar()).number;
    if (!std::isfinite(out)) return wants(place, wanted, node);
    return {};
  }

  Result<> decode(const YAML::Node& node, Duration& out, const Place& place) {
    if (!node.IsScalar() || kind_of(node) != ScalarKind::kString) {
      return wants(place, "a duration in quotes or with a unit, as 30s or 1h5m,", node);
    }
    auto duration = parse_duration(node.Scalar());
    if (!duration) return refuse(place, duration.error().what);
    out = *duration;
    return {};
  }

  Result<> decode(const YAML::Node& node, FlushFrequency& out, const Place& place) {
    if (!node.IsScalar() || kind_of(node) != ScalarKind::kInteger) return decode(node, out.value, place);
    const PlainScalar scalar = resolve_plain(node.Scalar());
    const auto most = static_cast<std::uint64_t>(Duration::max().count());
    if (scalar.magnitude > most) return refuse(place, fmt::format("{} is out of range", node.Scalar()));
    const auto count = static_cast<std::int64_t>(scalar.magnitude);
    out.value = Duration(scalar.negative ? -count : count);
    return {};
  }

  // resource.Quantity: digits, perhaps a point, perhaps a decimal (k, M, ...) or binary (Ki, Mi, ...) suffix.
  Result<> decode(const YAML::Node& node, Quantity& out, const Place& place) {
    if (!node.IsScalar() || kind_of(node) == ScalarKind::kBool) return wants(place, "a quantity", node);
    const std::string& text = node.Scalar();
    const std::size_t digits = std::min(text.find_first_not_of("+-.0123456789"), text.size());
    const std::string suffix = text.substr(digits);
    static const std::set<std::string> kSuffixes{"",  "n", "u",  "m",  "k",  "M",  "G",  "T",
                                                 "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"};
    if (!parse_number(text.substr(0, digits)) || !kSuffixes.contains(suffix)) return wants(place, "a quantity", node);
    out.text = text;
    return {};
  }

  template <typename Enum>
    requires std::is_enum_v<Enum>
  Result<> decode(const YAML::Node& node, Enum& out, const Place& place) {
    for (const auto& [name, value] : EnumNames<Enum>::kNames) {
      if (node.IsScalar() && node.Scalar() == name) {
        out = value;
        return {};
      }
    }
    return wants(place, EnumNames<Enum>::wanted(), node);
  }

  template <typename T>
  Result<> decode(const YAML::Node& node, std::optional<T>& out, const Place& place) {
    T value{};
    SLUICE_CHECK_OK(decode(node, value, place));
    out = value;
    return {};
  }

  template <typename T>
  Result<> decode(const YAML::Node& node, std::vector<T>& out, const Place& place) {
    if (!node.IsSequence()) return wants(place, "a list", node);
    out.clear();
    for (const YAML::Node& item : node) {
      const Place here{fmt::format("{}[{}]", place.path, out.size()), item.Mark().line + 1};
      out.emplace_back();
      SLUICE_CHECK_OK(decode(item, out.back(), here));
    }
    return {};
  }

  Result<> decode(const YAML::Node& node, std::map<std::string, bool>& out, const Place& place) {
    if (!node.IsMap()) return wants(place, "a mapping", node);
    for (const auto& entry : node) {
      const Place here{place.path + "." + (entry.first.IsScalar() ? entry.first.Scalar() : "?"),
                       entry.first.Mark().line + 1};
      if (!entry.first.IsScalar()) return refuse(here, "a name is wanted");
      bool value = false;
      SLUICE_CHECK_OK(decode(entry.second, value, here));
      if (!out.insert_or_assign(entry.first.Scalar(), value).second) note("repeated", here);
    }
    return {};
  }

  void note(std::string_view what, const Place& place) {
    strict_problems_.push_back(fmt::format("{} field \"{}\" (line {})", what, place.path, place.line));
  }

  std::vector<std::string> strict_problems_;
};

// Our own two rules beyond types; here, because only here the lines are known.
Result<> check(const SluiceConfig& config) {
  if (config.ipvs.drain_timeout <= Duration(0))
    return fail(Errc::kInvalid, "ipvs.drainTimeout: must be greater than 0");
  if (config.data_dir.empty() || config.data_dir.front() != '/') {
    return fail(Errc::kInvalid, fmt::format("dataDir: {} is not an absolute path", quoted(config.data_dir)));
  }
  return {};
}

std::string scalar_member(const YAML::Node& document, const std::string& name) {
  const YAML::Node node = document[name];
  return node.IsDefined() && node.IsScalar() ? node.Scalar() : "";
}

struct Seen {
  bool proxy = false;
  bool sluice = false;
};

Result<> read_document(const YAML::Node& document, ConfigFile& file, Seen& seen) {
  const int line = document.Mark().line + 1;
  if (!document.IsMap()) {
    return fail(Errc::kInvalid, fmt::format("line {}: a {} is wanted, not {}", line, kProxyKind, describe(document)));
  }
  const std::string version = scalar_member(document, "apiVersion");
  const std::string kind = scalar_member(document, "kind");
  const bool is_proxy = version == kProxyApiVersion && kind == kProxyKind;
  const bool is_sluice = version == kSluiceApiVersion && kind == kSluiceKind;
  if (!is_proxy && !is_sluice) {
    return fail(
        Errc::kInvalid,
        fmt::format("line {}: no kind {} is registered for version {}; {} of {} and {} of {} are", line, quoted(kind),
                    quoted(version), kProxyKind, kProxyApiVersion, kSluiceKind, kSluiceApiVersion));
  }
  if (std::exchange(is_proxy ? seen.proxy : seen.sluice, true)) {
    return fail(Errc::kInvalid, fmt::format("line {}: a second document of kind {}", line, kind));
  }
  Decoder decoder;
  if (is_proxy) {
    SLUICE_CHECK_OK(decoder.decode(document, file.proxy, Place{}));
    file.strict_problems = decoder.strict_problems();
    return {};
  }
  SLUICE_CHECK_OK(decoder.decode(document, file.sluice, Place{}));
  const std::string problems = decoder.strict_problems();
  if (!problems.empty()) return fail(Errc::kInvalid, fmt::format("{}: {}", kSluiceKind, problems));
  if (auto checked = check(file.sluice); !checked) return annotate(checked.error(), std::string(kSluiceKind));
  return {};
}

}  // namespace

Result<ConfigFile> parse_config_text(const std::string& text) {
  ConfigFile file;
  Seen seen;
  try {
    for (const YAML::Node& document : YAML::LoadAll(text)) {
      if (document.IsNull()) continue;  // a comment between two separators
      SLUICE_CHECK_OK(read_document(document, file, seen));
    }
  } catch (const YAML::Exception& exception) {
    return fail(Errc::kInvalid, fmt::format("line {}: {}", exception.mark.line + 1, exception.msg));
  } catch (const std::exception& exception) {
    return fail(Errc::kInvalid, fmt::format("not readable as YAML: {}", exception.what()));
  }
  if (!seen.proxy && !seen.sluice) return fail(Errc::kInvalid, fmt::format("there is no {} in it", kProxyKind));
  return file;
}

Result<ConfigFile> load_config_file(const std::string& path) {
  SLUICE_TRY(const std::string text, read_file(path, kConfigFileBytesMax));
  auto file = parse_config_text(text);
  if (!file) return annotate(file.error(), "failed to decode: " + path);
  return file;
}

}  // namespace sluice::config
