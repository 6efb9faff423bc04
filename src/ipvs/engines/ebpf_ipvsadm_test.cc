// SPDX-License-Identifier: Apache-2.0
// The engine in BPF as a load balancer that ipvsadm sets up, with nothing else running: each command is given a new engine object,
// as a process of its own would be.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "ipvs/ebpf/test_traffic.h"
#include "ipvs/text/ipvsadm.h"

namespace sluice::ipvs::engines {
namespace {

using ebpf::accept;
using ebpf::bound_socket;
using ebpf::read_text;
using ebpf::Traffic;
using ebpf::write_text;

struct Outcome {
  int status = 0;
  std::string out;
  std::string err;
};

class EbpfIpvsadm : public Traffic {
 protected:
  using Program = int (*)(const text::Invocation&, const text::OpenEngine&, text::Names&, const text::Console&);

  static Outcome run_program(Program program, const std::string& line, std::string input = {}) {
    Outcome outcome;
    const text::Console console{[&](std::string_view out) { outcome.out += out; },
                                [&](std::string_view err) { outcome.err += err; },
                                [&]() -> std::optional<std::string> {
                                  if (input.empty()) return std::nullopt;
                                  const std::size_t end = input.find('\n');
                                  std::string one = input.substr(0, end);
                                  input.erase(0, end == std::string::npos ? end : end + 1);
                                  return one;
                                }};
    std::vector<std::string> words;
    for (std::size_t at = 0; at < line.size();) {
      const std::size_t end = std::min(line.find(' ', at), line.size());
      words.push_back(line.substr(at, end - at));
      at = end + 1;
    }
    const text::OpenEngine open = [](EngineChoice) { return ebpf::EbpfEngine::open(); };
    text::SystemNames names;
    outcome.status = program({"ipvsadm", words, "auto"}, open, names, console);
    return outcome;
  }
  // It must succeed.
  static std::string ipvsadm(const std::string& line) {
    const Outcome outcome = run_program(&text::run_ipvsadm, line);
    EXPECT_EQ(outcome.status, 0) << line << ": " << outcome.err;
    return outcome.out;
  }
};

TEST_F(EbpfIpvsadm, SetsUpALoadBalancerAndListsItsConnections) {
  engine_.reset();
  ipvsadm("-A -t 10.0.0.1:80 -s rr");
  ipvsadm("-a -t 10.0.0.1:80 -r 10.2.0.1:8080 -m");
  ipvsadm("-a -t 10.0.0.1:80 -r 10.2.0.2:8080 -m -w 3");
  const UniqueFd first = listener({ip("10.2.0.1"), 8080});
  const UniqueFd second = listener({ip("10.2.0.2"), 8080});
  std::vector<UniqueFd> ends;
  for (std::uint16_t port = 4001; port <= 4003; ++port) {
    UniqueFd client;
    net_.as_client([&] {
      client = bound_socket(SOCK_STREAM, {ip("10.1.0.1"), port});
      EXPECT_EQ(connect(client, {ip("10.0.0.1"), 80}), 0);
    });
    ebpf::Accepted accepted = accept(port == 4002 ? first : second);
    write_text(client, "GET");
    EXPECT_EQ(read_text(accepted.fd, 3), "GET");
    write_text(accepted.fd, "200");
    EXPECT_EQ(read_text(client, 3), "200");
    ends.push_back(std::move(client));
    ends.push_back(std::move(accepted.fd));
  }
  const std::string listing = ipvsadm("-L -n");
  EXPECT_NE(listing.find("TCP  10.0.0.1:80 rr\n"
                         "  -> 10.2.0.1:8080                Masq    1      1          0         \n"
                         "  -> 10.2.0.2:8080                Masq    3      2          0         \n"),
            std::string::npos)
      << listing;
  const std::string connections = ipvsadm("-L -n -c");
  EXPECT_NE(connections.find("ESTABLISHED 10.1.0.1:4002      10.0.0.1:80        10.2.0.1:8080\n"), std::string::npos)
      << connections;
  EXPECT_NE(ipvsadm("-L -n --stats").find("TCP  10.0.0.1:80                         3       "), std::string::npos)
      << ipvsadm("-L -n --stats");
  ipvsadm("-Z");
  EXPECT_NE(
      ipvsadm("-L -n --stats").find("TCP  10.0.0.1:80                         0        0        0        0        0\n"),
      std::string::npos)
      << ipvsadm("-L -n --stats");
  ipvsadm("--set 1000 60 30");
  EXPECT_EQ(ipvsadm("-L --timeout"), "Timeout (tcp tcpfin udp): 1000 60 30\n");
}

TEST_F(EbpfIpvsadm, RestoresWhatItSaved) {
  const std::string table =
      "-A -t 10.0.0.1:80 -s wlc -p 360 -M 255.255.255.0\n"
      "-a -t 10.0.0.1:80 -r 10.2.0.1:8080 -m -w 1\n"
      "-a -t 10.0.0.1:80 -r 10.2.0.2:8080 -m -w 0\n"
      "-A -u 10.0.0.1:53 -s sh -o -b sh-fallback,sh-port\n"
      "-a -u 10.0.0.1:53 -r 10.2.0.3:53 -i -w 2 --tun-type ipip\n"
      "-A -t [fd00::1]:80 -s mh\n"
      "-a -t [fd00::1]:80 -r [fd02::1]:80 -g -w 65535\n"
      "-A -f 7 -s rr\n"
      "-a -f 7 -r 10.2.0.1:0 -m -w 1\n";
  const Outcome restored = run_program(&text::run_ipvsadm, "-R", table);
  ASSERT_EQ(restored.status, 0) << restored.err;
  EXPECT_EQ(ipvsadm("-S -n"), table);
  ipvsadm("-C");
  EXPECT_EQ(ipvsadm("-S -n"), "");
}

// What is listed goes back to ip_vs as it is, so it is kept; but packets to it are dropped.
TEST_F(EbpfIpvsadm, SaysOnceThatItOnlyMasquerades) {
  ipvsadm("-A -t 10.0.0.1:80");
  EXPECT_EQ(run_program(&text::run_ipvsadm, "-a -t 10.0.0.1:80 -r 10.2.0.1:80 -m").err, "");
  const Outcome added = run_program(&text::run_ipvsadm, "-a -t 10.0.0.1:80 -r 10.2.0.2:80");
  EXPECT_EQ(added.status, 0);
  EXPECT_EQ(added.err,
            "10.2.0.2:80: the engine ebpf forwards by masquerading (-m) only, and drops what would be sent by another "
            "method\n");
  const Outcome refused = run_program(&text::run_ipvsadm, "-a -t 10.0.0.1:80 -r 10.2.0.2:80 -i");
  EXPECT_EQ(refused.err, "Destination already exists\n");
  const Outcome restored = run_program(&text::run_ipvsadm, "-R",
                                       "-e -t 10.0.0.1:80 -r 10.2.0.1:80 -i\n"
                                       "-e -t 10.0.0.1:80 -r 10.2.0.2:80 -g\n");
  EXPECT_EQ(restored.status, 0);
  EXPECT_EQ(std::count(restored.err.begin(), restored.err.end(), '\n'), 1) << restored.err;
}

TEST_F(EbpfIpvsadm, NamesADeviceThatRefusesAndSucceeds) {
  run({"ip", "link", "add", "odd0", "type", "bridge"});
  run({"tc", "qdisc", "add", "dev", "odd0", "ingress"});
  const Outcome added = run_program(&text::run_ipvsadm, "-A -t 10.0.0.1:80");
  EXPECT_EQ(added.status, 0);
  EXPECT_EQ(added.out, "");
  EXPECT_EQ(added.err.find("device odd0 does not take all programs of the engine ebpf"), 0U) << added.err;
  EXPECT_EQ(std::count(added.err.begin(), added.err.end(), '\n'), 1) << added.err;
  const Outcome restored = run_program(&text::run_ipvsadm_restore, "", "-A -t 10.0.0.1:81\n");
  EXPECT_EQ(restored.status, 0);
  EXPECT_EQ(run_program(&text::run_ipvsadm, "-L -n").err, "") << "who only looks puts no programs anywhere";
}

TEST_F(EbpfIpvsadm, ReasonsThatAreNotIpVsAreInTheEnginesWords) {
  const Outcome daemon = run_program(&text::run_ipvsadm, "--start-daemon master --mcast-interface eth0");
  EXPECT_EQ(daemon.status, 255);
  EXPECT_EQ(daemon.err, "Sync daemons are not supported by this engine\n");
  const Outcome removed = run_program(&text::run_ipvsadm, "-D -t 10.0.0.1:80");
  EXPECT_EQ(removed.status, 255);
  EXPECT_EQ(removed.err, "No such service\n");
  EXPECT_FALSE(ebpf::EbpfEngine::in_use()) << "there was nothing to change";
  ipvsadm("-A -t 10.0.0.1:80");
  engine_.reset();
  std::optional<ebpf::HiddenPins> hidden(std::in_place);
  for (const char* line :
       {"-A -t 10.0.0.1:81", "-D -t 10.0.0.1:80", "-L -n", "-L -n -c", "-S", "-C", "-Z", "-R", "--set 1 1 1"}) {
    const Outcome outcome = run_program(&text::run_ipvsadm, line);
    EXPECT_EQ(outcome.status, 2) << line;
    EXPECT_EQ(outcome.err.find("Can't initialize ipvs: the programs of the engine ebpf are on "), 0U)
        << line << ": " << outcome.err;
  }
  hidden.reset();
  EXPECT_NE(ipvsadm("-L -n").find("10.0.0.1:80"), std::string::npos);
}

}  // namespace
}  // namespace sluice::ipvs::engines
