#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The manual pages have every command and option that the program's own --help has, and no marker is left in them.

usage: man_page_test.py SLUICE
"""
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = sys.argv.pop(1)


def help_of(*words):
    return subprocess.run([PROGRAM, *words, "--help"], capture_output=True, text=True, check=True).stdout


def page(name):
    return subprocess.run([sys.executable, ROOT / "tools/man_page.py", PROGRAM, ROOT / f"docs/man/{name}.scd"],
                          capture_output=True, text=True, check=True).stdout


class Pages(unittest.TestCase):
    def test_every_command_is_in_a_page(self):
        commands = re.findall(r"^  (\w+)  ", help_of(), re.MULTILINE)
        self.assertGreaterEqual(len(commands), 5)
        both = page("sluice.1") + page("sluice.8")
        for command in commands:
            self.assertIn(f"*sluice {command}*", both)

    def test_every_flag_of_the_proxy_is_in_its_page(self):
        flags = re.findall(r"^ [* ] (--[\w-]+)", help_of("proxy"), re.MULTILINE)
        self.assertGreater(len(flags), 50)
        text = page("sluice.8")
        for flag in flags:
            self.assertRegex(text, rf"(?m)^(\\\* )?\*{flag}\*")

    def test_every_command_and_option_of_the_lab_is_in_its_page(self):
        commands = re.findall(r"^  (\w+) {3,}", help_of("lab").split("Subcommands:")[1], re.MULTILINE)
        self.assertGreaterEqual(set(commands), {"up", "down", "exec", "status", "walkthrough"})
        text = page("sluice.1")
        for command in commands:
            self.assertIn(help_of("lab", command).rstrip("\n"), text)

    def test_no_marker_is_left_and_every_page_can_be_made(self):
        for name in ("sluice.1", "sluice.8", "sluice.conf.5"):
            text = page(name)
            self.assertNotRegex(text, r"(?m)^@", name)
            made = subprocess.run(["scdoc"], input=text, capture_output=True, text=True, check=False)
            self.assertEqual((made.returncode, made.stderr), (0, ""), name)


if __name__ == "__main__":
    unittest.main()
