// SPDX-License-Identifier: Apache-2.0
#include "config/validate.h"

#include <gmock/gmock.h>

#include <functional>

namespace sluice::config {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

ProxyConfig completed_defaults(const std::string& mode = "iptables") {
  ProxyConfig config;
  config.mode = mode;
  apply_defaults(config);
  keep_effective_blocks(config);
  apply_platform_defaults(config);
  return config;
}

struct Row {
  std::string name;
  std::string mode;
  std::function<void(ProxyConfig&)> change;
  std::vector<std::string> wanted;  // without "KubeProxyConfiguration."
};

void expect_rows(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    ProxyConfig config = completed_defaults(row.mode);
    row.change(config);
    std::vector<std::string> wanted;
    for (const std::string& text : row.wanted) wanted.push_back("KubeProxyConfiguration." + text);
    EXPECT_EQ(config_problems(config), wanted) << row.name;
  }
}

TEST(Validate, DefaultsOfEveryModeAreValid) {
  for (const char* mode : {"", "iptables", "ipvs", "nftables"})
    EXPECT_THAT(config_problems(completed_defaults(mode)), IsEmpty()) << mode;
}

TEST(Validate, BlocksOfTheModes) {
  const std::string ipvs = "KubeProxyIPVSConfiguration.";
  const auto ipvs_nonsense = [](ProxyConfig& c) {
    c.ipvs.tcp_timeout = -1s;
    c.ipvs.tcp_fin_timeout = -2s;
    c.ipvs.udp_timeout = -3s;
    c.ipvs.exclude_cidrs = std::vector<std::string>{"10.0.0.0/8", "10.0.0.1", "x"};
  };
  expect_rows({
      {"iptables bit too large",
       "iptables",
       [](ProxyConfig& c) { c.iptables.masquerade_bit = 32; },
       {"KubeProxyIPTablesConfiguration.MasqueradeBit: Invalid value: 32: must be within the range [0, 31]"}},
      {"iptables bit negative, in another mode",
       "nftables",
       [](ProxyConfig& c) { c.iptables.masquerade_bit = -1; },
       {"KubeProxyIPTablesConfiguration.MasqueradeBit: Invalid value: -1: must be within the range [0, 31]"}},
      {"bits at their bounds",
       "nftables",
       [](ProxyConfig& c) { c.iptables.masquerade_bit = 0, c.nftables.masquerade_bit = 31; },
       {}},
      {"nftables bit",
       "nftables",
       [](ProxyConfig& c) { c.nftables.masquerade_bit = 32; },
       {"KubeProxyNFTablesConfiguration.MasqueradeBit: Invalid value: 32: must be within the range [0, 31]"}},
      {"nftables bit in another mode", "iptables", [](ProxyConfig& c) { c.nftables.masquerade_bit = 32; }, {}},
      {"ipvs block",
       "ipvs",
       ipvs_nonsense,
       {ipvs + R"(TCPTimeout: Invalid value: "-1s": must be greater than or equal to 0)",
        ipvs + R"(TCPFinTimeout: Invalid value: "-2s": must be greater than or equal to 0)",
        ipvs + R"(UDPTimeout: Invalid value: "-3s": must be greater than or equal to 0)",
        ipvs + R"(ExcludeCidrs[1]: Invalid value: "10.0.0.1": must be a valid CIDR)",
        ipvs + R"(ExcludeCidrs[2]: Invalid value: "x": must be a valid CIDR)"}},
      {"ipvs block in another mode", "iptables", ipvs_nonsense, {}},
      {"any scheduler", "ipvs", [](ProxyConfig& c) { c.ipvs.scheduler = "whatever"; }, {}},
  });
}

TEST(Validate, LinuxBlock) {
  const std::string path = "KubeProxyLinuxConfiguration.KubeProxyConntrackConfiguration.";
  expect_rows({
      {"negative conntrack",
       "iptables",
       [](ProxyConfig& c) { c.conntrack = {-1, -2, -3s, -4s, false, -5s, -6s}; },
       {path + "MaxPerCore: Invalid value: -1: must be greater than or equal to 0",
        path + "Min: Invalid value: -2: must be greater than or equal to 0",
        path + R"(TCPEstablishedTimeout: Invalid value: "-3s": must be greater than or equal to 0)",
        path + R"(TCPCloseWaitTimeout: Invalid value: "-4s": must be greater than or equal to 0)",
        path + R"(UDPTimeout: Invalid value: "-5s": must be greater than or equal to 0)",
        path + R"(UDPStreamTimeout: Invalid value: "-6s": must be greater than or equal to 0)"}},
      {"zero conntrack", "iptables", [](ProxyConfig& c) { c.conntrack = {0, 0, 0s, 0s, false, 0s, 0s}; }, {}},
      {"score too low",
       "iptables",
       [](ProxyConfig& c) { c.oom_score_adj = -1001; },
       {"KubeProxyLinuxConfiguration.OOMScoreAdj: Invalid value: -1001: must be within the range [-1000, 1000]"}},
      {"score too high",
       "iptables",
       [](ProxyConfig& c) { c.oom_score_adj = 1001; },
       {"KubeProxyLinuxConfiguration.OOMScoreAdj: Invalid value: 1001: must be within the range [-1000, 1000]"}},
      {"score at its bounds", "iptables", [](ProxyConfig& c) { c.oom_score_adj = -1000; }, {}},
  });
}

TEST(Validate, ModeAndClient) {
  const std::string text =
      "must be iptables, ipvs, nftables or blank (blank means the best-available proxy [currently iptables])";
  expect_rows({
      {"unknown mode",
       "iptables",
       [](ProxyConfig& c) { c.mode = "userspace"; },
       {R"(Mode.ProxyMode: Invalid value: "userspace": )" + text}},
      {"case matters",
       "iptables",
       [](ProxyConfig& c) { c.mode = "IPVS"; },
       {R"(Mode.ProxyMode: Invalid value: "IPVS": )" + text}},
      {"negative burst",
       "iptables",
       [](ProxyConfig& c) { c.client_connection.burst = -5; },
       {"ClientConnection.Burst: Invalid value: -5: must be greater than or equal to 0"}},
      {"negative qps", "iptables", [](ProxyConfig& c) { c.client_connection.qps = -5; }, {}},
  });
}

TEST(Validate, Periods) {
  const std::string at_least =
      "SyncPeriod: Invalid value: \"5s\": must be greater than or equal to KubeProxyConfiguration.MinSyncPeriod";
  expect_rows({
      {"resync of zero",
       "iptables",
       [](ProxyConfig& c) { c.config_sync_period = 0s; },
       {R"(ConfigSyncPeriod: Invalid value: "0s": must be greater than 0)"}},
      {"resync negative",
       "iptables",
       [](ProxyConfig& c) { c.config_sync_period = -1s; },
       {R"(ConfigSyncPeriod: Invalid value: "-1s": must be greater than 0)"}},
      {"sync of zero",
       "iptables",
       [](ProxyConfig& c) { c.iptables.sync_period = 0s, c.iptables.min_sync_period = 0s; },
       {R"(SyncPeriod: Invalid value: "0s": must be greater than 0)"}},
      {"negative least",
       "ipvs",
       [](ProxyConfig& c) { c.ipvs.min_sync_period = -1s; },
       {R"(MinSyncPeriod: Invalid value: "-1s": must be greater than or equal to 0)"}},
      {"least above period",
       "nftables",
       [](ProxyConfig& c) { c.nftables.sync_period = 1s, c.nftables.min_sync_period = 5s; },
       {at_least}},
      {"least equals period", "ipvs", [](ProxyConfig& c) { c.ipvs.sync_period = 5s, c.ipvs.min_sync_period = 5s; }, {}},
      {"blocks of other modes do not count", "ipvs", [](ProxyConfig& c) { c.iptables.sync_period = -1s; }, {}},
  });
}

TEST(Validate, Addresses) {
  const std::string textual = ": not a valid textual representation of an IP address";
  const auto healthz = [](const std::string& value) {
    return [value](ProxyConfig& c) { c.healthz_bind_address = value; };
  };
  const auto metrics = [](const std::string& value) {
    return [value](ProxyConfig& c) { c.metrics_bind_address = value; };
  };
  expect_rows({
      {"bind to a name",
       "iptables",
       [](ProxyConfig& c) { c.bind_address = "node1"; },
       {"BindAddress: Invalid value: \"node1\"" + textual}},
      {"bind with a port",
       "iptables",
       [](ProxyConfig& c) { c.bind_address = "1.2.3.4:5"; },
       {"BindAddress: Invalid value: \"1.2.3.4:5\"" + textual}},
      {"bind to IPv6", "iptables", [](ProxyConfig& c) { c.bind_address = "::"; }, {}},
      {"no healthz", "iptables", healthz(""), {}},
      {"healthz without port",
       "iptables",
       healthz("1.2.3.4"),
       {R"(HealthzBindAddress: Invalid value: "1.2.3.4": must be IP:port)"}},
      {"healthz on a name",
       "iptables",
       healthz("localhost:80"),
       {R"(HealthzBindAddress: Invalid value: "localhost": must be a valid IP)"}},
      {"healthz port 0",
       "iptables",
       healthz("1.2.3.4:0"),
       {R"(HealthzBindAddress: Invalid value: "0": must be a valid port)"}},
      {"healthz port 65536",
       "iptables",
       healthz("[::]:65536"),
       {R"(HealthzBindAddress: Invalid value: "65536": must be a valid port)"}},
      {"healthz port 65535", "iptables", healthz("[::]:65535"), {}},
      {"healthz both wrong",
       "iptables",
       healthz("x:y"),
       {R"(HealthzBindAddress: Invalid value: "x": must be a valid IP)",
        R"(HealthzBindAddress: Invalid value: "y": must be a valid port)"}},
      {"no metrics", "iptables", metrics(""), {R"(MetricsBindAddress: Invalid value: "": must be IP:port)"}},
      {"metrics on a name",
       "iptables",
       metrics("host:1"),
       {R"(MetricsBindAddress: Invalid value: "host": must be a valid IP)"}},
      {"metrics empty port",
       "iptables",
       metrics("127.0.0.1:"),
       {R"(MetricsBindAddress: Invalid value: "": must be a valid port)"}},
  });
}

TEST(Validate, NodePortAddresses) {
  const auto set = [](const std::vector<std::string>& value) {
    return [value](ProxyConfig& c) { c.node_port_addresses = value; };
  };
  expect_rows({
      {"none", "iptables", set({}), {}},
      {"both families", "iptables", set({"10.0.0.0/8", "fd00::/64", "0.0.0.0/0"}), {}},
      {"primary", "iptables", set({"primary"}), {}},
      {"primary first of several",
       "iptables",
       set({"primary", "x"}),
       {R"(NodePortAddresses[0]: Invalid value: "primary": can't use both 'primary' and CIDRs)"}},
      {"primary later",
       "iptables",
       set({"10.0.0.0/8", "primary"}),
       {R"(NodePortAddresses[1]: Invalid value: "primary": can't use both 'primary' and CIDRs)"}},
      {"no CIDRs",
       "iptables",
       set({"10.0.0.1", "10.0.0.0/33"}),
       {R"(NodePortAddresses[0]: Invalid value: "10.0.0.1": must be a valid CIDR)",
        R"(NodePortAddresses[1]: Invalid value: "10.0.0.0/33": must be a valid CIDR)"}},
  });
}

TEST(Validate, ShowHiddenMetrics) {
  const auto set = [](const std::string& value) {
    return [value](ProxyConfig& c) { c.show_hidden_metrics_for_version = value; };
  };
  const std::string text = ": must be omitted or have the value '1.35'; only the previous minor version is allowed";
  expect_rows({
      {"previous", "iptables", set("1.35"), {}},
      {"this one", "iptables", set("1.36"), {"ShowHiddenMetricsForVersion: Invalid value: \"1.36\"" + text}},
      {"nonsense", "iptables", set("bogus"), {"ShowHiddenMetricsForVersion: Invalid value: \"bogus\"" + text}},
  });
}

TEST(Validate, DetectLocal) {
  const std::string pair =
      ": must be a either a single CIDR or dual-stack pair of CIDRs (e.g. [10.100.0.0/16, fde4:8dba:82e1::/48]";
  const std::string path = "DetectLocalConfiguration.";
  const std::string block = ": must be a valid CIDR block (e.g. 10.100.0.0/16 or fde4:8dba:82e1::/48)";
  const auto cidrs = [](const std::string& value, const std::string& mode = "ClusterCIDR") {
    return [value, mode](ProxyConfig& c) { c.cluster_cidr = value, c.detect_local_mode = mode; };
  };
  const auto mode = [](const std::string& value) { return [value](ProxyConfig& c) { c.detect_local_mode = value; }; };
  expect_rows({
      {"unknown mode",
       "iptables",
       mode("Guess"),
       {R"(DetectLocalMode: Unsupported value: "Guess": supported values: "ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix", "")"}},
      {"no mode", "iptables", mode(""), {}},
      {"NodeCIDR", "iptables", mode("NodeCIDR"), {}},
      {"bridge unnamed",
       "iptables",
       mode("BridgeInterface"),
       {path + R"(InterfaceName: Invalid value: "": must not be empty)"}},
      {"prefix unnamed",
       "iptables",
       mode("InterfaceNamePrefix"),
       {path + R"(InterfacePrefix: Invalid value: "": must not be empty)"}},
      {"bridge named",
       "iptables",
       [](ProxyConfig& c) { c.detect_local_mode = "BridgeInterface", c.detect_local.bridge_interface = "cbr0"; },
       {}},
      {"no cluster CIDR", "iptables", cidrs(""), {}},
      {"one", "iptables", cidrs("10.0.0.0/8"), {}},
      {"a pair", "iptables", cidrs("fd00::/48,10.0.0.0/8"), {}},
      {"a pair of one family",
       "iptables",
       cidrs("10.0.0.0/8,11.0.0.0/8"),
       {path + R"(ClusterCIDRs: Invalid value: ["10.0.0.0/8","11.0.0.0/8"])" + pair}},
      {"three",
       "iptables",
       cidrs("10.0.0.0/8,fd00::/48,x"),
       {path + R"(ClusterCIDRs: Invalid value: ["10.0.0.0/8","fd00::/48","x"])" + pair}},
      {"no CIDR", "iptables", cidrs("10.0.0.0/8,x"), {path + R"(ClusterCIDRs[1]: Invalid value: "x")" + block}},
      {"not looked at in other modes", "iptables", cidrs("nonsense", "NodeCIDR"), {}},
  });
}

TEST(Validate, FeatureGates) {
  expect_rows({
      {"locked",
       "iptables",
       [](ProxyConfig& c) { c.feature_gates = {{"NFTablesProxyMode", false}}; },
       {R"(featureGates: Invalid value: {"NFTablesProxyMode":false}: cannot set feature gate NFTablesProxyMode to false, feature is locked to true)"}},
      {"of another component",
       "iptables",
       [](ProxyConfig& c) { c.feature_gates = {{"SidecarContainers", false}}; },
       {}},
  });
}

TEST(Validate, Logging) {
  expect_rows({
      {"json", "iptables", [](ProxyConfig& c) { c.logging.format = "json"; }, {}},
      {"xml",
       "iptables",
       [](ProxyConfig& c) { c.logging.format = "xml"; },
       {R"(logging.format: Invalid value: "xml": Unsupported log format)"}},
      {"json switched off",
       "iptables",
       [](ProxyConfig& c) { c.logging.format = "json", c.feature_gates = {{"LoggingBetaOptions", false}}; },
       {"logging.format: Forbidden: Log format json is disabled, see LoggingBetaOptions feature"}},
      {"verbosity",
       "iptables",
       [](ProxyConfig& c) { c.logging.verbosity = 2147483648U; },
       {"logging.verbosity: Invalid value: 2147483648: Must be <= 2147483647"}},
      {"vmodule with json",
       "iptables",
       [](ProxyConfig& c) { c.logging.format = "json", c.logging.vmodule = {{"a", 1}}; },
       {"logging.vmodule: Forbidden: Only supported for text log format"}},
      {"vmodule items",
       "iptables",
       [](ProxyConfig& c) { c.logging.vmodule = {{"", 1}, {"a=b", 1}, {"a,b", 1}, {"c", 2147483648U}}; },
       {"logging.vmodule[0]: Required value: File pattern must not be empty",
        R"(logging.vmodule[1]: Invalid value: "a=b": File pattern must not contain equal sign or comma)",
        R"(logging.vmodule[2]: Invalid value: "a,b": File pattern must not contain equal sign or comma)",
        "logging.vmodule[3]: Invalid value: 2147483648: Must be <= 2147483647"}},
      {"alpha options",
       "iptables",
       [](ProxyConfig& c) {
         c.logging.options.text.split_stream = true, c.logging.options.json.info_buffer_size.text = "1Ki";
       },
       {"logging.options.text.splitStream: Forbidden: Feature LoggingAlphaOptions is disabled",
        "logging.options.json.infoBufferSize: Forbidden: Feature LoggingAlphaOptions is disabled"}},
      {"alpha options switched on",
       "iptables",
       [](ProxyConfig& c) {
         c.logging.options.text.split_stream = true, c.feature_gates = {{"LoggingAlphaOptions", true}};
       },
       {}},
  });
}

TEST(Validate, AllProblemsAreReportedAtOnce) {
  ProxyConfig config = completed_defaults();
  EXPECT_TRUE(validate(config));
  config.oom_score_adj = 2000;
  auto refused = validate(config);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().what,
            "KubeProxyConfiguration.KubeProxyLinuxConfiguration.OOMScoreAdj: Invalid value: 2000: must be within the "
            "range [-1000, 1000]");
  config.bind_address = "x";
  refused = validate(config);
  ASSERT_FALSE(refused);
  EXPECT_EQ(
      refused.error().what,
      "[KubeProxyConfiguration.KubeProxyLinuxConfiguration.OOMScoreAdj: Invalid value: 2000: must be within the range "
      "[-1000, 1000], "
      "KubeProxyConfiguration.BindAddress: Invalid value: \"x\": not a valid textual representation of an IP address]");
}

}  // namespace
}  // namespace sluice::config
