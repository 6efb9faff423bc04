// SPDX-License-Identifier: Apache-2.0
#include "config/flags.h"

#include <gmock/gmock.h>

#include <cstdio>
#include <fstream>

#include "config/flags_table.h"

namespace sluice::config {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;
using Texts = std::vector<std::string>;

CommandLine completed(const Texts& arguments) {
  auto line = complete(arguments);
  EXPECT_TRUE(line) << testing::PrintToString(arguments) << (line ? "" : line.error().what);
  return line ? *line : CommandLine{};
}

std::string error_of(const Texts& arguments) {
  const auto line = complete(arguments);
  return line ? "no error" : line.error().what;
}

// A configuration file for one test.
class File {
 public:
  explicit File(const std::string& body)
      : path_(testing::TempDir() + "sluice-flags-" + testing::UnitTest::GetInstance()->current_test_info()->name() +
              ".yaml") {
    std::ofstream(path_) << "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n" << body;
  }
  ~File() { std::remove(path_.c_str()); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  [[nodiscard]] std::string flag() const { return "--config=" + path_; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(Complete, NothingMeansDefaults) {
  ProxyConfig wanted = default_config();
  apply_platform_defaults(wanted);
  const CommandLine line = completed({});
  EXPECT_EQ(line.config, wanted);
  EXPECT_EQ(line.sluice, SluiceConfig{});
  EXPECT_THAT(line.notices, IsEmpty());
  EXPECT_EQ(line.flag_values.at("proxy-mode"), "iptables");
  EXPECT_EQ(line.flag_values.at("detect-local-mode"), "ClusterCIDR");
}

// Upstream: TestProcessV1Alpha1Flags. The last row is the trap that nodes run with: a file's ipvs block would say 0.
TEST(Complete, PeriodsOfFlagsFollowTheMode) {
  struct Row {
    std::string name;
    Texts arguments;
    SyncPeriods wanted;
  };
  const Row rows[] = {
      {"iptables", {"--iptables-sync-period=36s", "--iptables-min-sync-period=3s"}, {36s, 3s}},
      {"nftables takes iptables'",
       {"--proxy-mode=nftables", "--iptables-sync-period=36s", "--iptables-min-sync-period=3s"},
       {36s, 3s}},
      {"ipvs", {"--proxy-mode=ipvs", "--ipvs-sync-period=32s", "--ipvs-min-sync-period=0s"}, {32s, 0s}},
      {"ipvs does not take iptables'", {"--proxy-mode=ipvs", "--iptables-sync-period=36s"}, {30s, 1s}},
      {"iptables does not take ipvs'", {"--ipvs-sync-period=32s"}, {30s, 1s}},
      {"ipvs without periods", {"--proxy-mode=ipvs"}, {30s, 1s}},
  };
  for (const Row& row : rows) EXPECT_EQ(sync_periods(completed(row.arguments).config), row.wanted) << row.name;
}

TEST(Complete, MasqueradeAllCountsInEveryMode) {
  for (const char* mode : {"iptables", "ipvs", "nftables"}) {
    EXPECT_TRUE(masquerade_all(completed({"--masquerade-all", std::string("--proxy-mode=") + mode}).config)) << mode;
  }
}

TEST(Complete, ClusterCidrIsSplit) {
  EXPECT_THAT(cluster_cidrs(completed({"--cluster-cidr=2002:0:0:1234::/64,10.0.0.0/14"}).config),
              ElementsAre("2002:0:0:1234::/64", "10.0.0.0/14"));
}

// Upstream: TestProcessHostnameOverrideFlag.
TEST(Complete, HostnameOverrideWinsOverTheFile) {
  const File file("hostnameOverride: foo\n");
  EXPECT_EQ(completed({file.flag()}).config.hostname_override, "foo");
  EXPECT_EQ(completed({file.flag(), "--hostname-override=  Bar "}).config.hostname_override, "bar");
  EXPECT_EQ(error_of({file.flag(), "--hostname-override=  "}), "failed complete: empty hostname-override is invalid");
  EXPECT_EQ(completed({file.flag(), "--hostname-override="}).config.hostname_override, "foo");
}

// Upstream: TestAddressFromDeprecatedFlags.
TEST(Complete, DeprecatedPortsAreAppendedToBareAddresses) {
  struct Row {
    Texts arguments;
    std::string healthz, metrics;
  };
  const Row rows[] = {
      {{"--healthz-bind-address=1.2.3.4", "--healthz-port=12345"}, "1.2.3.4:12345", "127.0.0.1:10249"},
      {{"--healthz-bind-address=1.2.3.4:80", "--healthz-port=12345"}, "1.2.3.4:80", "127.0.0.1:10249"},
      {{"--healthz-bind-address=fd00::1"}, "[fd00::1]:10256", "127.0.0.1:10249"},
      {{"--healthz-port=0"}, "", "127.0.0.1:10249"},
      {{"--metrics-bind-address=::1", "--metrics-port=23456"}, "0.0.0.0:10256", "[::1]:23456"},
      {{"--healthz-port=12345"}, "0.0.0.0:10256", "127.0.0.1:10249"},
  };
  for (const Row& row : rows) {
    const CommandLine line = completed(row.arguments);
    EXPECT_EQ(line.config.healthz_bind_address, row.healthz) << testing::PrintToString(row.arguments);
    EXPECT_EQ(line.config.metrics_bind_address, row.metrics) << testing::PrintToString(row.arguments);
  }
  EXPECT_EQ(error_of({"--metrics-port=0"}),
            R"(failed validate: KubeProxyConfiguration.MetricsBindAddress: Invalid value: "": must be IP:port)");
}

TEST(Complete, WrittenConfigurationsDoNotLookAtDeprecatedPorts) {
  EXPECT_EQ(completed({"--write-config-to=/w", "--healthz-port=0"}).config.healthz_bind_address, "0.0.0.0:10256");
}

// Upstream: TestOptionsComplete.
TEST(Complete, LogFlagsWinOverTheFile) {
  const File file(
      "logging:\n  format: json\n  flushFrequency: 1s\n  verbosity: 10\n  vmodule: []\n"
      "conntrack: {tcpBeLiberal: true}\n");
  EXPECT_EQ(completed({file.flag()}).config.logging.verbosity, 10U);
  EXPECT_EQ(completed({file.flag()}).config.logging.format, "json");
  const CommandLine line = completed({file.flag(), "-v=8", "--logging-format=text", "--log-flush-frequency=2s"});
  EXPECT_EQ(line.config.logging.verbosity, 8U);
  EXPECT_EQ(line.config.logging.format, "text");
  EXPECT_EQ(line.config.logging.flush_frequency.value, 2s);
  EXPECT_TRUE(line.config.conntrack.tcp_be_liberal);
}

TEST(Complete, PatternsOfTheFlagComeBeforeTheFiles) {
  const File file("logging:\n  vmodule:\n  - {filePattern: fromfile, verbosity: 10}\n");
  EXPECT_THAT(completed({file.flag(), "--vmodule=fromflag=5"}).config.logging.vmodule,
              ElementsAre(VerbosityPattern{"fromflag", 5}, VerbosityPattern{"fromfile", 10}));
}

TEST(Complete, ConntrackFlagsCountWithoutAFile) {
  const ConntrackConfig conntrack =
      completed({"--conntrack-max-per-core=12", "--conntrack-min=1", "--conntrack-tcp-timeout-established=5m"})
          .config.conntrack;
  EXPECT_EQ(conntrack.max_per_core, 12);
  EXPECT_EQ(conntrack.min, 1);
  EXPECT_EQ(conntrack.tcp_established_timeout, 5min);
}

TEST(Complete, FlagsThatTheFileHasFieldsForAreIgnoredAndReported) {
  const File file("mode: ipvs\n");
  const CommandLine line =
      completed({file.flag(), "--proxy-mode=nftables", "--cluster_cidr=10.0.0.0/8", "--master=https://m", "-v=1"});
  EXPECT_EQ(line.config.mode, "ipvs");
  EXPECT_EQ(line.config.cluster_cidr, "");
  EXPECT_EQ(line.master, "https://m");
  EXPECT_EQ(line.config_path, file.path());
  EXPECT_THAT(line.notices, ElementsAre(Notice{"These flags have no effect beside --config", "flags",
                                               "--cluster-cidr --proxy-mode"}));
}

// Every flag with a field in the file, at once: none of them may change what the file says.
TEST(Complete, NoIgnoredFlagReachesTheConfiguration) {
  const File file("");
  Texts arguments{file.flag()};
  std::size_t ignored = 0;
  for (const FlagSpec& flag : flag_table()) {
    if (flag.with_config != WithConfig::kIgnored) continue;
    ++ignored;
    for (const char* value : {"7", "9.9.9.9:99", "9.9.9.9", "false", "true", "77s", "A=true", "ipvs"}) {
      if (value != flag.default_text && complete({"--" + std::string(flag.name) + "=" + value, "--help"})) {
        arguments.push_back("--" + std::string(flag.name) + "=" + value);
        break;
      }
    }
  }
  EXPECT_EQ(arguments.size(), ignored + 1);
  ProxyConfig wanted = default_config();
  apply_platform_defaults(wanted);
  EXPECT_EQ(completed(arguments).config, wanted);
}

TEST(Complete, FlagsWithoutEffectAndDeprecatedOnesAreReported) {
  const CommandLine line =
      completed({"--logtostderr=true", "--healthz-port=1", "--cleanup-ipvs=false", "--udp-timeout=1s"});
  EXPECT_THAT(
      line.notices,
      ElementsAre(
          Notice{"A flag has no effect here", "flag", "--cleanup-ipvs: --cleanup removes the rules of all modes"},
          Notice{"A deprecated flag is used", "flag", "--healthz-port: use --healthz-bind-address"},
          Notice{"A flag has no effect here", "flag", "--logtostderr: the log goes to standard error, in klog's form"},
          Notice{"A flag has no effect here", "flag", "--udp-timeout: only mode userspace had sockets of its own"}));
}

TEST(Complete, UnknownFieldsOfTheFileAreReportedAndTolerated) {
  const File file("udpIdleTimeout: 0s\nmode: nftables\n");
  const CommandLine line = completed({file.flag()});
  EXPECT_EQ(line.config.mode, "nftables");
  EXPECT_THAT(items(line.config.node_port_addresses), ElementsAre("primary"));
  EXPECT_THAT(line.notices, ElementsAre(Notice{"Using lenient decoding as strict decoding failed", "err",
                                               "strict decoding error: unknown field \"udpIdleTimeout\" (line 3)"}));
}

TEST(Complete, FieldsWithoutEffectAreReported) {
  const File none(
      "portRange: \"\"\nclientConnection: {burst: 0, qps: 0, contentType: \"\"}\nwinkernel: {networkName: \"\"}\n");
  EXPECT_THAT(completed({none.flag()}).notices, IsEmpty()) << "as kubeadm writes them";
  const File file("portRange: 1000-2000\nclientConnection: {burst: 100}\nwinkernel: {networkName: overlay}\n");
  EXPECT_THAT(
      completed({file.flag()}).notices,
      ElementsAre(Notice{"A field has no effect here", "field", "portRange: node ports are not opened by the proxy"},
                  Notice{"A field has no effect here", "field", "winkernel: this program runs on Linux alone"},
                  Notice{"A field has no effect here", "field",
                         "clientConnection.burst: requests to the API server are few, and not held back"}));
}

// kube-proxy's internal form has no portRange any more, so neither has what it writes and shows.
TEST(Complete, APortRangeIsNotKept) {
  const File file("portRange: 1000-2000\n");
  EXPECT_EQ(completed({file.flag()}).config.port_range, "");
  EXPECT_EQ(completed({"--proxy-port-range=1000-2000"}).config.port_range, "");
}

TEST(Complete, FlagValuesAreThoseOfKubeProxysFlagsAndOurs) {
  const auto values = completed({}).flag_values;
  for (const FlagSpec& flag : flag_table())
    EXPECT_EQ(values.contains(std::string(flag.name)), flag.group != FlagGroup::kOther) << flag.name;
  EXPECT_EQ(values.at("healthz-bind-address"), "0.0.0.0:10256");
  EXPECT_EQ(values.at("nodeport-addresses"), "[]");
  EXPECT_EQ(values.at("machine-id-file"), "/etc/machine-id,/var/lib/dbus/machine-id");
  EXPECT_EQ(completed({"--logtostderr=false"}).flag_values.at("logtostderr"), "false");
}

TEST(Complete, FlagValuesShowTheCompletionOfFlagsAndNotOfAFile) {
  auto values =
      completed({"--proxy-mode=nftables", "--healthz-bind-address=10.0.0.1", "--hostname-override=N"}).flag_values;
  EXPECT_EQ(values.at("proxy-mode"), "nftables");
  EXPECT_EQ(values.at("nodeport-addresses"), "[primary]");
  EXPECT_EQ(values.at("healthz-bind-address"), "10.0.0.1:10256");
  EXPECT_EQ(values.at("hostname-override"), "N");
  const File file("mode: ipvs\nhealthzBindAddress: 10.0.0.1\n");
  values = completed({file.flag(), "-v=3"}).flag_values;
  EXPECT_EQ(values.at("proxy-mode"), "");
  EXPECT_EQ(values.at("healthz-bind-address"), "0.0.0.0:10256");
  EXPECT_EQ(values.at("v"), "3");
  EXPECT_EQ(values.at("config"), file.path());
}

TEST(Complete, SluicesFlagsWinOverItsDocument) {
  const File file(
      "---\napiVersion: sluice.dev/v1alpha1\nkind: SluiceConfiguration\nmanifests: /a\ndataDir: /b\ndriftRepair: "
      "false\n");
  CommandLine line = completed({file.flag()});
  EXPECT_EQ(line.sluice.manifests, "/a");
  EXPECT_EQ(line.sluice.data_dir, "/b");
  line = completed({file.flag(), "--manifests=/c", "--data-dir", "/d"});
  EXPECT_EQ(line.sluice.manifests, "/c");
  EXPECT_EQ(line.sluice.data_dir, "/d");
  EXPECT_FALSE(line.sluice.drift_repair);
  EXPECT_THAT(line.notices, IsEmpty());
  EXPECT_EQ(error_of({"--data-dir=d"}), "failed complete: data-dir: \"d\" is not an absolute path");
}

TEST(Complete, FeatureGatesAreCheckedAndReported) {
  const File file("featureGates: {AllowServiceExternalIPs: false, SidecarContainers: true}\n");
  EXPECT_THAT(completed({file.flag()}).notices,
              ElementsAre(Notice{"A feature gate has no meaning here", "gate", "SidecarContainers"}));
  EXPECT_EQ(error_of({"--feature-gates=NFTablesProxyMode=false"}),
            "failed complete: cannot set feature gate NFTablesProxyMode to false, feature is locked to true");
}

TEST(Complete, ErrorsCarryTheirStage) {
  EXPECT_EQ(error_of({"--bogus"}), "unknown flag: --bogus");
  EXPECT_THAT(error_of({"--config=/no/such/file"}), StartsWith("failed complete: open /no/such/file: "));
  const File file("oomScoreAdj: high\n");
  EXPECT_EQ(error_of({file.flag()}), "failed complete: failed to decode: " + file.path() +
                                         ": oomScoreAdj (line 3): a whole number is wanted, not the text \"high\"");
  EXPECT_EQ(error_of({"--logging-format=xml"}),
            "initialize logging: format: Invalid value: \"xml\": Unsupported log format");
  EXPECT_EQ(error_of({"--proxy-mode=userspace"}),
            "failed validate: KubeProxyConfiguration.Mode.ProxyMode: Invalid value: \"userspace\": must be iptables, "
            "ipvs, nftables or "
            "blank (blank means the best-available proxy [currently iptables])");
}

TEST(Complete, HelpAndVersionNeedNoValidConfiguration) {
  EXPECT_TRUE(completed({"--config=/no/such/file", "--help"}).show_help);
  EXPECT_TRUE(completed({"--config=/no/such/file", "--version"}).show_version);
  EXPECT_EQ(completed({"--version=raw"}).version_form, "raw");
  EXPECT_FALSE(completed({"--version=false"}).show_version);
  EXPECT_FALSE(completed({"--version=v1.36.1"}).show_version);
}

TEST(Complete, SpecialModesAreKept) {
  const CommandLine line = completed({"--cleanup", "--init-only", "--write-config-to", "/w", "--master", "https://m"});
  EXPECT_TRUE(line.cleanup);
  EXPECT_TRUE(line.init_only);
  EXPECT_EQ(line.write_config_to, "/w");
  EXPECT_EQ(line.master, "https://m");
  EXPECT_EQ(line.flag_values.at("master"), "https://m");
}

TEST(Help, NamesEveryFlagWithItsDefault) {
  const std::string text = help_text();
  for (const FlagSpec& flag : flag_table()) EXPECT_THAT(text, HasSubstr("--" + std::string(flag.name))) << flag.name;
  EXPECT_THAT(text, HasSubstr("--oom-score-adj number  (default -999)\n"));
  EXPECT_THAT(text, HasSubstr(" * --hostname-override name\n"));
  EXPECT_THAT(text, HasSubstr("   --proxy-mode mode\n"));
  EXPECT_THAT(text, HasSubstr("Deprecated: use --healthz-bind-address.\n"));
}

TEST(Version, IsPrintedInItsForms) {
  EXPECT_EQ(version_text("true"), std::string("sluice ") + SLUICE_VERSION + "\n");
  EXPECT_EQ(version_text("raw"),
            std::string("version.Info{Sluice:\"") + SLUICE_VERSION + "\", Kubernetes:\"v1.36.2\"}\n");
}

TEST(LogFormatWanted, IsTheFlagsElseTheFilesElseText) {
  const File json("logging: {format: json}\nmode: nonsense\n");
  const std::string file = "--config=" + json.path();
  struct Row {
    Texts arguments;
    const char* format;
  };
  for (const Row& row :
       {Row{{}, "text"}, Row{{"--nonsense"}, "text"}, Row{{"--logging-format=json", "--nonsense"}, "json"},
        Row{{"--nonsense", "--logging-format", "json"}, "json"}, Row{{"--logging_format=json"}, "json"},
        Row{{"--logging-format"}, "text"}, Row{{"--logging-format=json", "--logging-format=text"}, "text"},
        Row{{"--logging-format=yaml"}, "text"}, Row{{"--", "--logging-format=json"}, "text"}, Row{{file}, "json"},
        Row{{file, "--logging-format=text"}, "text"}, Row{{"--config=/does/not/exist"}, "text"}}) {
    EXPECT_EQ(log_format_wanted(row.arguments), row.format) << testing::PrintToString(row.arguments);
  }
}

}  // namespace
}  // namespace sluice::config
