#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs what the README prints under "Serve a folder", as printed: only the program's path and the name of the network
namespace are replaced, so that any build can be tested, and beside others. Every line must succeed, the cluster IP must
return the file behind it, the proxy must serve until it is ended, and nothing may be left.

usage: readme_test.py SLUICE        (as root)"""
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SECTION = "### Serve a folder"
NAMESPACE = f"sluice-readme-{os.getpid()}"
LIMIT_S = 840


def commands():
    """The first block of code of the section."""
    text = (ROOT / "README.md").read_text()
    section = text[text.index(SECTION):]
    return re.search(r"^```\n(.*?)^```$", section, re.M | re.S).group(1)


def as_script(printed, sluice):
    assert printed.count("build/release/sluice") >= 3 and re.search(r"\bnetns add try\b", printed), "not the expected lines"
    return printed.replace("build/release/sluice", sluice).replace(" try ", f" {NAMESPACE} ").replace(" try\n", f" {NAMESPACE}\n")


def run(script):
    """The script's status and what it printed; its jobs end with it in every case."""
    script = "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n" + script
    shell = subprocess.Popen(["bash", "-e", "-c", script], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        out, _ = shell.communicate(timeout=LIMIT_S)
        return shell.returncode, out
    except subprocess.TimeoutExpired:
        os.killpg(shell.pid, 9)
        return "out of time", shell.communicate()[0]


def main():
    wanted = (ROOT / "examples/serve-a-folder/site/hello.txt").read_text().strip()
    try:
        status, out = run(as_script(commands(), sys.argv[1]))
    finally:
        left = subprocess.run(["ip", "netns", "del", NAMESPACE], capture_output=True).returncode == 0
    problems = []
    if status != 0:
        problems.append(f"the commands ended with {status}")
    if wanted not in out:
        problems.append("the cluster IP did not return the file behind it")
    if "Ending; the rules stay in place" not in out:
        problems.append("the proxy did not serve until it was ended")
    if left:
        problems.append("the network namespace was left")
    if problems:
        print(out)
    print("\n".join(problems) if problems else "the README's commands work as it says")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
