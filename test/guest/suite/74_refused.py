#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Service ports that the kernel itself refuses: in mode ipvs an address that cannot be bound and a real server that ip_vs does not take, in mode
iptables SCTP without its module. Everything else is served, the refusals are reported, what another mode left goes, and what becomes possible
is served without a further change."""
import json
import os
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from one_node import PODS, OneNode, endpoint_slice, service  # noqa: E402
from rig import run, wait_for  # noqa: E402

RULES = pathlib.Path("/etc/modprobe.d/sluice-test.conf")


class RefusedTest(unittest.TestCase):
    def setUp(self):
        self.node = OneNode(self, "refused")
        for pod in PODS:
            self.node.rig.serve(pod, 8080)

    def refused(self):
        """service port -> (family, reason), as the status lists them."""
        status = json.loads(self.node.on_node(self.node.program, "status", "-o", "json", check=False))
        self.assertTrue(all(family["synced"] for family in status["families"]))
        return {(family["family"], each["servicePort"]): each["reason"] for family in status["families"] for each in family["refusedPorts"]}

    def check_others(self, refused_by_family):
        wait_for("what another mode left goes", lambda: "kube-proxy" not in self.node.on_node("nft", "list", "tables"))
        self.assertEqual(self.node.rig.get("node", 10256, "/healthz")[0], 200)
        metrics = self.node.rig.get("node", 10249, "/metrics")[1]
        for family, count in refused_by_family.items():
            self.assertIn(f'sluice_refused_service_ports{{ip_family="{family}"}} {count}\n', metrics)
        wait_for("web is served", lambda: self.node.rig.probe("a", "TCP", "10.96.0.50", 80)[0] in PODS)

    def test_ip_vs_and_the_device(self):
        both = {"clusterIPs": ["10.96.0.60", "fd00:96::60"], "ipFamilies": ["IPv4", "IPv6"]}
        slices = [endpoint_slice("both", [("p", "TCP", 8080)], [(PODS["a"], "node")]),
                  endpoint_slice("both", [("p", "TCP", 8080)], [("fd00:244::5", "node")], family="IPv6", suffix="six")]
        stuck = [service("stuck", "10.96.0.66", ("p", "TCP", 80)),
                 endpoint_slice("stuck", [("p", "TCP", 8080)], [(PODS["a"], "node"), ("239.1.1.1", "node")])]
        web = [service("web", "10.96.0.50", ("p", "TCP", 80)), endpoint_slice("web", [("p", "TCP", 8080)], [(PODS["b"], "node")])]
        sctp = [service("sctp", "10.96.0.70", ("p", "SCTP", 80)), endpoint_slice("sctp", [("p", "SCTP", 8080)], [(PODS["a"], "node")])]
        self.node.serve(service("both", "10.96.0.60", ("p", "TCP", 80), **both), *slices, *stuck, *web, *sctp)
        self.node.on_node("nft", "add", "table", "ip", "kube-proxy")
        # No address of IPv6 on whatever device comes from here on.
        self.node.on_node("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1")
        self.node.start_and_sync("ipvs", ipvs={"syncPeriod": "1s"})
        self.check_others({"IPv4": 1, "IPv6": 1})
        refused = self.refused()
        self.assertEqual(sorted(refused), [("IPv4", "default/stuck:p"), ("IPv6", "default/both:p")], refused)
        self.assertIn("239.1.1.1:8080", refused["IPv4", "default/stuck:p"])
        self.assertIn("fd00:96::60", refused["IPv6", "default/both:p"])
        self.assertIn("-A --sctp-service 10.96.0.70:80 -s rr", self.node.virtual_servers())
        for address in ("10.96.0.60", "10.96.0.66"):
            self.assertEqual(self.node.rig.probe("b", "TCP", address, 80)[0], "a")
        # What can be bound again is accepted without further action, with nothing else changed.
        self.node.on_node("sysctl", "-qw", "net.ipv6.conf.kube-ipvs0.disable_ipv6=0")
        wait_for("the address of IPv6 is served", lambda: list(self.refused()) == [("IPv4", "default/stuck:p")])
        self.assertIn("fd00:96::60", self.node.on_node("ip", "-6", "-o", "address", "show", "dev", "kube-ipvs0"))
        complaints = re.findall(r"^[WE].*\] \"([^\"]*)\"", self.node.said(), re.MULTILINE)
        self.assertEqual(set(complaints), {"The kernel refuses a Service port, everything else is served; will try again"}, self.node.said())
        self.assertEqual(len(complaints), 2, "one line for each, however often it was tried")

    def test_iptables_without_sctp(self):
        self.node.serve_web()
        run("rmmod", "xt_sctp", check=False)
        RULES.write_text("install xt_sctp /bin/false\n")
        self.addCleanup(RULES.unlink, missing_ok=True)
        self.node.serve(service("sctp", "10.96.0.70", ("p", "SCTP", 80)), endpoint_slice("sctp", [("p", "SCTP", 8080)], [(PODS["a"], "node")]),
                        service("web", "10.96.0.50", ("p", "TCP", 80)), endpoint_slice("web", [("p", "TCP", 8080)], [(PODS["b"], "node")]))
        self.node.on_node("nft", "add", "table", "ip", "kube-proxy")
        self.node.start_and_sync("iptables")
        self.check_others({"IPv4": 1, "IPv6": 0})
        self.assertEqual(list(self.refused()), [("IPv4", "default/sctp:p")])
        RULES.unlink()
        wait_for("the module's return lets it in", lambda: not self.refused())
        self.assertIn("10.96.0.70", self.node.on_node("iptables-save", "-t", "nat"))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    unittest.main(verbosity=2)
