// SPDX-License-Identifier: Apache-2.0
#include "config/flags_table.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <functional>
#include <set>

#include "config/flags_parse.h"

namespace sluice::config {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using Texts = std::vector<std::string>;

struct Row {
  std::string name;
  std::string value;
  std::function<bool(const Flags&)> landed;
};

// One row for each flag of the table, with a value that is not its default.
const std::vector<Row>& rows() {
  static const std::vector<Row> kRows{
      {"data-dir", "/d", [](const Flags& f) { return f.data_dir == "/d"; }},
      {"help", "true", [](const Flags& f) { return f.help; }},
      {"manifests", "/m", [](const Flags& f) { return f.manifests == "/m"; }},
      {"bind-address", "10.0.0.1", [](const Flags& f) { return f.config.bind_address == "10.0.0.1"; }},
      {"bind-address-hard-fail", "true", [](const Flags& f) { return f.config.bind_address_hard_fail; }},
      {"cleanup", "true", [](const Flags& f) { return f.cleanup; }},
      {"cluster-cidr", "10.0.0.0/8,fd00::/48",
       [](const Flags& f) { return f.config.cluster_cidr == "10.0.0.0/8,fd00::/48"; }},
      {"config", "/c", [](const Flags& f) { return f.config_path == "/c"; }},
      {"config-sync-period", "1m", [](const Flags& f) { return f.config.config_sync_period == 1min; }},
      {"conntrack-max-per-core", "0x10", [](const Flags& f) { return f.config.conntrack.max_per_core == 16; }},
      {"conntrack-min", "7", [](const Flags& f) { return f.config.conntrack.min == 7; }},
      {"conntrack-tcp-be-liberal", "true", [](const Flags& f) { return f.config.conntrack.tcp_be_liberal; }},
      {"conntrack-tcp-timeout-close-wait", "2m",
       [](const Flags& f) { return f.config.conntrack.tcp_close_wait_timeout == 2min; }},
      {"conntrack-tcp-timeout-established", "3m",
       [](const Flags& f) { return f.config.conntrack.tcp_established_timeout == 3min; }},
      {"conntrack-udp-timeout", "4s", [](const Flags& f) { return f.config.conntrack.udp_timeout == 4s; }},
      {"conntrack-udp-timeout-stream", "5s",
       [](const Flags& f) { return f.config.conntrack.udp_stream_timeout == 5s; }},
      {"detect-local-mode", "NodeCIDR", [](const Flags& f) { return f.config.detect_local_mode == "NodeCIDR"; }},
      {"feature-gates", "A=true", [](const Flags& f) { return f.config.feature_gates.contains("A"); }},
      {"healthz-bind-address", "1.2.3.4:5",
       [](const Flags& f) { return f.config.healthz_bind_address == "1.2.3.4:5"; }},
      {"healthz-port", "6", [](const Flags& f) { return f.healthz_port == 6; }},
      {"hostname-override", "n", [](const Flags& f) { return f.hostname_override == "n"; }},
      {"init-only", "true", [](const Flags& f) { return f.init_only; }},
      {"iptables-localhost-nodeports", "false",
       [](const Flags& f) { return f.config.iptables.localhost_node_ports == false; }},
      {"iptables-masquerade-bit", "8", [](const Flags& f) { return f.config.iptables.masquerade_bit == 8; }},
      {"iptables-min-sync-period", "9s", [](const Flags& f) { return f.iptables_min_sync_period == 9s; }},
      {"iptables-sync-period", "10s", [](const Flags& f) { return f.iptables_sync_period == 10s; }},
      {"ipvs-exclude-cidrs", "10.0.0.0/8,11.0.0.0/8",
       [](const Flags& f) { return items(f.config.ipvs.exclude_cidrs) == Texts{"10.0.0.0/8", "11.0.0.0/8"}; }},
      {"ipvs-min-sync-period", "11s", [](const Flags& f) { return f.ipvs_min_sync_period == 11s; }},
      {"ipvs-scheduler", "mh", [](const Flags& f) { return f.config.ipvs.scheduler == "mh"; }},
      {"ipvs-strict-arp", "true", [](const Flags& f) { return f.config.ipvs.strict_arp; }},
      {"ipvs-sync-period", "12s", [](const Flags& f) { return f.ipvs_sync_period == 12s; }},
      {"ipvs-tcp-timeout", "13s", [](const Flags& f) { return f.config.ipvs.tcp_timeout == 13s; }},
      {"ipvs-tcpfin-timeout", "14s", [](const Flags& f) { return f.config.ipvs.tcp_fin_timeout == 14s; }},
      {"ipvs-udp-timeout", "15s", [](const Flags& f) { return f.config.ipvs.udp_timeout == 15s; }},
      {"kube-api-burst", "16", [](const Flags& f) { return f.config.client_connection.burst == 16; }},
      {"kube-api-content-type", "application/json",
       [](const Flags& f) { return f.config.client_connection.content_type == "application/json"; }},
      {"kube-api-qps", "1.5", [](const Flags& f) { return f.config.client_connection.qps == 1.5F; }},
      {"kubeconfig", "/k", [](const Flags& f) { return f.config.client_connection.kubeconfig == "/k"; }},
      {"masquerade-all", "true", [](const Flags& f) { return f.masquerade_all; }},
      {"master", "https://m", [](const Flags& f) { return f.master == "https://m"; }},
      {"metrics-bind-address", "[::1]:5", [](const Flags& f) { return f.config.metrics_bind_address == "[::1]:5"; }},
      {"metrics-port", "17", [](const Flags& f) { return f.metrics_port == 17; }},
      {"nodeport-addresses", "primary",
       [](const Flags& f) { return items(f.config.node_port_addresses) == Texts{"primary"}; }},
      {"oom-score-adj", "-18", [](const Flags& f) { return f.config.oom_score_adj == -18; }},
      {"pod-bridge-interface", "br", [](const Flags& f) { return f.config.detect_local.bridge_interface == "br"; }},
      {"pod-interface-name-prefix", "veth",
       [](const Flags& f) { return f.config.detect_local.interface_name_prefix == "veth"; }},
      {"profiling", "true", [](const Flags& f) { return f.config.enable_profiling; }},
      {"proxy-mode", "ipvs", [](const Flags& f) { return f.config.mode == "ipvs"; }},
      {"proxy-port-range", "1-2", [](const Flags& f) { return f.config.port_range == "1-2"; }},
      {"show-hidden-metrics-for-version", "1.35",
       [](const Flags& f) { return f.config.show_hidden_metrics_for_version == "1.35"; }},
      {"version", "raw", [](const Flags& f) { return f.version == "raw"; }},
      {"windows-service", "true", [](const Flags& f) { return f.config.windows_run_as_service; }},
      {"write-config-to", "/w", [](const Flags& f) { return f.write_config_to == "/w"; }},
      {"log-flush-frequency", "19s", [](const Flags& f) { return f.config.logging.flush_frequency.value == 19s; }},
      {"log-json-info-buffer-size", "1Ki",
       [](const Flags& f) { return f.config.logging.options.json.info_buffer_size.text == "1Ki"; }},
      {"log-json-split-stream", "true", [](const Flags& f) { return f.config.logging.options.json.split_stream; }},
      {"log-text-info-buffer-size", "2M",
       [](const Flags& f) { return f.config.logging.options.text.info_buffer_size.text == "2M"; }},
      {"log-text-split-stream", "true", [](const Flags& f) { return f.config.logging.options.text.split_stream; }},
      {"logging-format", "json", [](const Flags& f) { return f.config.logging.format == "json"; }},
      {"v", "4", [](const Flags& f) { return f.config.logging.verbosity == 4; }},
      {"vmodule", "a*=1,b=2",
       [](const Flags& f) { return f.config.logging.vmodule == std::vector<VerbosityPattern>{{"a*", 1}, {"b", 2}}; }},
  };
  return kRows;
}

// Accepted, and kept nowhere.
const std::set<std::string>& unused() {
  static const std::set<std::string> kNames{"add-dir-header",   "alsologtostderr", "boot-id-file", "cleanup-ipvs",
                                            "log-backtrace-at", "log-dir",         "log-file",     "log-file-max-size",
                                            "logtostderr",      "machine-id-file", "one-output",   "skip-headers",
                                            "skip-log-headers", "stderrthreshold", "udp-timeout"};
  return kNames;
}

TEST(FlagTable, EveryFlagIsCoveredHereAndSetsItsField) {
  std::set<std::string> covered = unused();
  for (const Row& row : rows()) {
    ASSERT_NE(find_flag(row.name), nullptr) << row.name;
    EXPECT_FALSE(row.landed(Flags{})) << row.name << ": the row's value is the default";
    const auto flags = parse_flags({"--" + row.name + "=" + row.value});
    ASSERT_TRUE(flags) << row.name << ": " << flags.error().what;
    EXPECT_TRUE(row.landed(*flags)) << row.name;
    covered.insert(row.name);
  }
  for (const FlagSpec& flag : flag_table())
    EXPECT_TRUE(covered.contains(std::string(flag.name))) << flag.name << " is not covered";
  EXPECT_EQ(covered.size(), flag_table().size());
}

TEST(FlagTable, FlagsKeptNowhereSaySo) {
  for (const std::string& name : unused()) {
    ASSERT_NE(find_flag(name), nullptr) << name;
    EXPECT_EQ(find_flag(name)->use, FlagUse::kNoEffect) << name;
    EXPECT_TRUE(parse_flags({"--" + name + "=1"})) << name;
  }
}

TEST(FlagTable, DefaultsParseToThemselves) {
  for (const FlagSpec& flag : flag_table()) {
    if (flag.default_text.empty() || flag.name == "ipvs-min-sync-period") continue;
    Flags flags;
    ASSERT_TRUE(flag.set(flags, flag.default_text)) << flag.name;
    EXPECT_EQ(flags.config, default_config()) << flag.name << ": the default in the table is not the configuration's";
  }
}

TEST(FlagTable, IsInOrderAndExplainsItself) {
  const auto table = flag_table();
  EXPECT_TRUE(std::is_sorted(table.begin(), table.end(), [](const FlagSpec& a, const FlagSpec& b) {
    return std::pair(a.group, a.name) < std::pair(b.group, b.name);
  }));
  for (const FlagSpec& flag : table) {
    EXPECT_TRUE(flag.help.ends_with('.')) << flag.name;
    EXPECT_EQ(flag.reason.empty(), flag.use == FlagUse::kHonoured) << flag.name;
  }
}

TEST(ParseFlags, WritesAreInterchangeable) {
  const Texts lines[] = {
      {"--proxy-mode=ipvs", "-v=2"},   {"--proxy-mode", "ipvs", "-v", "2"},     {"--proxy_mode=ipvs", "--v=2"},
      {"--proxy_mode", "ipvs", "-v2"}, {"--v", "2", "--proxy-mode=ipvs", "--"},
  };
  for (const Texts& line : lines) {
    const auto flags = parse_flags(line);
    ASSERT_TRUE(flags) << testing::PrintToString(line) << flags.error().what;
    EXPECT_EQ(flags->config.mode, "ipvs");
    EXPECT_EQ(flags->config.logging.verbosity, 2U);
  }
}

TEST(ParseFlags, TruthValuesMayStandAlone) {
  EXPECT_TRUE(parse_flags({"--cleanup"})->cleanup);
  EXPECT_TRUE(parse_flags({"--cleanup=T"})->cleanup);
  EXPECT_FALSE(parse_flags({"--cleanup", "--cleanup=false"})->cleanup);
  EXPECT_EQ(parse_flags({"--version"})->version, "true");
  EXPECT_EQ(parse_flags({"--version=v1.36.1"})->version, "v1.36.1");
  EXPECT_TRUE(parse_flags({"-h"})->help);
}

TEST(ParseFlags, ValuesMayBeginWithADash) {
  EXPECT_EQ(parse_flags({"--oom-score-adj", "-5"})->config.oom_score_adj, -5);
}

TEST(ParseFlags, RepeatedListsAddUpAndRepeatedScalarsReplace) {
  const auto flags = parse_flags({"--nodeport-addresses=10.0.0.0/8", "--nodeport-addresses=11.0.0.0/8,fd00::/64",
                                  "--feature-gates=A=true,B=true", "--feature-gates=B=false", "--proxy-mode=ipvs",
                                  "--proxy-mode=nftables"});
  ASSERT_TRUE(flags) << flags.error().what;
  EXPECT_EQ(items(flags->config.node_port_addresses), (Texts{"10.0.0.0/8", "11.0.0.0/8", "fd00::/64"}));
  EXPECT_EQ(flags->config.feature_gates, (std::map<std::string, bool>{{"A", true}, {"B", false}}));
  EXPECT_EQ(flags->config.mode, "nftables");
}

TEST(ParseFlags, EmptyAddressesLeaveTheDefault) {
  const auto flags = parse_flags({"--bind-address=", "--healthz-bind-address=", "--metrics-bind-address="});
  ASSERT_TRUE(flags) << flags.error().what;
  EXPECT_EQ(flags->config, default_config());
}

TEST(ParseFlags, FaultsAreReportedWithPflagsTexts) {
  struct Refused {
    Texts line;
    std::string fragment;
  };
  const Refused refused[] = {
      {{"--bogus"}, "unknown flag: --bogus"},
      {{"--bogus=1"}, "unknown flag: --bogus"},
      {{"-x"}, "unknown shorthand flag: 'x' in -x"},
      {{"-config=/x"}, "unknown shorthand flag: 'c' in -config=/x"},
      {{"--=x"}, "bad flag syntax: --=x"},
      {{"---x"}, "bad flag syntax: ---x"},
      {{"--proxy-mode"}, "flag needs an argument: --proxy-mode"},
      {{"--proxy_mode"}, "flag needs an argument: --proxy_mode"},
      {{"--no_such=1"}, "unknown flag: --no_such"},
      {{"-v"}, "flag needs an argument: 'v' in -v"},
      {{"--v=abc"}, "invalid argument \"abc\" for \"-v, --v\" flag: "},
      {{"--help=x"}, "invalid argument \"x\" for \"-h, --help\" flag: "},
      {{"--oom_score_adj=x"}, "invalid argument \"x\" for \"--oom-score-adj\" flag: "},
      {{"-v="}, "invalid argument \"=\" for \"-v, --v\" flag: "},
      {{"-v=x"}, "invalid argument \"x\" for \"-v, --v\" flag: "},
      {{"--v=-1"}, "invalid argument \"-1\" for \"-v, --v\" flag: value out of range"},
      {{"--cleanup=maybe"}, "invalid argument \"maybe\" for \"--cleanup\" flag: "},
      {{"--conntrack-min=many"}, "invalid argument \"many\" for \"--conntrack-min\" flag: "},
      {{"--conntrack-min=2147483648"}, "value out of range"},
      {{"--config-sync-period=5"}, "time: missing unit in duration \"5\""},
      {{"--bind-address=host"}, "\"host\" is not a valid IP address"},
      {{"--healthz-bind-address=host:5"}, "\"host\" is not a valid IP address"},
      {{"--healthz-bind-address=host"}, "\"host\" is not in a valid format (ip or ip:port)"},
      {{"--metrics-bind-address=1.2.3.4:x"}, "\"x\" is not a valid number"},
      {{"--kube-api-qps=fast"}, "a number is wanted"},
      {{"--vmodule=a"}, "\"a\" is not pattern=N"},
      {{"--vmodule=a=x"}, "the verbosity in \"a=x\" is not a number"},
      {{"--feature-gates=A=maybe"}, "invalid value of A: \"maybe\""},
      {{"--feature-gates=A"}, "invalid value \"A\""},
      {{"--log-json-info-buffer-size=x"}, "a quantity is wanted"},
      {{"--version=no-such"}, "true, false, raw or vX.Y.Z is wanted"},
      {{"word"}, "\"kube-proxy\" does not take any arguments, got [\"word\"]"},
      {{"--cleanup", "false"}, "\"kube-proxy\" does not take any arguments, got [\"false\"]"},
      {{"a", "--cleanup", "--", "--b"}, "\"kube-proxy\" does not take any arguments, got [\"a\" \"--b\"]"},
      {{"", "a", ""}, "\"kube-proxy\" does not take any arguments, got [\"\" \"a\" \"\"]"},
      {{"-"}, "\"kube-proxy\" does not take any arguments, got [\"-\"]"},
  };
  for (const Refused& row : refused) {
    const auto flags = parse_flags(row.line);
    ASSERT_FALSE(flags) << testing::PrintToString(row.line);
    EXPECT_THAT(flags.error().what, HasSubstr(row.fragment));
  }
}

TEST(ParseFlags, EmptyWordsAreNoArguments) {
  const std::vector<Texts> lines{{"", "--config=/c"}, {"--config", "/c", ""}, {"", "", "--config=/c", "--", ""}};
  for (const Texts& line : lines) {
    const auto flags = parse_flags(line);
    ASSERT_TRUE(flags) << flags.error().what;
    EXPECT_EQ(flags->config_path, "/c");
  }
  EXPECT_EQ(parse_flags({"--config", ""})->config_path, "") << "an empty word may be a value";
}

TEST(FlagTable, ShownValuesAreInGosNotation) {
  const auto shown = [](const Texts& line, std::string_view name) {
    auto flags = parse_flags(line);
    EXPECT_TRUE(flags) << flags.error().what;
    return find_flag(name)->show(*flags).value_or("-");
  };
  EXPECT_EQ(shown({"--conntrack-min=0x10"}, "conntrack-min"), "16");
  EXPECT_EQ(shown({"--config-sync-period=900s"}, "config-sync-period"), "15m0s");
  EXPECT_EQ(shown({"--profiling=T"}, "profiling"), "true");
  EXPECT_EQ(shown({"--ipvs-exclude-cidrs=10.0.0.0/8", "--ipvs-exclude-cidrs=fd00::/8"}, "ipvs-exclude-cidrs"),
            "[10.0.0.0/8,fd00::/8]");
  EXPECT_EQ(shown({}, "ipvs-exclude-cidrs"), "[]");
  EXPECT_EQ(shown({"--feature-gates=B=true", "--feature-gates=A=false"}, "feature-gates"), "A=false,B=true");
  EXPECT_EQ(shown({"--vmodule=a=1,b*=2"}, "vmodule"), "a=1,b*=2");
  EXPECT_EQ(shown({"--kube-api-qps=2.50"}, "kube-api-qps"), "2.5");
  EXPECT_EQ(shown({"--ipvs-sync-period=60s"}, "ipvs-sync-period"), "1m0s");
  EXPECT_EQ(shown({}, "ipvs-sync-period"), "-") << "the default of the table";
  EXPECT_EQ(shown({"--version"}, "version"), "true");
}

// What a flag shows when nothing was given must be what --help calls its default.
TEST(FlagTable, DefaultsAreWhatIsShown) {
  auto flags = parse_flags({});
  ASSERT_TRUE(flags);
  for (const FlagSpec& flag : flag_table()) {
    if (flag.show == nullptr) continue;
    const std::string text = flag.show(*flags).value_or(std::string(flag.default_text));
    EXPECT_EQ(text == "[]" ? "" : text, flag.default_text) << flag.name;
  }
}

}  // namespace
}  // namespace sluice::config
