#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Replays the recorded ipvsadm sessions and compares every byte.

    replay.py --fake PROGRAM [NN...]      PROGRAM is fake_ipvsadm: runs anywhere, without privileges

NN.cmd holds one shell command a line, NN.steps the same with output and exit status. Only (size=N) of the head line may differ, and
paths below /run, which go to a folder of the run. Cases titled [needs traffic] want a kernel and the lab of test/guest, whose suite
replays all of them through this module. The last line is "N passed, N failed, N skipped"; no case found is a failure.
"""
import argparse
import difflib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
NAMES = ("ipvsadm", "ipvsadm-save", "ipvsadm-restore")
PLAIN = re.compile(r"(ipvsadm|ipvsadm-save|traffic|sleep)( [-\w./:=,+\[\]]+)*")
SIZE = re.compile(rb"\(size=\d+\)")
RESET = "ipvsadm -C; ipvsadm --set 900 120 300; ipvsadm --stop-daemon master; ipvsadm --stop-daemon backup"


def case_numbers():
    return sorted(path.stem for path in HERE.glob("*.cmd"))


def title_of(number):
    return (HERE / f"{number}.cmd").read_text().splitlines()[0].lstrip("# ")


def needs_traffic(number):
    return "[needs traffic]" in title_of(number)


def run(command, environment, given=b""):
    """One shell command as it was recorded: both outputs together, and by default no input."""
    # Nothing for a shell to do: without one it takes half the time, and there are thousands.
    words = command.split() if PLAIN.fullmatch(command) else ["bash", "-c", command]
    done = subprocess.run(words, env=environment, input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)
    return done.stdout, done.returncode


def replay(number, environment, folder):
    """The steps of a case as they come out now; what the case keeps below /run goes to `folder`."""
    steps = b""
    for line in (HERE / f"{number}.cmd").read_text().splitlines():
        if line and not line.startswith("#"):
            output, status = run(line.replace("/run/", f"{folder}/"), environment)
            steps += b"$ %s\n%s[rc=%d]\n" % (line.encode(), output, status)
    return masked(steps)


def reset_after(commands):
    """What takes back what these commands, some text, have done. Most leave virtual servers behind, and every program started takes time."""
    return RESET if re.search("--s(e|ta|to)", commands) else "ipvsadm -C"  # --set, --start-daemon, --stop-daemon, abbreviated, too


def masked(steps):
    return SIZE.sub(b"(size=N)", steps)


def recorded(number):
    return masked((HERE / f"{number}.steps").read_bytes())


def difference(wanted, got, wanted_name, got_name):
    """What differs, as a diff for people; empty where nothing does."""
    if wanted == got:
        return ""
    lines = [text.decode("utf-8", "replace").splitlines() for text in (wanted, got)]
    return "\n".join(difflib.unified_diff(*lines, wanted_name, got_name, lineterm="")) or "they differ in line ends alone"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fake", required=True)
    parser.add_argument("cases", nargs="*")
    chosen = parser.parse_args()
    passed = failed = skipped = 0
    for number in chosen.cases or case_numbers():
        if needs_traffic(number):
            print(f"SKIP {number} {title_of(number)}: packets must flow through a real ip_vs (test/guest)")
            skipped += 1
            continue
        folder = tempfile.mkdtemp(prefix="sluice-golden-")
        try:
            for name in NAMES:
                os.symlink(os.path.abspath(chosen.fake), f"{folder}/{name}")
            environment = {"PATH": f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root",
                           "SLUICE_FAKE_CALLS": f"{folder}/calls", "SLUICE_FAKE_NAMES": str(HERE / "env")}
            problem = difference(recorded(number), replay(number, environment, folder), f"{number} recorded", f"{number} now")
        finally:
            shutil.rmtree(folder)
        if problem:
            print(f"{problem}\nFAIL {number} {title_of(number)}")
        passed, failed = passed + (not problem), failed + bool(problem)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
