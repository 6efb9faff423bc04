// SPDX-License-Identifier: Apache-2.0
// Completion: what the operator wrote, in a file or as flags, becomes one configuration.
//
// The two ways do not mix. With --config the file counts, and of the flags only those that it has no field for (the
// node's name, the API server, the log); without it the flags count. Two pitfalls of flags are kept, because nodes run
// with them: sync periods are defaulted before the mode is known, so that --proxy-mode=ipvs has a least period of 1 s
// where a file's is 0; and a metrics address cannot be switched off. One improvement: a flag that --config makes
// meaningless is named in the log.
#include "config/flags.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <tuple>

#include "config/feature_gates.h"
#include "config/file.h"
#include "config/flags_parse.h"
#include "config/validate.h"

namespace sluice::config {
namespace {

// kube-proxy's addressFromDeprecatedFlags: port 0 switches the server off.
std::string address_with_port(const std::string& address, int port) {
  return port == 0 ? "" : append_port_if_needed(address, port);
}

// The flags have filled flags.config; what depends on several of them follows here.
ProxyConfig config_from_flags(const Flags& flags) {
  ProxyConfig config = flags.config;
  if (flags.write_config_to.empty()) {
    config.healthz_bind_address = address_with_port(config.healthz_bind_address, flags.healthz_port);
    config.metrics_bind_address = address_with_port(config.metrics_bind_address, flags.metrics_port);
  }
  const bool ipvs = proxy_mode(config) == ProxyMode::kIpvs;
  const Duration period =
      (ipvs ? flags.ipvs_sync_period : flags.iptables_sync_period).value_or(config.iptables.sync_period);
  const Duration min =
      (ipvs ? flags.ipvs_min_sync_period : flags.iptables_min_sync_period).value_or(config.iptables.min_sync_period);
  config.iptables.sync_period = config.ipvs.sync_period = config.nftables.sync_period = period;
  config.iptables.min_sync_period = config.ipvs.min_sync_period = config.nftables.min_sync_period = min;
  config.iptables.masquerade_all = config.nftables.masquerade_all = flags.masquerade_all;
  keep_effective_blocks(config);
  return config;
}

// The flags of the log win over the file; patterns of --vmodule come before the file's.
void override_logging(const Flags& flags, Logging& logging) {
  const Logging& given = flags.config.logging;
  const auto take = [&flags](const char* name, auto& target, const auto& source) {
    if (flags.given.contains(name)) target = source;
  };
  take("v", logging.verbosity, given.verbosity);
  take("logging-format", logging.format, given.format);
  take("log-flush-frequency", logging.flush_frequency, given.flush_frequency);
  take("log-text-split-stream", logging.options.text.split_stream, given.options.text.split_stream);
  take("log-text-info-buffer-size", logging.options.text.info_buffer_size, given.options.text.info_buffer_size);
  take("log-json-split-stream", logging.options.json.split_stream, given.options.json.split_stream);
  take("log-json-info-buffer-size", logging.options.json.info_buffer_size, given.options.json.info_buffer_size);
  logging.vmodule.insert(logging.vmodule.begin(), given.vmodule.begin(), given.vmodule.end());
}

// Fields of the file that have an effect only elsewhere. What kubeadm writes for "not set" (zero, empty) is not a
// setting.
void note_fields(const ProxyConfig& config, std::vector<Notice>& notices) {
  const ClientConnection& client = config.client_connection;
  constexpr std::string_view kWindows = "this program runs on Linux alone";
  constexpr std::string_view kRate = "requests to the API server are few, and not held back";
  constexpr std::string_view kForm = "objects are read as JSON";
  const std::tuple<bool, std::string_view, std::string_view> fields[] = {
      {!config.port_range.empty(), "portRange", "node ports are not opened by the proxy"},
      {config.windows_run_as_service, "windowsRunAsService", kWindows},
      {config.winkernel != WinkernelConfig(), "winkernel", kWindows},
      {client.qps != 0, "clientConnection.qps", kRate},
      {client.burst != 0, "clientConnection.burst", kRate},
      {!client.accept_content_types.empty(), "clientConnection.acceptContentTypes", kForm},
      {!client.content_type.empty(), "clientConnection.contentType", kForm}};
  for (const auto& [given, name, reason] : fields) {
    if (given) notices.push_back({"A field has no effect here", "field", fmt::format("{}: {}", name, reason)});
  }
}

Result<> load_file(const Flags& flags, CommandLine& line) {
  SLUICE_TRY(ConfigFile file, load_config_file(flags.config_path));
  if (!file.strict_problems.empty()) {
    line.notices.push_back(
        {"Using lenient decoding as strict decoding failed", "err", "strict decoding error: " + file.strict_problems});
  }
  line.config = std::move(file.proxy);
  line.sluice = std::move(file.sluice);
  note_fields(line.config, line.notices);
  apply_defaults(line.config);
  keep_effective_blocks(line.config);
  override_logging(flags, line.config.logging);
  return {};
}

Result<> override_hostname(const Flags& flags, ProxyConfig& config) {
  if (!flags.hostname_override || flags.hostname_override->empty()) return {};
  const std::string_view name = trimmed(*flags.hostname_override);
  if (name.empty()) return fail(Errc::kInvalid, "empty hostname-override is invalid");
  config.hostname_override = lower_case(name);
  return {};
}

Result<> override_sluice(const Flags& flags, SluiceConfig& config) {
  if (flags.manifests) config.manifests = *flags.manifests;
  if (flags.data_dir) config.data_dir = *flags.data_dir;
  if (!config.data_dir.starts_with('/')) {
    return fail(Errc::kInvalid, fmt::format("data-dir: {} is not an absolute path", quoted(config.data_dir)));
  }
  return {};
}

void note_flags(const Flags& flags, std::vector<Notice>& notices) {
  std::string ignored;
  for (const auto& [name, text] : flags.given) {
    const FlagSpec& flag = *find_flag(name);
    if (!flags.config_path.empty() && flag.with_config == WithConfig::kIgnored) {
      ignored += (ignored.empty() ? "--" : " --") + name;
    } else if (flag.use == FlagUse::kDeprecated) {
      notices.push_back({"A deprecated flag is used", "flag", fmt::format("--{}: {}", name, flag.reason)});
    } else if (flag.use == FlagUse::kNoEffect) {
      notices.push_back({"A flag has no effect here", "flag", fmt::format("--{}: {}", name, flag.reason)});
    }
  }
  if (!ignored.empty()) notices.push_back({"These flags have no effect beside --config", "flags", ignored});
}

Result<> note_gates(const ProxyConfig& config, std::vector<Notice>& notices) {
  SLUICE_TRY(const std::vector<std::string> meaningless, check_feature_gates(config.feature_gates));
  for (const std::string& name : meaningless) notices.push_back({"A feature gate has no meaning here", "gate", name});
  return {};
}

// Without --config the flags are the configuration, and reflect kube-proxy's completion of it: no mode
// becomes "iptables", an address gets its port. Flags of other kube-proxies are left out unless they were given.
std::map<std::string, std::string> values_of(const Flags& flags, const ProxyConfig& completed) {
  Flags shown = flags;
  if (flags.config_path.empty()) shown.config = completed;
  std::map<std::string, std::string> values;
  for (const FlagSpec& flag : flag_table()) {
    const auto given = flags.given.find(std::string(flag.name));
    if (flag.group == FlagGroup::kOther && given == flags.given.end()) continue;
    std::optional<std::string> text;
    if (flag.show != nullptr) {
      text = flag.show(shown);
    } else if (given != flags.given.end()) {
      text = given->second;
    }
    values.emplace(flag.name, text.value_or(std::string(flag.default_text)));
  }
  return values;
}

Result<> complete_config(const Flags& flags, CommandLine& line) {
  if (flags.config_path.empty()) {
    line.config = config_from_flags(flags);
  } else {
    SLUICE_CHECK_OK(load_file(flags, line));
  }
  line.mode_named = !line.config.mode.empty();
  apply_platform_defaults(line.config);
  SLUICE_CHECK_OK(override_hostname(flags, line.config));
  SLUICE_CHECK_OK(override_sluice(flags, line.sluice));
  line.flag_values = values_of(flags, line.config);
  return note_gates(line.config, line.notices);
}

// The value of the last --name=VALUE or --name VALUE; nothing else of the arguments need be valid.
std::optional<std::string> last_value_of(std::string_view name, const std::vector<std::string>& arguments) {
  std::optional<std::string> value;
  for (std::size_t i = 0; i < arguments.size() && arguments[i] != "--"; ++i) {
    const std::size_t end = arguments[i].find('=');
    std::string flag = arguments[i].substr(0, end);
    std::replace(flag.begin(), flag.end(), '_', '-');
    if (flag != name) continue;
    if (end != std::string::npos) {
      value = arguments[i].substr(end + 1);
    } else if (i + 1 < arguments.size()) {
      value = arguments[++i];
    }
  }
  return value;
}

std::string_view heading(FlagGroup group) {
  switch (group) {
    case FlagGroup::kSluice:
      return "Flags of Sluice";
    case FlagGroup::kProxy:
      return "Flags of kube-proxy";
    case FlagGroup::kLogging:
      return "Flags of the log";
    case FlagGroup::kOther:
      return "Flags of other kube-proxies (older ones, Windows), accepted without effect";
  }
  return "";
}

}  // namespace

Result<CommandLine> complete(const std::vector<std::string>& arguments) {
  SLUICE_TRY(const Flags flags, parse_flags(arguments));
  CommandLine line;
  line.config_path = flags.config_path;
  line.master = flags.master;
  line.show_help = flags.help;
  line.show_version = flags.version == "true" || flags.version == "raw";
  line.version_form = flags.version;
  line.write_config_to = flags.write_config_to;
  line.cleanup = flags.cleanup;
  line.init_only = flags.init_only;
  if (line.show_help || line.show_version) return line;
  note_flags(flags, line.notices);
  if (auto completed = complete_config(flags, line); !completed) return annotate(completed.error(), "failed complete");
  if (const auto problems = logging_problems(line.config, ""); !problems.empty()) {
    return fail(Errc::kInvalid, "initialize logging: " + aggregate(problems));
  }
  if (auto valid = validate(line.config); !valid) return annotate(valid.error(), "failed validate");
  return line;
}

std::string_view log_format_wanted(const std::vector<std::string>& arguments) {
  auto format = last_value_of("--logging-format", arguments);
  const auto path = format ? std::nullopt : last_value_of("--config", arguments);
  if (path) {
    if (const auto file = load_config_file(*path)) format = file->proxy.logging.format;
  }
  return format == "json" ? "json" : "text";
}

std::string help_text() {
  std::string out =
      "usage: sluice proxy [FLAG...]\n\nProxies the Services of a Kubernetes cluster on this node. A drop-in for "
      "kube-proxy: the same flags, the same\n"
      "configuration file. Flags marked with * count beside --config, the others do not.\n";
  std::optional<FlagGroup> group;
  for (const FlagSpec& flag : flag_table()) {
    if (group != flag.group) out += fmt::format("\n{}:\n", heading(flag.group));
    group = flag.group;
    out += fmt::format(" {} --{}", flag.with_config == WithConfig::kApplies ? '*' : ' ', flag.name);
    if (!flag.value_name.empty()) out += fmt::format(" {}", flag.value_name);
    if (!flag.default_text.empty()) out += fmt::format("  (default {})", flag.default_text);
    out += fmt::format("\n       {}\n", flag.help);
    if (flag.use == FlagUse::kDeprecated) out += fmt::format("       Deprecated: {}.\n", flag.reason);
    if (flag.use == FlagUse::kNoEffect) out += fmt::format("       Without effect: {}.\n", flag.reason);
  }
  return out;
}

std::string version_text(const std::string& form) {
  if (form != "raw") return fmt::format("sluice {}\n", SLUICE_VERSION);
  return fmt::format("version.Info{{Sluice:\"{}\", Kubernetes:\"{}\"}}\n", SLUICE_VERSION, kKubernetesVersion);
}

}  // namespace sluice::config
