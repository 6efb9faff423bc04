#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a packet costs: new connections a second and packets a second of connections that exist, through N Services of M endpoints, served by the
real kube-proxy 1.20.2 in mode iptables, and by Sluice in modes iptables, nftables and ipvs, one after the other in one run. (1.20.2 has no mode
nftables. Mode ipvs is that of `engine: auto`: ip_vs, or the engine in BPF where the kernel has none.)

A client, a node and a sink that has all endpoints' addresses, each in a network namespace; UDP from ever new sources (bench/flows.cc). The client
is a pod of the node, so nobody is hidden. The sender's work is part of the figures, the same for each; `nobody` forwards without any Service, to
show how much that is. What did not arrive at the sink ends the run.

usage: service_traffic.py --flows PATH [--sizes 10000] [--endpoints 10] [--rounds 5] [--peers NAME,...] [--sluice PATH]
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile

from load import fill, say
from programming_latency import PEERS, Proxy, flush
from rig import ROOT, ControlPlane, Rig, kubernetes_programs, run

NODE_ADDRESS, CLIENT, SINK = "192.0.2.2", "10.254.0.1", "10.191.255.1"
ENDPOINTS, CLIENTS = "10.128.0.0/10", "10.254.0.0/15"
NEW, ESTABLISHED = 150_000, 1_000_000
KINDS = (("new", NEW, "new connections/s"), ("established", ESTABLISHED, "established packets/s"))


def make_rig():
    rig = Rig("sltraffic")
    rig.add_node("node", f"{NODE_ADDRESS}/24")
    rig.add_pod("client", "node", CLIENT)
    rig.add_pod("sink", "node", SINK)
    gate = {name: run("ip", "-n", rig.ns("node"), "route", "show", address).split()[2] for name, address in (("client", CLIENT), ("sink", SINK))}
    for name, network in (("client", CLIENTS), ("sink", ENDPOINTS)):
        mac = run("ip", "netns", "exec", rig.ns(name), "cat", "/sys/class/net/eth0/address").strip()
        run("ip", "-n", rig.ns("node"), "route", "replace", network, "via", {"client": CLIENT, "sink": SINK}[name], "dev", gate[name], "onlink")
        run("ip", "-n", rig.ns("node"), "neigh", "replace", {"client": CLIENT, "sink": SINK}[name], "lladdr", mac, "dev", gate[name])
        run("ip", "-n", rig.ns(name), "route", "add", "local", network, "dev", "lo")
    return rig


def received(rig):
    """Packets that arrived at the sink."""
    return int(run("ip", "netns", "exec", rig.ns("sink"), "cat", "/sys/class/net/eth0/statistics/rx_packets"))


def send(rig, flows, kind, services, packets):
    run("ip", "netns", "exec", rig.ns("node"), "conntrack", "-F")
    before = received(rig)
    rate = float(run("ip", "netns", "exec", rig.ns("client"), flows, kind, str(services), str(packets)))
    arrived = received(rig) - before
    if arrived < packets * 0.99:
        raise RuntimeError(f"{arrived} of {packets} packets arrived")
    return rate


def rates(rig, flows, services, rounds, folder, port=8080):
    """For each kind the median of the rounds. The sink replies while connections are made, and is another one in each round."""
    found = {kind: [] for kind, _, _ in KINDS}
    for _ in range(rounds):
        log = pathlib.Path(folder) / "sink.log"
        log.unlink(missing_ok=True)
        sink = rig.spawn("sink", [flows, "sink", str(port)], log)
        try:
            while "ready" not in log.read_text():
                if sink.poll() is not None:
                    raise RuntimeError("the sink ended")
            for kind, packets, _ in reversed(KINDS):
                found[kind].append(send(rig, flows, kind, services, packets))
        finally:
            rig.stop(sink)
    return {kind: statistics.median(each) for kind, each in found.items()}


def forward_alone(rig, services):
    """All Services' addresses lead to the sink as they are; connections are tracked, as with any proxy."""
    run("ip", "-n", rig.ns("node"), "route", "replace", "10.96.0.0/12", "via", SINK, "dev",
        run("ip", "-n", rig.ns("node"), "route", "show", SINK).split()[2], "onlink")
    run("ip", "-n", rig.ns("sink"), "route", "replace", "local", "10.96.0.0/12", "dev", "lo")
    run("ip", "netns", "exec", rig.ns("node"), "nft", "add table ip bench; add chain ip bench c { type nat hook prerouting priority -100; }")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flows", required=True, help="the program built from bench/flows.cc")
    parser.add_argument("--sizes", default="10000", help="numbers of Services")
    parser.add_argument("--endpoints", type=int, default=10)
    parser.add_argument("--flavour", default="legacy", choices=("legacy", "nft"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default=",".join(PEERS), help="which of these to measure")
    parser.add_argument("--sluice", default=str(ROOT / "build/release/sluice"))
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("service_traffic.py: needs root, for network namespaces")
    kubernetes = kubernetes_programs()
    names = options.peers.split(",")
    table = []
    for services in (int(size) for size in options.sizes.split(",")):
        with tempfile.TemporaryDirectory(prefix="sluice-traffic-") as folder, make_rig() as rig, \
                ControlPlane(rig, "node", NODE_ADDRESS, pathlib.Path(folder) / "cluster") as plane:
            say(f"{services} Services x {options.endpoints} endpoints: filling the API server")
            fill(plane, NODE_ADDRESS, services, options.endpoints, "UDP")
            row = {}
            for name in names:
                command, mode = PEERS[name]
                program = [str(kubernetes / "kube-proxy")] if command is None else [options.sluice, *command]
                flush(rig)
                proxy = Proxy(rig, name, program, mode, options.flavour, pathlib.Path(folder), plane.state / "proxy.kubeconfig")
                try:
                    proxy.wait_programmed(services)
                finally:
                    proxy.stop(leave_rules=True)  # the process would take a share of the machine
                try:
                    row[name] = rates(rig, options.flows, services, options.rounds, folder)
                finally:
                    proxy.clean()
                say(f"  {name}: " + ", ".join(f"{row[name][kind]:,.0f} {what}" for kind, _, what in KINDS))
            flush(rig)
            forward_alone(rig, services)
            row["nobody"] = rates(rig, options.flows, services, options.rounds, folder, port=80)  # as it was sent
            table.append((services, row))
    print(f"\nUDP through Services of {options.endpoints} endpoints, median of {options.rounds} rounds (the sender's share included)")
    print(f"{'Services':>8}  {'what':<24}" + "".join(f"{name:>17}" for name in (*names, "nobody")))
    for services, row in table:
        for kind, _, what in KINDS:
            print(f"{services:>8}  {what:<24}" + "".join(f"{row[name][kind]:>17,.0f}" for name in (*names, "nobody")))
            if "kube-proxy" in row:
                print(f"{'':>8}  {'  times kube-proxy':<24}" + "".join(f"{row[name][kind] / row['kube-proxy'][kind]:>17.2f}" for name in (*names, "nobody")))


if __name__ == "__main__":
    main()
