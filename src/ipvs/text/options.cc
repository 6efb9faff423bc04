// SPDX-License-Identifier: Apache-2.0
// ipvsadm 1.31 has 16 commands and 40 options, and half of its behaviour is which of them go together. All of it
// is here as data; parse.cc gives the words their meaning, check.cc applies the rules, help.cc prints them.
#include "ipvs/text/options.h"

#include <array>

#include "base/check.h"

namespace sluice::ipvs::text {
namespace {

using enum Option;

constexpr std::array<std::string_view, kOptionCount> kOptionNames{
    "numeric",
    "connection",
    "service-address",
    "scheduler",
    "persistent",
    "netmask",
    "real-server",
    "forwarding-method",
    "weight",
    "u-threshold",
    "l-threshold",
    "mcast-interface",
    "timeout",
    "daemon",
    "stats",
    "rate",
    "thresholds",
    "persistent-conn",
    "nosort",
    "syncid",
    "exact",
    "ops",
    "pe",
    "sched-flags",
    "mcast-group",
    "mcast-port",
    "mcast-ttl",
    "sync-maxlen",
    "tun-info",
    "tun-type",
    "tun-port",
    "tun-nocsum",
    "tun-csum",
    "tun-remcsum",
};

constexpr OptionSet kServiceSettings{kScheduler, kPersistent,        kNetmask,
                                     kOnePacket, kPersistenceEngine, kSchedulerFlags};
constexpr OptionSet kServerSettings{kForward, kWeight,    kUpperThreshold, kLowerThreshold, kTunType,
                                    kTunPort, kTunNocsum, kTunCsum,        kTunRemcsum};
constexpr OptionSet kListSettings{kNumeric, kStats, kRate,    kThresholds, kPersistentConn,
                                  kNoSort,  kExact, kTunInfo, kSyncId};
constexpr OptionSet kDaemonSettings{kMcastInterface, kSyncId, kMcastGroup, kMcastPort, kMcastTtl, kSyncMaxlen};

// In the order of Command, without -h and -v, which ignore everything else.
constexpr std::array<Rules, 14> kRules{{
    {"add-service", {kService}, kServiceSettings, {}},
    {"edit-service", {kService}, kServiceSettings, {}},
    {"delete-service", {kService}, {}, {}},
    {"flush", {}, {}, {}},
    {"list", {}, kListSettings, {kConnection, kService, kTimeout, kDaemon}},
    {"zero", {}, {kService}, {}},
    {"add-server", {kService, kServer}, kServerSettings, {}},
    {"edit-server", {kService, kServer}, kServerSettings, {}},
    {"delete-server", {kService, kServer}, {}, {}},
    {"set", {}, {}, {}},
    {"restore", {}, {}, {}},
    {"save", {}, {kNumeric}, {}},
    {"start-daemon", {}, kDaemonSettings, {}},
    {"stop-daemon", {}, {kSyncId}, {}},
}};

constexpr Word command(char short_name, std::string_view long_name, Command id, std::string_view help) {
  return {short_name, long_name, Argument::kNone, true, id, kNone, {}, help};
}
constexpr Word command_with_role(std::string_view long_name, Command id, std::string_view help) {
  return {0, long_name, Argument::kRequired, true, id, kNone, "master|backup", help};
}
constexpr Word flag(char short_name, std::string_view long_name, Option option, std::string_view help) {
  return {short_name, long_name, Argument::kNone, false, {}, option, {}, help};
}
constexpr Word with(char short_name, std::string_view long_name, Option option, std::string_view argument,
                    std::string_view help) {
  return {short_name, long_name, Argument::kRequired, false, {}, option, argument, help};
}

constexpr auto kWords = std::to_array<Word>({
    command('A', "add-service", Command::kAddService, "add a virtual server"),
    command('E', "edit-service", Command::kEditService, "replace the settings of a virtual server"),
    command('D', "delete-service", Command::kDeleteService, "remove a virtual server and its real servers"),
    command('C', "clear", Command::kFlush, "remove every virtual server"),
    command('L', "list", Command::kList, "show the table, one virtual server, connections, timeouts or daemons"),
    command('l', "", Command::kList, ""),
    command('Z', "zero", Command::kZero, "start counters again at 0, of one virtual server or of all"),
    command('a', "add-server", Command::kAddServer, "add a real server to a virtual server"),
    command('e', "edit-server", Command::kEditServer, "replace the settings of a real server"),
    command('d', "delete-server", Command::kDeleteServer, "remove a real server"),
    command(0, "set", Command::kSet, "set the timeouts TCP TCPFIN UDP, in seconds; 0 keeps one as it is"),
    command('R', "restore", Command::kRestore, "read commands from standard input, one a line"),
    command('S', "save", Command::kSave, "write the table as commands for -R"),
    command_with_role("start-daemon", Command::kStartDaemon, "start a sync daemon"),
    command_with_role("stop-daemon", Command::kStopDaemon, "stop a sync daemon"),
    command('h', "help", Command::kHelp, "show this"),
    command('v', "version", Command::kVersion, "show the version"),

    with('t', "tcp-service", kService, "ADDRESS[:PORT]", "the virtual server is TCP at this address"),
    with('u', "udp-service", kService, "ADDRESS[:PORT]", "the same for UDP"),
    with(0, "sctp-service", kService, "ADDRESS[:PORT]", "the same for SCTP"),
    with('f', "fwmark-service", kService, "MARK", "the virtual server takes what carries this firewall mark"),
    flag('6', "ipv6", kNone, "after -f: the IPv6 packets of that mark"),
    with('s', "scheduler", kScheduler, "NAME",
         "rr, wrr, lc, wlc, lblc, lblcr, dh, sh, sed, nq, fo, ovf or mh (default wlc)"),
    {'p',
     "persistent",
     Argument::kOptional,
     false,
     {},
     kPersistent,
     "[SECONDS]",
     "a client keeps its real server for so long (default 360)"},
    with('M', "netmask", kNetmask, "MASK", "with -p: clients are distinguished by this much of their address"),
    flag('o', "ops", kOnePacket, "schedule every UDP packet afresh"),
    with(0, "pe", kPersistenceEngine, "NAME", "with -p: distinguish clients by this engine (sip)"),
    with('b', "sched-flags", kSchedulerFlags, "FLAG[,FLAG]",
         "sh-fallback, sh-port, mh-fallback, mh-port, flag-1, flag-2, flag-3"),

    with('r', "real-server", kServer, "ADDRESS[:PORT]", "the real server"),
    flag('g', "gatewaying", kForward, "forward by direct route (default)"),
    flag('i', "ipip", kForward, "forward through a tunnel"),
    flag('m', "masquerading", kForward, "forward by rewriting addresses"),
    with('w', "weight", kWeight, "NUMBER", "share of new connections; 0 gives none (default 1)"),
    with('x', "u-threshold", kUpperThreshold, "NUMBER", "no new connections from so many on; 0 is no limit"),
    with('y', "l-threshold", kLowerThreshold, "NUMBER", "new ones again below so many"),
    with(0, "tun-type", kTunType, "TYPE", "with -i: ipip (default), gue or gre"),
    with(0, "tun-port", kTunPort, "PORT", "with gue: the UDP port"),
    flag(0, "tun-nocsum", kTunNocsum, "with gue and gre: no checksum"),
    flag(0, "tun-csum", kTunCsum, "with gue and gre: with checksum"),
    flag(0, "tun-remcsum", kTunRemcsum, "with gue: the receiver makes the checksum"),

    flag('n', "numeric", kNumeric, "numbers instead of names"),
    flag('c', "connection", kConnection, "list connections"),
    flag(0, "timeout", kTimeout, "list timeouts"),
    flag(0, "daemon", kDaemon, "list sync daemons"),
    flag(0, "stats", kStats, "list counters"),
    flag(0, "rate", kRate, "list rates per second"),
    flag(0, "thresholds", kThresholds, "list thresholds"),
    flag(0, "persistent-conn", kPersistentConn, "list persistent connections"),
    flag(0, "tun-info", kTunInfo, "list tunnels"),
    flag('X', "exact", kExact, "large numbers in full"),
    flag(0, "nosort", kNoSort, "list in the engine's order"),
    flag(0, "sort", kNone, "list sorted, as is done anyway"),

    with(0, "mcast-interface", kMcastInterface, "NAME", "the sync daemon's interface (default eth0)"),
    with(0, "syncid", kSyncId, "NUMBER", "the sync daemon's number, 0 to 255"),
    with(0, "sync-maxlen", kSyncMaxlen, "BYTES", "the longest sync message"),
    with(0, "mcast-group", kMcastGroup, "ADDRESS", "the sync daemon's multicast group (default 224.0.0.81)"),
    with(0, "mcast-port", kMcastPort, "PORT", "the sync daemon's port (default 8848)"),
    with(0, "mcast-ttl", kMcastTtl, "NUMBER", "time to live of sync messages (default 1)"),
});

}  // namespace

std::string_view name_of(Option option) {
  return kOptionNames[static_cast<std::size_t>(option)];
}

const Rules& rules_of(Command command) {
  const auto index = static_cast<std::size_t>(command);
  SLUICE_CHECK(index < kRules.size());
  return kRules[index];
}

std::span<const Word> words() {
  return kWords;
}

}  // namespace sluice::ipvs::text
