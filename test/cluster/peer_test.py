#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The real kube-proxy 1.20.2 and `sluice proxy`, one after the other, on the same API server, objects and nodes: every client must
get the same answers, refusals and source addresses from every Service address. In mode ipvs (SLUICE_TEST_MODE=ipvs, on a kernel with
ip_vs) the tables of virtual servers must be the same too.

Where Kubernetes itself changed between 1.20 and today, DIFFERENCES names the probe, what today's Kubernetes does, and why.
"""

import concurrent.futures
import os
import pathlib
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "lib"))
from objects import endpoint_slice, service, with_ingress  # noqa: E402
from rig import SILENCE, ControlPlane, Rig, kubernetes_programs, run, wait_for  # noqa: E402

SLUICE = os.environ["SLUICE"]
MODE = os.environ.get("SLUICE_TEST_MODE", "iptables")
NODES = {"node1": "192.168.231.122", "node2": "192.168.231.123"}
MASTER, ROUTER, CLIENT, OTHER_CLIENT = "192.168.231.121", "192.168.231.1", "192.168.231.200", "192.168.231.201"
PODS = {"a1": ("node1", "10.244.1.5"), "a2": ("node1", "10.244.1.6"), "b1": ("node2", "10.244.2.5"), "asker": ("node1", "10.244.1.9")}
SOURCES = ("asker", "a1", "node1", "client", "other-client")
INGRESS, RANGED_INGRESS, EXTERNAL = "203.0.113.80", "203.0.113.81", "203.0.113.90"

CONFIG = """apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: {mode}
clientConnection: {{kubeconfig: {kubeconfig}}}
clusterCIDR: 10.244.0.0/16
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
"""

# (source, target) -> (what kube-proxy 1.20.2 does, what Kubernetes and Sluice do today, why)
FALLBACK = "policy Local without an endpoint here: 1.20 serves nothing; today pods and nodes reach the other nodes' endpoints, and outsiders get no answer"
KUBELET = "1.20 only marks what is outside loadBalancerSourceRanges, and counts on kubelet's rule to drop it"
DIFFERENCES = {"iptables": {}, "ipvs": {
    **{(source, "local-there node port on node1 TCP"): ({("refused", "")}, {("b1", seen)}, FALLBACK)
       for source, seen in (("asker", PODS["asker"][1]), ("a1", PODS["a1"][1]), ("node1", NODES["node1"]))},
    **{(source, "local-there node port on node1 TCP"): ({("refused", "")}, {("timeout", "")}, FALLBACK) for source in ("client", "other-client")},
    **{(source, "ranged ingress"): ({("a1", "169.254.1.1")}, {("timeout", "")}, KUBELET) for source in ("asker", "a1", "node1", "other-client")},
}}[MODE]
# The lines of `ipvsadm -S -n` on node1 that FALLBACK accounts for.
FALLBACK_LINE = ":30107 -r 10.244.2.5:8080 "


def pods(name, *members, ports=(("p", "TCP", 8080),), **options):
    return endpoint_slice(name, ports, [(PODS[m][1], PODS[m][0]) for m in members], **options)


def objects():
    both = (("t", "TCP", 80, 30101), ("u", "UDP", 80, 30101))
    both_ports = (("t", "TCP", 8080), ("u", "UDP", 8080))
    return [
        service("plain", "10.96.1.1", *both, type="NodePort"), pods("plain", "a1", "a2", "b1", ports=both_ports),
        service("remote", "10.96.1.2", ("p", "TCP", 80, 30102), type="NodePort"), pods("remote", "b1"),
        service("own", "10.96.1.3", ("p", "TCP", 80)), pods("own", "a1"),
        service("empty", "10.96.1.4", ("p", "TCP", 80, 30104), type="NodePort"),
        service("unready", "10.96.1.5", ("p", "TCP", 80, 30105), type="NodePort"),
        endpoint_slice("unready", [("p", "TCP", 8080)], [(PODS["a1"][1], "node1", {"ready": False})]),
        service("local-here", "10.96.1.6", ("p", "TCP", 80, 30106), type="NodePort", externalTrafficPolicy="Local"), pods("local-here", "a1", "b1"),
        service("local-there", "10.96.1.7", ("p", "TCP", 80, 30107), type="NodePort", externalTrafficPolicy="Local"), pods("local-there", "b1"),
        service("balanced", "10.96.1.8", ("p", "TCP", 80, 30108), type="LoadBalancer"), pods("balanced", "a1", "b1"),
        service("ranged", "10.96.1.9", ("p", "TCP", 80, 30109), type="LoadBalancer", loadBalancerSourceRanges=[f"{CLIENT}/32"]), pods("ranged", "a1"),
        service("sticky", "10.96.1.10", ("p", "TCP", 80, 30110), type="NodePort", sessionAffinity="ClientIP"), pods("sticky", "b1"),
        service("two-slices", "10.96.1.11", ("p", "TCP", 80)), pods("two-slices", "a1", suffix="one"), pods("two-slices", "b1", suffix="two"),
        service("two-ports", "10.96.1.12", ("first", "TCP", 80), ("second", "TCP", 81)),
        pods("two-ports", "a1", suffix="one", ports=(("first", "TCP", 8080),)), pods("two-ports", "b1", suffix="two", ports=(("second", "TCP", 8080),)),
    ]


TARGETS = {
    **{f"{name} cluster IP {protocol}": (protocol, f"10.96.1.{number}", 80) for name, number, protocol in (
        ("plain", 1, "TCP"), ("plain", 1, "UDP"), ("remote", 2, "TCP"), ("own", 3, "TCP"), ("empty", 4, "TCP"), ("unready", 5, "TCP"),
        ("local-here", 6, "TCP"), ("local-there", 7, "TCP"), ("balanced", 8, "TCP"), ("ranged", 9, "TCP"), ("sticky", 10, "TCP"),
        ("two-slices", 11, "TCP"), ("two-ports", 12, "TCP"))},
    "two-ports second port": ("TCP", "10.96.1.12", 81),
    "plain other port": ("TCP", "10.96.1.1", 82),
    **{f"{name} node port on {node} {protocol}": (protocol, address, port) for node, address in NODES.items() for name, port, protocol in (
        ("plain", 30101, "TCP"), ("plain", 30101, "UDP"), ("remote", 30102, "TCP"), ("empty", 30104, "TCP"), ("unready", 30105, "TCP"),
        ("local-here", 30106, "TCP"), ("local-there", 30107, "TCP"), ("ranged", 30109, "TCP"), ("sticky", 30110, "TCP"))},
    "plain node port on the other address": ("TCP", "192.168.122.1", 30101),
    "balanced ingress": ("TCP", INGRESS, 80),
    "ranged ingress": ("TCP", RANGED_INGRESS, 80),
}


class PeerTest(unittest.TestCase):
    """Two columns: what each proxy made of every (source, target)."""

    def test_the_same_answers_as_kube_proxy(self):
        programs = kubernetes_programs()
        with tempfile.TemporaryDirectory(prefix="sluice-peer-") as folder, Rig("slpeer") as rig:
            self.folder, self.rig, self.tables = pathlib.Path(folder), rig, {}
            self.make_hosts()
            with ControlPlane(rig, "master", MASTER, self.folder / "cluster") as plane:
                self.fill(plane)
                theirs = self.observe("kube-proxy", [programs / "kube-proxy"])
                ours = self.observe("sluice", [SLUICE, "proxy"])
        their_tables, our_tables = self.tables["kube-proxy"], self.tables["sluice"]
        wrong = [f"{node}: only {who} has: {line}" for node in their_tables
                 for who, lines in (("kube-proxy", their_tables[node] - our_tables[node]), ("sluice", our_tables[node] - their_tables[node]))
                 for line in sorted(lines) if not (who == "sluice" and node == "node1" and FALLBACK_LINE in line)]
        for key, their_answer in theirs.items():
            expected = DIFFERENCES[key][1] if key in DIFFERENCES else their_answer
            if ours[key] != expected:
                wrong.append(f"{key[0]} -> {key[1]}: kube-proxy {their_answer}, expected {expected}, sluice {ours[key]}")
        self.assertEqual(wrong, [], "\n" + "\n".join(wrong))
        self.assertEqual(len(theirs), len(SOURCES) * len(TARGETS))

    def make_hosts(self):
        rig = self.rig
        rig.add_node("master", f"{MASTER}/24")
        for name, address in NODES.items():
            rig.add_node(name, f"{address}/24", others=["192.168.122.1/24"] if name == "node1" else [])
        rig.add_client("client", f"{CLIENT}/24")
        rig.add_client("other-client", f"{OTHER_CLIENT}/24")
        for name, (node, address) in PODS.items():
            rig.add_pod(name, node, address)
            rig.serve(name, 8080)
        rig.add_router(ROUTER)
        for host in ("master", "node1", "node2"):
            for node, prefix in (("node1", "10.244.1.0/24"), ("node2", "10.244.2.0/24")):
                if host != node:
                    rig.route(host, prefix, NODES[node])
        for client in ("client", "other-client"):
            for prefix in ("10.96.0.0/12", "203.0.113.0/24"):
                rig.route(client, prefix, NODES["node1"])
            rig.route(client, "192.168.122.1/32", NODES["node1"])

    def fill(self, plane):
        for name, address in NODES.items():
            plane.add_node_object(name, address)
        plane.apply(*objects())
        with_ingress(plane, "balanced", INGRESS)
        with_ingress(plane, "ranged", RANGED_INGRESS)
        self.kubeconfig = plane.state / "proxy.kubeconfig"

    def observe(self, name, command):
        config = self.folder / f"{name}.yaml"
        config.write_text(CONFIG.format(kubeconfig=self.kubeconfig, mode=MODE))
        proxies = [self.rig.spawn(node, [*command, f"--config={config}", f"--hostname-override={node}"], self.folder / f"{name}-{node}.log",
                                  {"XTABLES_LOCKFILE": str(self.folder / f"{node}.lock")}) for node in NODES]
        try:
            for node in NODES:
                wait_for(f"{name} on {node} programs all", lambda node=node: self.programmed(node))
            self.tables[name] = {node: self.settled_table(node) for node in NODES}
            keys = [(source, target) for target in TARGETS for source in SOURCES]
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                return dict(zip(keys, pool.map(lambda key: self.answers(key[0], *TARGETS[key[1]]), keys)))
        finally:
            for proxy in proxies:
                self.rig.stop(proxy)
            for node in NODES:
                self.sweep(node)

    def sweep(self, node):
        inside = ("ip", "netns", "exec", self.rig.ns(node))
        for table in ("nat", "filter", "mangle"):
            for action in ("-F", "-X"):
                run(*inside, "iptables", "-t", table, action)
        if MODE == "ipvs":
            run(*inside, "ipvsadm", "-C")
            run(*inside, "ipset", "destroy", check=False)
            run(*inside, "ip", "link", "delete", "kube-ipvs0", check=False)
            run(*inside, "nft", "delete", "table", "ip", "sluice-ipvs", check=False)
        run(*inside, "conntrack", "-F", check=False)

    def settled_table(self, node):
        """Waits until it has not changed for three seconds: kube-proxy writes its virtual servers one by one."""
        table = self.virtual_servers(node)
        while MODE == "ipvs":
            time.sleep(3)
            before, table = table, self.virtual_servers(node)
            if table == before:
                break
        return table

    def virtual_servers(self, node):
        return set(run("ip", "netns", "exec", self.rig.ns(node), "ipvsadm", "-S", "-n").splitlines()) if MODE == "ipvs" else set()

    def programmed(self, node):
        if MODE == "ipvs":
            inside = ("ip", "netns", "exec", self.rig.ns(node))
            # kube-proxy writes its rules after its virtual servers.
            if "-A KUBE-POSTROUTING" not in run(*inside, "iptables-save", "-t", "nat") and "sluice-ipvs" not in run(*inside, "nft", "list", "tables"):
                return False
            table = self.virtual_servers(node)
            return all(any(f" {address} " in line and " -r " in line for line in table) for address in ("10.96.1.1:80", "10.96.1.12:81", f"{RANGED_INGRESS}:80", f"{NODES[node]}:30110"))
        # The dispatch rules come last, in both programs.
        dispatch = run("ip", "netns", "exec", self.rig.ns(node), "iptables-save", "-t", "nat")
        dispatch = "".join(line for line in dispatch.splitlines() if line.startswith("-A KUBE-SERVICES "))
        return all(f'"default/{name}:' in dispatch for name in ("plain", "two-ports", "ranged", "sticky"))

    def answers(self, source, protocol, address, port):
        """The set of (who answered, client address seen): enough requests at once to reach every pod of at most three."""
        def ask(timeout):
            def one(_=None):
                return self.rig.probe(source, protocol, address, port, timeout)

            # The kernel sends a bounded number of ICMP refusals a second, so those are requested one after the other.
            first = one()
            if first[0] in ("refused", "unreachable"):
                return {first, one(), one()}
            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                seen = {first, *pool.map(one, range(20))}
                # One pod of three stays unseen in 21 requests once in 1,700 times, and 35 rows are checked for two programs.
                return seen if len(seen) == 1 else seen | set(pool.map(one, range(40)))

        answers = ask(SILENCE)
        # Some answer and some do not: dropped packets or a busy machine. Retried once, with time for another retransmission.
        return answers if len(answers) == 1 or ("timeout", "") not in answers else ask(3 * SILENCE)


if __name__ == "__main__":
    unittest.main(verbosity=2)
