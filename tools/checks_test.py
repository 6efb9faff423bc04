#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The checks of this folder can fail: each is run on small trees made for it, valid and invalid ones."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOLS = pathlib.Path(__file__).resolve().parent
LAW = "base:\nplan: base\nsys: base\n<libmnl/>: sys\n<simdjson.h>: base\n"


def run(check, files):
    """The exit status and the output of a check on a tree of these files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = pathlib.Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        done = subprocess.run([sys.executable, TOOLS / check, folder], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr


class Layers(unittest.TestCase):
    def law_on(self, text, room="plan"):
        return run("check_layers.py", {"tools/layers.txt": LAW, f"src/{room}/a.cc": text})

    def test_what_the_law_allows_passes(self):
        for room, text in (("plan", '#include "base/ip.h"\n#include "plan/plan.h"\n#include <vector>\n'),
                           ("sys", "#include <libmnl/libmnl.h>\n"), ("base", "#include <simdjson.h>\n")):
            self.assertEqual(self.law_on(text, room)[0], 0, text)

    def test_a_line_of_the_law_that_is_none_is_refused(self):
        status, output = run("check_layers.py", {"tools/layers.txt": LAW + "<<<<<<< ours\n", "src/plan/a.cc": ""})
        self.assertEqual(status, 1)
        self.assertIn("not understood: <<<<<<< ours", output)

    def test_what_it_does_not_allow_is_named_with_its_line(self):
        for text, named in (('\n#include "sys/netns.h"\n', "src/plan/a.cc:2: room 'plan' may not include 'sys'"),
                            ('#include "plan.h"\n', "may not include ''"),
                            ("#include <libmnl/libmnl.h>\n", "may not include the library <libmnl/>"),
                            ("#include <simdjson.h>\n", "may not include the library <simdjson.h>")):
            status, output = self.law_on(text)
            self.assertEqual(status, 1, text)
            self.assertIn(named, output)

    def test_a_file_in_no_room_is_refused(self):
        self.assertEqual(self.law_on("", "nowhere")[0], 1)


class Sizes(unittest.TestCase):
    LONG_FUNCTION = "int f() {\n" + "  g();\n" * 71 + "}\n"
    LONG_METHOD = "class A {\n  int f() {\n" + "    g();\n" * 71 + "  }\n};\n"

    def test_what_is_short_passes(self):
        text = "class A {\n" + "  int f() { return 1; }\n" * 100 + "};\nint f() {\n" + "  g();\n" * 70 + "}\n"
        self.assertEqual(run("check_sizes.py", {"src/a.cc": text})[0], 0)

    def test_long_functions_and_files_are_named(self):
        for text, named in ((self.LONG_FUNCTION, "src/a.cc:1: a function of 71 lines"),
                            (self.LONG_METHOD, "src/a.cc:2: a function of 71 lines"),
                            ("\n" * 601, "src/a.cc: 601 lines")):
            status, output = run("check_sizes.py", {"src/a.cc": text})
            self.assertEqual(status, 1)
            self.assertIn(named, output)

    def test_a_file_may_say_why_it_is_long_and_a_test_may_be_a_table(self):
        self.assertEqual(run("check_sizes.py", {"src/a.cc": "// Long, because it is a table.\n" + "\n" * 601})[0], 0)
        self.assertEqual(run("check_sizes.py", {"src/a_test.cc": self.LONG_FUNCTION})[0], 0)

    def test_nothing_to_look_at_is_a_failure(self):
        self.assertEqual(run("check_sizes.py", {"README.md": ""})[0], 1)


class LogKeys(unittest.TestCase):
    def keys_of(self, text, listed="| `node`, `err` | what it holds |\n"):
        return run("check_log_keys.py", {"src/a.cc": text, "docs/log-keys.md": listed})

    def test_keys_that_are_listed_pass(self):
        self.assertEqual(self.keys_of('SLUICE_LOG_INFO("A (b", {"node", f(x)}, {"err", "c)"});')[0], 0)

    def test_keys_that_are_not_listed_or_not_used_are_named(self):
        for text, named in (('\nSLUICE_LOG_INFO("A", {"node", n},\n  {"err", e}, {"other", o});', "src/a.cc:2: key 'other'"),
                            ('SLUICE_LOG_V(2, "A", {"node", n});', "no log line has the key 'err'")):
            status, output = self.keys_of(text)
            self.assertEqual(status, 1)
            self.assertIn(named, output)


if __name__ == "__main__":
    unittest.main()
