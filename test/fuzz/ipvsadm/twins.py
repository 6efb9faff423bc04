#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The real ipvsadm and ours on the same random command lines, tables and connections: each must print, return and request the same.

    twins.py [--seed N] [--count N] LIBRARY SLUICE

LIBRARY is pretended_ip_vs.so, which simulates the kernel, so this needs no ip_vs and runs thousands of times where a guest runs dozens. What
a kernel does with the requests is tested in test/guest. Needs root, for a mount namespace with the recorded names (test/golden/ipvsadm/env)
and because ipvsadm needs it. Prints the seed; the last line is "N compared, N different".
"""
import argparse
import itertools
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

import command_lines
import tables

HERE = pathlib.Path(__file__).resolve().parent
NAMES = HERE.parents[1] / "golden" / "ipvsadm" / "env"
REAL = "/usr/sbin/ipvsadm"
SKIPPED = 77
PROBLEMS_MAX = 10
# ENOENT is tested in the guest: ours then looks for a module.
ERRNOS = (1, 3, 12, 13, 16, 17, 19, 22, 28, 34, 90, 92, 95, 97, 98, 99, 105, 110)
IPV4 = b"\x02\0"
NEW_SERVICE, SET_SERVICE, NEW_DEST, DEL_DEST, NEW_DAEMON, DEL_DAEMON, SET_CONFIG = 1, 2, 5, 7, 9, 10, 12


def attributes(data):
    found = {}
    while len(data) >= 4:
        length, kind = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "little") & 0x3fff
        if length < 4:
            break
        found[kind] = data[4:length]
        data = data[(length + 3) & ~3:]
    return found


def significant(found, kinds):
    """A missing attribute and one of 0 mean the same to the kernel."""
    return tuple(found.get(kind, b"").rstrip(b"\0") for kind in kinds)


def meaning(line):
    """The part of a request that the kernel reads: the real ipvsadm sends more than it must, ours leaves defaults out."""
    command, _, data = line.partition(" ")
    command, found = int(command), attributes(bytes.fromhex(data))
    service, dest, daemon = (attributes(found.get(kind, b"")) for kind in (1, 2, 3))
    said = [command]
    if 1 in found and command != SET_CONFIG:
        said.append(significant(service, (1, 5)) if 5 in service else significant(service, (1, 2, 3, 4)))
    if command in (NEW_SERVICE, SET_SERVICE):
        said.append(significant(service, (6, 7, 8, 9, 11)))
    if NEW_DEST <= command <= DEL_DEST:
        family = dest.get(11, service.get(1))
        dest[1] = dest[1][:4] if family == IPV4 else dest[1]  # whatever follows
        said += [family, significant(dest, (1, 2))]
        said.append(significant(dest, (3, 4, 5, 6, 13, 14, 15)) if command != DEL_DEST else ())
    if command in (NEW_DAEMON, DEL_DAEMON):
        said.append(significant(daemon, (1, 2, 3, 4, 5, 6, 7, 8) if command == NEW_DAEMON else (1,)))
    return tuple(said) + (significant(found, (4, 5, 6)) if command == SET_CONFIG else ())


class Twins:
    def __init__(self, library, ours, folder):
        self.programs, self.folder = {"real": REAL, "ours": ours}, folder
        self.log = folder / "log"
        self.environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "LD_PRELOAD": library, "SLUICE_PRETENDED": str(folder / "answers"),
                            "SLUICE_PRETENDED_LOG": str(self.log), "SLUICE_PRETENDED_CONNECTIONS": str(folder / "connections"),
                            # The sanitizers' library must come after ours.
                            "ASAN_OPTIONS": "verify_asan_link_order=0"}

    def run(self, side, words, given, together):
        self.log.write_bytes(b"")
        done = subprocess.run(["ipvsadm", *words], executable=self.programs[side], env=self.environment, input=given, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT if together else subprocess.PIPE, timeout=60, check=False)
        out = done.stdout
        if words[:1] in (["-h"], ["--help"]):  # the help is our own, except for the version
            out = out.partition(b"\n")[0]
        return out, done.stderr, done.returncode, [meaning(line) for line in self.log.read_text().splitlines()]

    def compare(self, words, given, answers, connections, together):
        """A description of the difference; empty if there is none."""
        (self.folder / "answers").write_text("\n".join(answers) + "\n")
        (self.folder / "connections").unlink(missing_ok=True)
        if connections:
            (self.folder / "connections").write_text(connections)
        by_real, by_ours = (self.run(side, words, given, together) for side in ("real", "ours"))
        problem = ""
        for what, real, ours in zip(("stdout", "stderr", "status", "requests"), by_real, by_ours):
            if real == ours:
                continue
            rows = [each.splitlines(keepends=True) if isinstance(each, bytes) else each if isinstance(each, list) else [each] for each in (real, ours)]
            problem += "".join(f"{what}\n  real {one}\n  ours {other}\n" for one, other in itertools.zip_longest(*rows) if one != other)[:4000]
        return problem


def random_case(dice):
    """words, standard input, replies, connections, whether stdout and stderr are one pipe"""
    makes = tables.Tables(dice)
    answers, given = makes.daemons(), b""
    kind = dice.randrange(10)
    if kind < 3:
        answers += makes.table()
        settings = dice.sample(command_lines.LIST_SETTINGS, dice.choice((0, 1, 1, 2, 3)))
        words = dice.choice((["-L", *settings], ["-L", *settings], ["-S"], ["-Sn"], []))
    elif kind < 5:
        words, given = ["-R"], command_lines.restored(dice).encode()
        answers += makes.table()
        answers += [f"refuse {dice.randrange(20)} {dice.choice(ERRNOS)}" for _ in range(dice.randrange(3))]
    else:
        words = command_lines.command_line(dice) if kind < 8 else command_lines.mere_words(dice)
        answers += makes.table() if dice.random() < 0.2 else []
        answers += [f"refuse 0 {dice.choice(ERRNOS)}"] if dice.random() < 0.3 else []
    words = " ".join(words).split() if kind < 8 else words
    if dice.random() < 0.1:
        answers.append(f"timeouts {dice.choice((0, 900, 2**31))} 5 {dice.choice((300, 2**32 - 1))}")
    return words, given, answers, makes.connections() if dice.random() < 0.8 else "", dice.random() < 0.5


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=20191224)
    parser.add_argument("--count", type=int, default=800)
    parser.add_argument("library", type=os.path.abspath)
    parser.add_argument("sluice", type=os.path.abspath)
    chosen = parser.parse_args()
    if os.geteuid() != 0 or not os.path.exists(REAL):
        print("SKIP: this needs root and Debian's ipvsadm")
        return SKIPPED
    if "SLUICE_TWINS_INSIDE" not in os.environ:
        mounts = " && ".join(f"mount --bind '{NAMES / name}' /etc/{name}" for name in ("hosts", "services", "nsswitch.conf"))
        os.environ["SLUICE_TWINS_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "sh", "-c", f"{mounts} && exec \"$@\"", "sh", sys.executable, *sys.argv])
    print(f"seed {chosen.seed}", flush=True)
    dice, problems = random.Random(chosen.seed), 0
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-twins-"))
    try:
        twins = Twins(chosen.library, chosen.sluice, folder)
        for number in range(chosen.count):
            words, given, answers, connections, together = random_case(dice)
            problem = twins.compare(words, given, answers, connections, together)
            if problem:
                problems += 1
                print(f"DIFFERENT {number}: ipvsadm {words} <<< {given!r}\n{problem}", flush=True)
            if problems == PROBLEMS_MAX:
                break
    finally:
        shutil.rmtree(folder)
    print(f"{number + 1} compared, {problems} different")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
