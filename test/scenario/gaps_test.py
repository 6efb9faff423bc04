#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""That a scenario quotes a gap which its mode declares, and that every scenario file can be read in every mode. Needs no root."""

import json
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from gaps import Gaps, UndeclaredGap  # noqa: E402
from run import ENGINES, MODES, Failure, Scenario  # noqa: E402

HEAD = "service web ClusterIP 10.96.0.1 tcp/80\npacket a1 -> 10.96.0.1 tcp/80\nexpect refused\n"


def status(*families):
    return json.dumps({"families": [{"lacks": [{"gap": gap, "why": why} for gap, why in lacks]} for lacks in families]})


class AGap(unittest.TestCase):
    def scenario(self, text, mode="ipvs", engine="kernel"):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "one.scn"
            path.write_text(HEAD + text)
            return Scenario(path, mode, engine)

    def test_is_printed_in_the_words_of_the_mode(self):
        found = self.scenario("expect@ipvs gap=b timeout\n")
        self.assertEqual(found.checks[-1][2], ["timeout"])
        self.assertEqual(found.gaps.quote(status([("a", "why a"), ("b", "why b")])), ["mode ipvs cannot do b: why b"])

    def test_that_no_plane_or_not_every_plane_declares_is_a_failure(self):
        for answer in (status([("a", "why a")]), status([]), status(), status([("b", "why b")], [])):
            with self.assertRaises(UndeclaredGap):
                self.scenario("expect@ipvs gap=b timeout\n").gaps.quote(answer)

    def test_must_be_named(self):
        for line in ("expect@ipvs timeout", "expect@ipvs", "expect@ipvs gap= timeout", "packet@ipvs gap=b a1 -> 10.96.0.1 tcp/80",
                     "expect@none gap=b timeout", "expect@ipvs/none gap=b timeout", "expect@iptables/kernel gap=b timeout"):
            for mode in MODES:
                with self.subTest(line, mode=mode), self.assertRaises(Failure):
                    self.scenario(line + "\n", mode)

    def test_of_one_engine_is_its_alone(self):
        for engine, expected, named in (("kernel", ["refused"], []), ("ebpf", ["timeout"], ["b"])):
            found = self.scenario("expect@ipvs/ebpf gap=b timeout\n", engine=engine)
            self.assertEqual((found.checks[-1][2], found.gaps.named), (expected, named))

    def test_of_another_mode_is_passed_over(self):
        found = self.scenario("expect@ipvs gap=b timeout\n", "iptables")
        self.assertEqual(found.checks[-1][2], ["refused"])
        self.assertEqual(found.gaps.quote(""), [])


class EveryFile(unittest.TestCase):
    def test_can_be_read_in_every_mode(self):
        files = sorted(pathlib.Path(__file__).resolve().parent.glob("*.scn"))
        self.assertGreater(len(files), 50)
        for mode in MODES:
            for path in files:
                for engine in ENGINES:
                    with self.subTest(path.name, mode=mode, engine=engine):
                        Scenario(path, mode, engine)


if __name__ == "__main__":
    unittest.main()
