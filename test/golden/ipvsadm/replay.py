#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Replays the recorded ipvsadm sessions and compares every byte.

    replay.py --fake PROGRAM [NN...]      PROGRAM is fake_ipvsadm: runs anywhere, without privileges
    replay.py --program PROGRAM [NN...]   PROGRAM answers to ipvsadm, ipvsadm-save and ipvsadm-restore by the name it is called by;
                                          as root in a machine with ip_vs, whose table is cleared before and after each case

NN.cmd holds one shell command a line, NN.steps the same with output and exit status. Only (size=N) of the head line may differ, and
paths below /run, which go to a folder of the run. Cases titled [needs traffic] want the lab of README.md and are left out without
--traffic. The last line is "N passed, N failed, N skipped"; no case found is a failure.
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
SIZE = re.compile(rb"\(size=\d+\)")
RESET = "ipvsadm -C; ipvsadm --set 900 120 300; ipvsadm --stop-daemon master; ipvsadm --stop-daemon backup"


def run(command, environment, folder):
    script = "exec 2>&1\n" + command.replace("/run/", folder + "/")
    done = subprocess.run(["bash", "-c", script], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=60)
    return done.stdout, done.returncode


def replay(number, environment, folder):
    steps = b""
    for line in (HERE / f"{number}.cmd").read_text().splitlines():
        if line and not line.startswith("#"):
            output, status = run(line, environment, folder)
            steps += b"$ %s\n%s[rc=%d]\n" % (line.encode(), output, status)
    return steps


def compare(number, steps):
    wanted = SIZE.sub(b"(size=N)", (HERE / f"{number}.steps").read_bytes())
    got = SIZE.sub(b"(size=N)", steps)
    if wanted == got:
        return True
    for line in difflib.unified_diff(wanted.decode("utf-8", "replace").splitlines(), got.decode("utf-8", "replace").splitlines(),
                                     f"{number} recorded", f"{number} now", lineterm=""):
        print(line)
    return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fake")
    parser.add_argument("--program")
    parser.add_argument("--traffic", action="store_true")
    parser.add_argument("--path", default="", help="folder with the lab's commands")
    parser.add_argument("cases", nargs="*")
    chosen = parser.parse_args()
    passed = failed = skipped = 0
    for number in chosen.cases or sorted(path.stem for path in HERE.glob("*.cmd")):
        title = (HERE / f"{number}.cmd").read_text().splitlines()[0]
        if "[needs traffic]" in title and not chosen.traffic:
            print(f"SKIP {number} {title}: packets must flow through a real ip_vs")
            skipped += 1
            continue
        folder = tempfile.mkdtemp(prefix="sluice-golden-")
        try:
            for name in NAMES:
                os.symlink(os.path.abspath(chosen.fake or chosen.program), f"{folder}/{name}")
            environment = {"PATH": f"{folder}:{chosen.path}:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root",
                           "SLUICE_FAKE_CALLS": f"{folder}/calls", "SLUICE_FAKE_NAMES": str(HERE / "env")}
            if chosen.program:
                run(RESET, environment, folder)
            ok = compare(number, replay(number, environment, folder))
            if chosen.program:
                run(RESET, environment, folder)
        finally:
            shutil.rmtree(folder)
        passed, failed = passed + ok, failed + (not ok)
        if not ok:
            print(f"FAIL {number} {title}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed + skipped else 0


if __name__ == "__main__":
    sys.exit(main())
