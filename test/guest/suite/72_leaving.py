#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`sluice cleanup` after mode ipvs with records lost, one after the other and all together: what is ours goes or is named, what others made
stays, and "nothing is left" is said only when it is so."""
import pathlib
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from one_node import ADDRESS, OneNode  # noqa: E402
from rig import run  # noqa: E402

NOTHING_LEFT = "nothing of Sluice or kube-proxy is left\n"
FOREIGN = sorted(["-A -f 7 -s wlc", "-A -t 10.8.0.1:80 -s rr", "-a -t 10.8.0.1:80 -r 10.9.0.1:80 -m -w 1",
                  f"-A -t {ADDRESS}:8443 -s rr", f"-a -t {ADDRESS}:8443 -r 10.9.0.1:8443 -m -w 1"])


class LeavingTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.node = OneNode(cls, "leave")
        cls.node.serve_web()
        cls.settings = cls.node.settings()

    @classmethod
    def addCleanup(cls, function, *arguments):
        cls.addClassCleanup(function, *arguments)

    def lose_folder(self):
        shutil.rmtree(self.node.data)

    def lose_device(self):
        self.node.on_node("ip", "link", "delete", "kube-ipvs0")

    def lose_tables(self):
        self.node.on_node("nft", "flush", "ruleset")

    def leave(self, *losses, while_it_runs=False):
        """Mode ipvs, then foreign objects, then losses, then the cleanup: what it printed, what it complained of, what stands."""
        self.node.on_node("ipvsadm", "-C")
        # What an earlier cleanup has named stays named while it is there, and it comes again before the proxy's sweep sees that it had gone.
        self.node.on_node("nft", "delete", "table", "ip", "sluice-node", check=False)
        self.node.restore(self.settings)
        self.assertEqual(self.node.settings(), self.settings)
        self.node.start_and_sync("ipvs", ipvs={"syncPeriod": "1h"})
        run("ip", "netns", "exec", self.node.rig.ns("node"), "ipvsadm", "-R", input="\n".join(FOREIGN) + "\n")
        if not while_it_runs:
            self.node.stop()
        for loss in losses:
            loss()
        if while_it_runs:
            self.node.stop()
        done = subprocess.run(["ip", "netns", "exec", self.node.rig.ns("node"), *self.node.cleanup_command()], capture_output=True, text=True, check=False)
        servers = self.node.virtual_servers()
        ours = [line for line in servers if line not in FOREIGN]
        named = [line for line in ours if line.startswith("-A") and line.split()[2] in done.stderr]
        print(f"--- {[loss.__name__ for loss in losses]}: status {done.returncode}\n{done.stdout}{done.stderr}")
        self.assertEqual([line for line in FOREIGN if line not in servers], [], "what others made")
        restored = self.node.settings() == self.settings
        if ours or not restored:
            self.assertNotIn(NOTHING_LEFT, done.stdout)
        else:
            self.assertEqual((done.returncode, done.stderr, done.stdout.endswith(NOTHING_LEFT)), (0, "", True))
        counted = f"no record of whose these are: {sum(' -t ' in line and line.startswith('-A') for line in servers)} virtual servers"
        if counted not in done.stdout:
            self.assertEqual([line for line in ours if line.startswith("-A")], named, "what stands is named")
        # Where something was named, the notes remember.
        self.assertEqual([each for each in self.node.remains() if not named or each != "table ip sluice-node"], [])
        return ours, restored

    def test_with_the_folder_lost(self):
        self.assertEqual(self.leave(self.lose_folder), ([], True))

    def test_with_the_folder_lost_while_it_runs(self):
        self.assertEqual(self.leave(self.lose_folder, while_it_runs=True), ([], True))

    def test_with_folder_and_device_lost(self):
        self.assertEqual(self.leave(self.lose_folder, self.lose_device), ([], True))

    def test_with_folder_and_tables_lost(self):
        ours, _ = self.leave(self.lose_folder, self.lose_tables)
        self.assertTrue(ours, "the node ports are on record nowhere")

    def test_with_tables_and_device_lost(self):
        ours, settings = self.leave(self.lose_tables, self.lose_device)
        self.assertTrue(settings)

    def test_with_everything_lost(self):
        ours, _ = self.leave(self.lose_folder, self.lose_tables, self.lose_device)
        self.assertTrue(ours)


if __name__ == "__main__":
    unittest.main(verbosity=2)
