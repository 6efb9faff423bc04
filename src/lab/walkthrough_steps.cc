// SPDX-License-Identifier: Apache-2.0
// The steps of the guided tour. Each does what an operator would do (write a file, start a program, kill it), shows
// what that operator would look at (a log line, a page, rules), and then checks what counts: clients, with
// new and long connections.
#include <fmt/format.h>
#include <signal.h>

#include "lab/interrupt.h"
#include "lab/state.h"
#include "lab/walkthrough_acts.h"

namespace sluice::lab {
namespace {

constexpr milliseconds kPatience{20000};  // for a change to be followed
constexpr const char* kClient = "192.168.231.200";
constexpr const char* kStranger = "192.168.231.201";

// A packet's path to the Service web, chain by chain.
std::string telling_rules(const std::string& rules) {
  return lines_with(rules, {"-A KUBE-SERVICES", "default/web"}, 1) +
         lines_with(rules, {"-A KUBE-NODEPORTS", "default/web"}, 1) +
         lines_with(rules, {"-A KUBE-SVC-", "default/web"}, 4) +
         lines_with(rules, {"-A KUBE-SEP-", "default/web", "DNAT"}, 3);
}

// The rules of the tour's best-known Service are in the kernel.
Result<> wait_for_rules(const Walkthrough& walkthrough, const std::string& node) {
  const std::string cluster_ip = walkthrough_service("web").cluster_ips.front();
  return wait_for_proxy(walkthrough, node,
                        [&] { return nat_rules(walkthrough.lab, node).find(cluster_ip) != std::string::npos; });
}

void show_cluster_ips(Walkthrough& walkthrough) {
  const ProbeOptions many{.count = 60};
  walkthrough.screen.heading("Cluster IPs: web, kubernetes, cluster DNS");
  ask_each(walkthrough, {"toolbox", tcp("10.104.247.10", 80), many}, web_pods());
  ask_each(walkthrough, {"web-1", tcp("10.104.247.10", 80), many}, web_pods());  // also itself: hairpin
  ask_each(walkthrough, {"k8s-master", tcp("10.104.247.10", 80), many}, web_pods());
  ask_each(walkthrough, {"client", tcp("10.104.247.10", 80), many}, web_pods());
  ask_each(walkthrough, {"toolbox", tcp("10.96.0.1", 443), {.count = 5}}, {"kube-apiserver"});
  ask_each(walkthrough, {"k8s-node1", tcp("10.96.0.1", 443), {.count = 5}}, {"kube-apiserver"});
  ask_each(walkthrough, {"toolbox", udp("10.96.0.10", 53), many}, {"coredns-1", "coredns-2"});
  ask_each(walkthrough, {"coredns-1", udp("10.96.0.10", 53), many}, {"coredns-1", "coredns-2"});
  ask_each(walkthrough, {"k8s-node2", udp("10.96.0.10", 53), many}, {"coredns-1", "coredns-2"});
  ask_each(walkthrough, {"shop-1", tcp("10.96.0.10", 53), many}, {"coredns-1", "coredns-2"});
}

void show_node_ports(Walkthrough& walkthrough) {
  const ProbeOptions many{.count = 60};
  walkthrough.screen.heading("Node port 31947 of web, on every address of every node");
  for (const char* address : {"192.168.231.121", "192.168.231.122", "192.168.231.123", "192.168.122.1"}) {
    ask_each(walkthrough, {"client", tcp(address, 31947), many}, web_pods());
  }
  ask_each(walkthrough, {"k8s-node1", tcp("192.168.122.1", 31947), many}, web_pods());
  ask_each(walkthrough, {"k8s-node2", tcp("127.0.0.1", 31947), many}, web_pods());
}

void show_affinity_and_ipv6(Walkthrough& walkthrough) {
  const std::set<std::string> shop{"shop-1", "shop-2"};
  walkthrough.screen.heading("Dual stack with session affinity: each client stays with one pod");
  for (const char* from : {"toolbox", "web-2", "k8s-master"}) {
    ask_one_pod(walkthrough, {from, tcp("10.100.20.30", 80), {.count = 20}});
    ask_one_pod(walkthrough, {from, tcp("fd00:10:96::2030", 80), {.count = 20}});
  }
  ask_one_pod(walkthrough, {"client", tcp("192.168.231.121", 30808), {.count = 20}});
  ask_one_pod(walkthrough, {"client", tcp("fd00:231::123", 30808), {.count = 20}});
}

void show_policies(Walkthrough& walkthrough) {
  Screen& screen = walkthrough.screen;
  const auto seen_as_client = [](const ProbeOutcome& outcome) {
    return outcome.answered_by_each({"edge-1"}) && outcome.clients == std::set<IpAddress>{ip(kClient)};
  };
  const auto seen_as_node = [](const ProbeOutcome& outcome) {
    return outcome.all_answered() && !outcome.clients.contains(ip(kClient));
  };
  screen.heading("externalTrafficPolicy: Local keeps the client's address, and only nodes with a pod answer");
  const auto local = ask(walkthrough, {"client", tcp("192.168.231.123", 30090), {.count = 20, .source = ip(kClient)}},
                         seen_as_client, fmt::format("edge-1 sees {}", kClient));
  for (const IpAddress& address : local.clients) screen.note(fmt::format("    the pod saw {}", address.to_string()));
  ask_failure(walkthrough, {"client", tcp("192.168.231.122", 30090), {.count = 2, .timeout = kSilenceProbe}},
              ProbeFailure::kTimedOut);
  ask_each(walkthrough, {"toolbox", tcp("10.101.7.7", 80), {.count = 10}}, {"edge-1"});
  const auto cluster = ask(walkthrough, {"client", tcp("192.168.231.123", 31947), {.count = 20, .source = ip(kClient)}},
                           seen_as_node, "policy Cluster: the pods see the node");
  for (const IpAddress& address : cluster.clients)
    screen.note(fmt::format("    policy Cluster: the pods saw {}", address.to_string()));

  screen.heading(fmt::format("Load balancer 203.0.113.10 with loadBalancerSourceRanges {}/32", kClient));
  ask_each(walkthrough, {"client", tcp("203.0.113.10", 80), {.count = 40, .source = ip(kClient)}},
           {"shop-1", "shop-2"});
  ask_failure(walkthrough,
              {"client", tcp("203.0.113.10", 80), {.count = 2, .timeout = kSilenceProbe, .source = ip(kStranger)}},
              ProbeFailure::kTimedOut);

  screen.heading("No endpoints: refused at once");
  ask_failure(walkthrough, {"toolbox", tcp("10.103.3.3", 80), {.count = 5}}, ProbeFailure::kRefused);
  ask_failure(walkthrough, {"k8s-node1", tcp("10.103.3.3", 80), {.count = 5}}, ProbeFailure::kRefused);
  ask_failure(walkthrough, {"client", tcp("192.168.231.122", 30099), {.count = 5}}, ProbeFailure::kRefused);
}

// Probes `target` until no answer comes from `pod` `kQuiet` times in a row; returns when its last one came, since
// `start`. With three pods taking turns at random, 60 answers without one of them happen by chance once in 10^10.
milliseconds time_of_last_answer(const Walkthrough& walkthrough, const Question& question, const std::string& pod,
                                 SteadyClock::time_point start) {
  constexpr int kQuiet = 60;
  milliseconds last{0};
  for (int quiet = 0; quiet < kQuiet && since(start) < kPatience && interrupted() == 0; ++quiet) {
    if (!walkthrough.lab.probe(question.from, question.target, question.options).answers.contains(pod)) continue;
    last = since(start);
    quiet = 0;
  }
  return last;
}

}  // namespace

Result<> show_default_mode(Walkthrough& walkthrough) {
  Lab& lab = walkthrough.lab;
  Screen& screen = walkthrough.screen;
  const std::string config = lab.folder() + "/config.conf";
  const auto start = SteadyClock::now();
  SLUICE_CHECK_OK(write_text(config, proxy_config("")));
  for (const NodeSpec& node : lab.topology().nodes) SLUICE_CHECK_OK(start_proxy(walkthrough, node.name, config));
  screen.note(fmt::format("on every node: sluice proxy --config={} --manifests={} ...", config, walkthrough.manifests));
  for (const NodeSpec& node : lab.topology().nodes) SLUICE_CHECK_OK(wait_for_rules(walkthrough, node.name));
  screen.note(fmt::format("three proxies are healthy and their rules in the kernel after {:.2f} s",
                          std::chrono::duration<double>(SteadyClock::now() - start).count()));

  const std::string node = "k8s-node1";
  check_mode(walkthrough, node, "iptables");

  screen.heading(node + "# iptables-save -t nat | grep default/web");
  const std::string rules = telling_rules(nat_rules(lab, node));
  screen.quote(rules);
  screen.check(!rules.empty(), "rules for the Service web", rules.empty() ? "none" : "there", "there");

  // IPv6 may follow a moment later.
  std::string status;
  const bool equal = eventually([&] {
    const auto asked = lab.run(node, {walkthrough.program, "status"});
    status = asked ? asked->output + asked->error_output : asked.error().what;
    return asked && asked->exit_status == 0;
  });
  screen.heading(node + "# sluice status");
  screen.quote(status);
  screen.check(equal, "what is live, in the kernel", equal ? "equals what is wanted" : "is something else",
               "equals what is wanted");
  return {};
}

Result<> show_traffic(Walkthrough& walkthrough) {
  for (const auto& show : {show_cluster_ips, show_node_ports, show_affinity_and_ipv6, show_policies}) {
    show(walkthrough);
    if (interrupted() != 0) break;
  }
  return {};
}

Result<> show_live_change(Walkthrough& walkthrough) {
  Lab& lab = walkthrough.lab;
  const Question question{"toolbox", tcp("10.104.247.10", 80)};
  SLUICE_TRY(Pinger pinger, keep_asking(walkthrough, {"client", tcp("192.168.231.121", 31947)}, milliseconds(10)));
  SLUICE_TRY(LongConnection held, hold_connection(walkthrough, question, "web-2"));

  ExampleService web = walkthrough_service("web");
  std::erase(web.pods, "web-2");
  const auto start = SteadyClock::now();
  SLUICE_CHECK_OK(write_service(walkthrough, web));
  const milliseconds gone = time_of_last_answer(walkthrough, question, "web-2", start);
  walkthrough.screen.note(
      fmt::format("web-2 is taken out of web.yaml; its last new connection came {} ms later", gone.count()));
  ask_each(walkthrough, {"toolbox", question.target, {.count = 60}}, {"web-1", "web-3"});
  const bool followed = eventually([&] {
    return lab.probe("client", tcp("192.168.231.122", 31947), {.count = 30}).answered_by_each({"web-1", "web-3"});
  });
  walkthrough.screen.check(followed, "the node port of k8s-node1 follows, too",
                           followed ? "answers web-1, web-3" : "it does not", "web-1 and web-3");
  check_long_connection(walkthrough, "a connection that was open to web-2", held);

  walkthrough.screen.note(
      "web-2 is put back at once; kube-proxy's iptables.minSyncPeriod, 1 s, is kept between two syncs");
  const auto back_start = SteadyClock::now();
  SLUICE_CHECK_OK(write_service(walkthrough, walkthrough_service("web")));
  const bool back =
      eventually([&] { return lab.probe("toolbox", question.target, {.count = 10}).answers.contains("web-2"); });
  walkthrough.screen.check(back, "web-2 is put back",
                           back ? fmt::format("answers again after {} ms", since(back_start).count()) : "silent",
                           "answers again");
  check_steady_traffic(walkthrough, "a client that connected every 10 ms meanwhile", pinger.stop());
  return {};
}

Result<> show_crash(Walkthrough& walkthrough) {
  Lab& lab = walkthrough.lab;
  Screen& screen = walkthrough.screen;
  constexpr int kMany = 100;
  const std::string node = "k8s-node2";
  const Question question{"toolbox", tcp("10.104.247.10", 80)};
  SLUICE_TRY(Pinger from_pod, keep_asking(walkthrough, question, milliseconds(5)));
  SLUICE_TRY(Pinger from_outside, keep_asking(walkthrough, {"client", tcp("192.168.231.123", 31947)}, milliseconds(5)));
  SLUICE_TRY(LongConnection held, lab.connect("toolbox", question.target, question.options));

  SLUICE_CHECK_OK(lab.signal(node, "proxy", SIGKILL));
  if (!eventually([&] { return !lab.process(node, "proxy")->alive; }))
    return fail(Errc::kUnavailable, "the killed proxy does not end");
  screen.note(fmt::format("{}# kill -9 of its proxy", node));
  // It stays down until both have connected many times.
  eventually([&] { return from_pod.report().sent >= kMany && from_outside.report().sent >= kMany; });
  ask_each(walkthrough, {"toolbox", question.target, {.count = 60}}, web_pods());
  const auto start = SteadyClock::now();
  SLUICE_CHECK_OK(start_proxy(walkthrough, node, lab.folder() + "/config.conf"));
  SLUICE_CHECK_OK(wait_for_rules(walkthrough, node));
  screen.note(fmt::format("started again; ready after {} ms", since(start).count()));
  ask_each(walkthrough, {"toolbox", question.target, {.count = 60}}, web_pods());
  check_steady_traffic(walkthrough, "a pod that connected every 5 ms meanwhile", from_pod.stop());
  check_steady_traffic(walkthrough, "a client outside that did the same, by the node port", from_outside.stop());
  check_long_connection(walkthrough, "a connection that was open all the time", held);
  return {};
}

}  // namespace sluice::lab
