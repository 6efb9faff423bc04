#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mode ipvs on the kernel's ip_vs, side by side: the real kube-proxy 1.20.2 and Sluice, one after the other, in the same guest of
test/guest, on the same API server, objects and node.

On this machine a control plane is filled with N Services of M endpoints, which is quick; the guest, which has ip_vs but is emulated, starts one
with these objects. Then each proxy runs in the namespace of a small node, and these figures are taken:
  all programmed   from the process' start until its first sync has ended (its own metric) and the kernel lists every real server
  resident memory  of the proxy process then (VmRSS)
  CPU              seconds that the proxy and its children used by then
Absolute figures of an emulated machine mean nothing; the ratios do.

usage: ipvs_programming.py [--services 2000] [--endpoints 10] [--sluice PATH] [--seconds 3000]
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from load import figures, fill, say, synced_once
from rig import ROOT, ControlPlane, Rig, kubernetes_programs, run

NODE_ADDRESS = "192.0.2.2"
PROGRAMMED_SECONDS_MAX = 2400
CONFIG = """apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ipvs
clientConnection: {{kubeconfig: {kubeconfig}}}
clusterCIDR: 10.128.0.0/9
hostnameOverride: node1
conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}
"""


def make_rig():
    rig = Rig("slbench")
    rig.add_node("node", f"{NODE_ADDRESS}/24")
    return rig


def record(options, data):
    """The objects, as etcd keeps them, in the folder `data`."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder, make_rig() as rig, \
            ControlPlane(rig, "node", NODE_ADDRESS, pathlib.Path(folder) / "cluster") as plane:
        fill(plane, NODE_ADDRESS, options.services, options.endpoints)
        plane.save(data)


def count_real_servers(rig):
    """From ip_vs itself: one line each, with "->", after three header lines."""
    listed = run("ip", "netns", "exec", rig.ns("node"), "cat", "/proc/net/ip_vs")
    return listed.count("\n  -> ") - 1


def measure(rig, name, command, plane, folder, wanted):
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(kubeconfig=plane.state / "proxy.kubeconfig"))
    log = folder / f"{name}.log"
    started = time.time()
    process = rig.spawn("node", [*command, "--config", config], log)
    try:
        while not synced_once(rig, "node") or count_real_servers(rig) < wanted:
            if process.poll() is not None or time.time() - started > PROGRAMMED_SECONDS_MAX:
                raise RuntimeError(f"{name} did not program {wanted} real servers: {log.read_text()[-2000:]}")
            time.sleep(0.5)
        programmed = time.time() - started
        memory, cpu = figures(process)
    finally:
        rig.stop(process)
    say(f"  {name}: {wanted} real servers after {programmed:.1f} s, {memory:.0f} MiB, {cpu:.1f} CPU s")
    return programmed, memory, cpu


def clear(rig):
    """What the previous proxy has left: rules, virtual servers, sets and the device."""
    inside = ["ip", "netns", "exec", rig.ns("node")]
    for words in (["ipvsadm", "-C"], ["nft", "flush", "ruleset"], ["ipset", "destroy"], ["ip", "link", "delete", "kube-ipvs0"]):
        run(*inside, *words, check=False)


def inside_guest(options):
    peers = {"kube-proxy": [str(kubernetes_programs() / "kube-proxy")], "sluice": [options.sluice, "proxy"]}
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder, make_rig() as rig:
        folder = pathlib.Path(folder)
        say("the guest is up; starting its API server")
        with ControlPlane(rig, "node", NODE_ADDRESS, folder / "cluster", data=options.inside) as plane:
            results = {}
            for name, command in peers.items():
                results[name] = measure(rig, name, command, plane, folder, options.services * options.endpoints)
                clear(rig)
    print(f"\nSluice against kube-proxy 1.20.2, mode ipvs, {options.services} Services of {options.endpoints} endpoints, in the guest, one run each")
    print(f"{'what':<22}{'kube-proxy':>12}{'sluice':>12}{'ratio':>8}")
    for position, what in enumerate(("all programmed, s", "memory, MiB", "CPU, s")):
        theirs, ours = results["kube-proxy"][position], results["sluice"][position]
        print(f"{what:<22}{theirs:>12.2f}{ours:>12.2f}{ours / theirs:>8.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--services", type=int, default=2000)
    parser.add_argument("--endpoints", type=int, default=10)
    parser.add_argument("--sluice", default=str(ROOT / "build/release/sluice"))
    parser.add_argument("--seconds", type=int, default=3000, help="time limit of the guest")
    parser.add_argument("--inside", help=argparse.SUPPRESS)  # the objects' folder: we are in the guest
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("ipvs_programming.py: needs root, for network namespaces")
    if options.inside:
        inside_guest(options)
        return
    say("looking for kube-proxy 1.20.2, kube-apiserver and the guest's kernel (made once, then cached)")
    kubernetes_programs()
    subprocess.run([ROOT / "tools/setup/deps.sh", "guest"], check=True)
    # Not below /tmp or /run: the guest has its own.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-bench-", dir="/var/tmp"))
    try:
        say(f"{options.services} Services x {options.endpoints} endpoints: filling an API server")
        record(options, folder / "data")
        words = [ROOT / "test/guest/run.sh", "--seconds", str(options.seconds), "--", sys.executable, os.path.abspath(__file__), "--services", str(options.services),
                 "--endpoints", str(options.endpoints), "--sluice", os.path.abspath(options.sluice), "--inside", folder / "data"]
        sys.exit(subprocess.run(words, env={**os.environ, "SLUICE_SLOW": "10"}, check=False).returncode)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
