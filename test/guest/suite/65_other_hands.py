#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every change by another program is logged and repaired within a sync period."""

import json
import os
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "cluster/lib"))
from objects import endpoint_slice, service  # noqa: E402
from rig import Rig, run, wait_for  # noqa: E402

SLUICE = os.environ["SLUICE"]
CONFIG = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "ipvs", "clusterCIDR": "10.244.0.0/16",
          "conntrack": {"maxPerCore": 0}, "ipvs": {"syncPeriod": "1s", "minSyncPeriod": "0s", "excludeCIDRs": ["10.8.0.0/16"]}}
# What is done on the node, and what the log must name.
HANDS = (
    ("ipvsadm -C", "virtual server TCP 10.96.0.50:80"),
    ("ipvsadm -D -t 10.96.0.50:80", "virtual server TCP 10.96.0.50:80"),
    ("ipvsadm -d -t 10.96.0.50:80 -r 10.244.1.5:8080", "real server 10.244.1.5:8080 of TCP 10.96.0.50:80"),
    ("ipvsadm -e -t 10.96.0.50:80 -r 10.244.1.5:8080 -m -w 7", "real server 10.244.1.5:8080 of TCP 10.96.0.50:80 with weight 7"),
    ("ipvsadm -E -t 10.96.0.50:80 -s wlc", "with scheduler wlc"),
    ("ipvsadm -A -t 10.9.9.9:80 -s rr", "virtual server TCP 10.9.9.9:80"),
    ("ipvsadm -a -t 10.96.0.50:80 -r 10.9.9.9:80 -m", "real server 10.9.9.9:80 of TCP 10.96.0.50:80"),
    ("ip link delete kube-ipvs0", "address 10.96.0.50 on kube-ipvs0"),
    ("ip address delete 10.96.0.50/32 dev kube-ipvs0", "address 10.96.0.50 on kube-ipvs0"),
    ("ip address add 10.99.99.99/32 dev kube-ipvs0", "address 10.99.99.99 on kube-ipvs0"),
    ("nft delete table ip sluice-ipvs", "nftables table ip sluice-ipvs"),
    ("nft flush table ip sluice-ipvs", "rule 1 of chain "),
    ("nft add rule ip sluice-ipvs services counter", "of chain services"),
    ("nft flush set ip sluice-ipvs cluster-ips", "element 10.96.0.50 . tcp . 80 of nftables set cluster-ips"),
)


class OtherHandsTest(unittest.TestCase):
    def test_each_change_is_named_and_undone(self):
        with tempfile.TemporaryDirectory(prefix="sluice-hands-") as folder, Rig("slhands") as rig:
            folder = pathlib.Path(folder)
            (folder / "manifests").mkdir()
            (folder / "manifests" / "web.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [
                service("web", "10.96.0.50", ("p", "TCP", 80, 30080), type="NodePort"),
                endpoint_slice("web", [("p", "TCP", 8080)], [("10.244.1.5", "node"), ("10.244.1.6", "node")])]}))
            (folder / "config.yaml").write_text(json.dumps(CONFIG))
            rig.add_node("node", "192.168.231.122/24")
            on_node = ("ip", "netns", "exec", rig.ns("node"))
            run(*on_node, "ipvsadm", "-A", "-t", "10.8.0.1:80", "-s", "rr")  # excluded from the proxy's table
            rig.spawn("node", [SLUICE, "proxy", f"--config={folder}/config.yaml", f"--manifests={folder}/manifests", "--hostname-override=node"], folder / "log")
            log = lambda: (folder / "log").read_text()  # noqa: E731
            wait_for("the first sync", lambda: "Programmed all Services" in log())

            def state():
                table = run(*on_node, "ipvsadm", "-S", "-n").splitlines()
                addresses = run(*on_node, "ip", "-o", "-4", "address", "show", "dev", "kube-ipvs0", check=False).splitlines()
                return sorted(table), sorted(line.split()[3] for line in addresses), run(*on_node, "nft", "list", "table", "ip", "sluice-ipvs", check=False)

            good = state()
            self.assertIn("-A -t 10.8.0.1:80 -s rr", good[0])
            for command, named in HANDS:
                with self.subTest(command):
                    before = len(log())
                    run(*on_node, *command.split())
                    wait_for(f"a word about it in: {log()[before:]}", lambda: named in log()[before:])
                    # The excluded one is not ours to bring back.
                    wanted = ([line for line in good[0] if command != "ipvsadm -C" or "10.8.0.1" not in line], *good[1:])
                    wait_for("all is as it was", lambda: state() == wanted)
                    good = wanted


if __name__ == "__main__":
    unittest.main(verbosity=2)
