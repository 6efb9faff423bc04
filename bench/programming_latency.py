#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programming latency side by side: the real kube-proxy 1.20.2 in mode iptables, and Sluice in modes iptables, nftables and ipvs, one after the
other, on the same API server, the same objects and the same node. (1.20.2 has no mode nftables. Mode ipvs is that of `engine: auto`: ip_vs, or
the engine in BPF where the kernel has none.)

For each size a control plane (etcd, kube-apiserver 1.20.2) is filled with N Services of M endpoints. Then each proxy runs in the
network namespace of a small node, and four figures are taken, as seen by a user:
  all programmed   from the process' start until the kernel has the rules of every Service (read from the kernel)
  one change       from the PUT of an EndpointSlice until a new connection through the cluster IP lands on the new pod
  resident memory  of the proxy process after the changes (VmRSS)
  CPU              seconds that the proxy and its children used by then
Everything is in its own network namespaces; load is bounded; all is removed at the end.

usage: programming_latency.py [--sizes 100,1000,5000] [--endpoints 10] [--flavour legacy|nft] [--rounds 7] [--peers NAME,...] [--sluice PATH]
"""

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from load import SLICES, endpoint_slice, figures, fill, say, service, synced_once
from rig import ROOT, ControlPlane, Rig, ask, inside, kubernetes_programs, run

PODS = {"podA": "10.191.255.1", "podB": "10.191.255.2"}
CLIENT_ADDRESS, NODE_ADDRESS, FLIP_ADDRESS = "10.191.255.3", "192.0.2.2", "10.96.255.250"
# By name: the words behind the program's own (None: it is kube-proxy), and the mode.
PEERS = {"kube-proxy": (None, "iptables"), "sluice": (["proxy"], "iptables"), "sluice-nftables": (["proxy"], "nftables"),
         "sluice-ipvs": (["proxy"], "ipvs")}
PROGRAMMED_SECONDS_MAX, FLIP_SECONDS_MAX = 1500, 1500


def make_rig():
    """One node with two pods that answer with their own name, and a client behind it."""
    rig = Rig("slbench")
    rig.add_node("node", f"{NODE_ADDRESS}/24")
    for name, address in {**PODS, "client": CLIENT_ADDRESS}.items():
        rig.add_pod(name, "node", address)
    for name in PODS:
        rig.serve(name, 8080)
    return rig


def flush(rig):
    run("ip", "netns", "exec", rig.ns("node"), "nft", "flush", "ruleset")
    for tool in ("iptables-legacy", "iptables-nft"):
        for table in ("nat", "filter", "mangle"):
            for action in ("-F", "-X"):
                run("ip", "netns", "exec", rig.ns("node"), tool, "-t", table, action, check=False)
    run("ip", "netns", "exec", rig.ns("node"), "conntrack", "-F", check=False)


def in_node(rig):
    """What stands before a program that runs in the node and sees this machine's /sys, where BPF maps are kept."""
    return ["nsenter", f"--net=/run/netns/{rig.ns('node')}"]


def add_flip(plane):
    """The Service whose one endpoint changes."""
    connection = plane.connect()
    plane.request(connection, "POST", "/api/v1/namespaces/load/services", service("flip", FLIP_ADDRESS))
    plane.request(connection, "POST", SLICES, endpoint_slice("flip", [PODS["podA"]]))
    connection.close()


class Proxy:
    """A proxy process in the node; the same configuration file for both programs."""

    def __init__(self, rig, name, command, mode, flavour, folder, kubeconfig):
        self.rig, self.name, self.mode, self.flavour = rig, name, mode, flavour
        tools = folder / "tools"
        tools.mkdir(exist_ok=True)
        for tool in ("iptables", "ip6tables"):
            for suffix in ("", "-save", "-restore"):
                link = tools / f"{tool}{suffix}"
                link.unlink(missing_ok=True)
                link.symlink_to(shutil.which(f"{tool}-{flavour}{suffix}"))
        config = folder / "config.yaml"
        config.write_text(
            f"apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: {mode}\n"
            f"clientConnection: {{kubeconfig: {kubeconfig}}}\nclusterCIDR: 10.128.0.0/9\nhostnameOverride: node1\n"
            "conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}\n")
        self.log = folder / f"{name}.log"
        self.started = time.time()
        self.program = command[0]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*in_node(rig), *command, "--config", str(config), "-v=2"], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env={**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"})
        rig.processes.append(self.process)

    def stop(self, leave_rules=False):
        self.rig.stop(self.process)
        if not leave_rules:
            self.clean()

    def clean(self):
        """What flush() does not know of."""
        if self.mode == "ipvs":
            run(*in_node(self.rig), self.program, "cleanup")

    def wait_programmed(self, services):
        """Until the kernel's dispatch chain has a rule for every Service, or the map of frontends an element, or there is a virtual server."""
        tool, mark = [f"iptables-{self.flavour}", "-t", "nat", "-S", "KUBE-SERVICES"], "-j KUBE-SVC-"
        if self.mode == "nftables":
            tool, mark = ["nft", "list", "map", "ip", "sluice-nftables", "frontends"], " : goto hide-"
        if self.mode == "ipvs":
            tool, mark = [self.program, "ipvsadm", "-L", "-n"], "P  10.9"
        while time.time() - self.started < PROGRAMMED_SECONDS_MAX:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}; see {self.log}")
            if synced_once(self.rig, "node"):
                listed = run(*in_node(self.rig), *tool, check=False)
                if listed.count(mark) >= services:
                    return time.time() - self.started
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} did not program {services} Services within {PROGRAMMED_SECONDS_MAX} s")


def ask_flip():
    return ask("TCP", FLIP_ADDRESS, 80, 1.0, None)[0]


def measure_flips(rig, plane, rounds):
    """Latencies in seconds, and how many connections failed while waiting."""
    connection = plane.connect()

    def work():
        latencies, failures, current = [], 0, ask_flip()
        if current not in PODS:
            raise RuntimeError(f"the flip Service answers {current!r}")
        for _ in range(rounds):
            wanted = "podB" if current == "podA" else "podA"
            time.sleep(2.5)  # longer than minSyncPeriod, so that both proxies are idle
            start = time.time()
            plane.request(connection, "PUT", f"{SLICES}/flip-x", endpoint_slice("flip", [PODS[wanted]]))
            while (answer := ask_flip()) != wanted:
                failures += answer not in PODS
                if time.time() - start > FLIP_SECONDS_MAX:
                    raise RuntimeError(f"no connection reached {wanted}")
            latencies.append(time.time() - start)
            current = wanted
        return latencies, failures

    try:
        return inside(rig.ns("client"), work)
    finally:
        connection.close()


def measure(rig, name, command, mode, flavour, plane, folder, services, rounds):
    flush(rig)
    proxy = Proxy(rig, name, command, mode, flavour, folder, plane.state / "proxy.kubeconfig")
    try:
        programmed = proxy.wait_programmed(services)
        say(f"  {name}: {services} Services programmed after {programmed:.2f} s")
        latencies, failures = measure_flips(rig, plane, rounds)
        memory, cpu = figures(proxy.process)
        say(f"  {name}: one change {statistics.median(latencies) * 1e3:.1f} ms median of {len(latencies)} "
            f"({min(latencies) * 1e3:.1f} to {max(latencies) * 1e3:.1f}), {failures} failed connections, {memory:.0f} MiB, {cpu:.2f} CPU s")
        return programmed, statistics.median(latencies), memory, cpu
    finally:
        proxy.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="100,1000,5000", help="numbers of Services")
    parser.add_argument("--endpoints", type=int, default=10)
    parser.add_argument("--flavour", default="legacy", choices=("legacy", "nft"),
                        help="with nft, kube-proxy needs minutes per sync from some thousand Services on")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peers", default=",".join(PEERS), help="which of these to measure")
    parser.add_argument("--sluice", default=str(ROOT / "build/release/sluice"))
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("programming_latency.py: needs root, for network namespaces")
    say("looking for kube-proxy 1.20.2 and kube-apiserver (built once, then cached)")
    kubernetes = kubernetes_programs()
    peers = {name: ([str(kubernetes / "kube-proxy")] if PEERS[name][0] is None else [options.sluice, *PEERS[name][0]], PEERS[name][1])
             for name in options.peers.split(",")}
    rows = []
    for services in (int(size) for size in options.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder, make_rig() as rig, \
                ControlPlane(rig, "node", NODE_ADDRESS, pathlib.Path(folder) / "cluster") as plane:
            say(f"{services} Services x {options.endpoints} endpoints, iptables-{options.flavour}: filling the API server")
            fill(plane, NODE_ADDRESS, services, options.endpoints)
            add_flip(plane)
            figures = {name: measure(rig, name, command, mode, options.flavour, plane, pathlib.Path(folder), services, options.rounds)
                       for name, (command, mode) in peers.items()}
            rows.append((services, figures))
    print(f"\nkube-proxy 1.20.2 and Sluice in mode iptables ({options.flavour}), nftables and ipvs, {options.endpoints} endpoints a Service, one run each")
    print(f"{'Services':>8}  {'what':<22}" + "".join(f"{name:>17}" for name in peers))
    for services, figures in rows:
        for position, (what, unit, scale) in enumerate((("all programmed", "s", 1), ("one change", "ms", 1e3), ("memory", "MiB", 1), ("CPU", "s", 1))):
            print(f"{services:>8}  {what + ', ' + unit:<22}" + "".join(f"{figures[name][position] * scale:>17.2f}" for name in peers))


if __name__ == "__main__":
    main()
