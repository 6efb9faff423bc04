#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""From one proxy mode to another and off the node, on the kernel's ip_vs, each way with a kill -9 where the way to 127.0.0.1 is opened or
closed: no neighbour gets in at any time, what others made stays, and of the mode that was left nothing does."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from one_node import OTHER_ADDRESS, PODS, ROUTE_LOCALNET, Neighbour, OneNode  # noqa: E402
from rig import run, wait_for  # noqa: E402

# Made by hand: of a firewall mark; on an address that no host has; on one of the node, to the pods of a Service. The last two are excluded.
EXCLUDED = {"syncPeriod": "1s", "excludeCIDRs": ["10.8.0.0/16", f"{OTHER_ADDRESS}/32"]}
FOREIGN = sorted(["-A -f 7 -s wlc", "-A -t 10.8.0.1:80 -s rr", f"-A -t {OTHER_ADDRESS}:8443 -s rr",
                  *(f"-a -t {OTHER_ADDRESS}:8443 -r {address}:8080 -m -w 1" for address in PODS.values())])
VS_CONNTRACK = "net/ipv4/vs/conntrack"


class ChangesOfModeTest(unittest.TestCase):
    def setUp(self):
        self.node = OneNode(self, "modes")
        self.node.serve_web()
        self.neighbour = Neighbour(self.node.rig, "node")
        self.addCleanup(self.neighbour.close)

    def check(self, what):
        self.assertFalse(self.neighbour.hears(), f"a neighbour reaches 127.0.0.1 {what}")
        servers = self.node.virtual_servers()
        self.assertEqual([line for line in FOREIGN if line not in servers], [], f"what others made, {what}")

    def killed_around_the_setting(self, command, value):
        """Before the write, and after it."""
        before = self.node.setting(ROUTE_LOCALNET)
        self.assertNotEqual(before, value)
        for when in self.node.killed_around(command, ROUTE_LOCALNET):
            self.assertEqual(self.node.setting(ROUTE_LOCALNET), before if when == "before" else value)
            self.check(f"when killed {when} {value} is written")

    def to_iptables(self):
        self.node.start_and_sync("iptables")
        # The settings go last, and one look at everything takes an emulated processor a second.
        wait_for("nothing of mode ipvs is left", lambda: self.node.setting(VS_CONNTRACK) == "0" and self.node.virtual_servers() == FOREIGN
                 and "kube-ipvs0" not in self.node.remains())
        self.assertFalse([line for line in self.node.remains() if "sluice-ipvs" in line])
        self.assertEqual(self.node.setting(ROUTE_LOCALNET), "1")
        self.check("in mode iptables")
        self.node.stop()

    def to_ipvs(self):
        self.node.start_and_sync("ipvs", ipvs=EXCLUDED)
        wait_for("nothing of mode iptables is left", lambda: not [line for line in self.node.remains() if "KUBE-" in line])
        self.assertIn("-A -t 10.96.0.50:80 -s rr", self.node.virtual_servers())
        self.assertEqual(self.node.setting(ROUTE_LOCALNET), "0")
        self.check("in mode ipvs")
        complaints = [line for line in self.node.said().splitlines() if line[:1] in "WE"]
        self.assertEqual(complaints, [], "a good start")
        self.node.stop()

    def clean_up(self):
        said = self.node.on_node(*self.node.cleanup_command())
        # The records went with the mode that had them.
        self.assertIn("nothing that is known to be Sluice's or kube-proxy's is left; there is no record of whose these are: 2 virtual servers", said)
        self.check("after the cleanup")
        self.assertEqual(self.node.virtual_servers(), FOREIGN)
        self.assertEqual(self.node.remains(), [])
        self.assertEqual(self.node.settings(), self.settings)

    def test_no_neighbour_gets_in_and_others_objects_stay(self):
        self.node.on_node("sysctl", "-qw", f"{ROUTE_LOCALNET}=1")
        self.assertTrue(self.neighbour.hears(), "or this test would prove nothing")
        self.node.on_node("sysctl", "-qw", f"{ROUTE_LOCALNET}=0")
        self.settings = self.node.settings()
        run("ip", "netns", "exec", self.node.rig.ns("node"), "ipvsadm", "-R", input="\n".join(FOREIGN) + "\n")
        self.neighbour.thread.start()

        self.to_ipvs()
        self.killed_around_the_setting(self.node.command("iptables"), "1")
        self.node.kill_at(self.node.command("iptables"), VS_CONNTRACK, "write")
        self.check("when mode ipvs is half gone")
        self.to_iptables()
        self.killed_around_the_setting(self.node.command("ipvs", ipvs=EXCLUDED), "0")
        self.to_ipvs()
        self.node.kill_at(self.node.cleanup_command(), VS_CONNTRACK, "write")
        self.check("when the cleanup is half done")
        self.clean_up()
        self.to_iptables()
        self.killed_around_the_setting(self.node.cleanup_command(), "0")
        self.clean_up()

        self.neighbour.stopping.set()
        self.neighbour.thread.join()
        print(f"the neighbour tried {self.neighbour.tries} times")
        self.assertEqual(self.neighbour.reached, [])
        self.assertGreater(self.neighbour.tries, 50)


if __name__ == "__main__":
    unittest.main(verbosity=2)
