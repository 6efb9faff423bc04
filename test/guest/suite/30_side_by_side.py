#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The real ipvsadm and ours side by side: the same command lines must print and do the same, and each must read what the other wrote.

    30_side_by_side.py [--random SEED COUNT]

Parts: the command lines of ../side_by_side.txt; random command lines made from ipvsadm's grammar (the seed is printed); tables saved by the
one and restored by the other; connections, made through a table that ours wrote; lists beside the changes of another namespace.
"""
import itertools
import os
import pathlib
import random
import signal
import sys
import time

GUEST = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(GUEST), str(GUEST.parent / "golden" / "ipvsadm")]
import director  # noqa: E402
import replay  # noqa: E402
import side_by_side  # noqa: E402

SEED, COUNT = 20191224, 120
LINES_PER_TABLE = 25
TRACE, STOPS_MAX = pathlib.Path("/run/list-trace"), 6

# Words for random command lines: most are right, some are not.
SERVICES = ["-t 10.0.0.1:80", "-t 10.0.0.1:80", "-u 10.0.0.1:53", "-t vip1:http", "-t [fd00:1::1]:80", "-f 1", "-f 1 -6", "-t 10.0.0.2",
            "--sctp-service 10.0.0.1:80", "--udp-service=10.0.0.2:domain", "-t10.0.0.3:443", "-t 10.0.0.1:x", "-f 0", "-u [fd00:1::2]:53"]
REALS = ["-r 10.2.0.1", "-r 10.2.0.1:8080", "-r 10.2.0.2:80", "--real-server=10.2.0.3:http", "-r [fd02::1]:80", "-r fd02::2", "-r 10.2.0.4:0",
         "-r 224.0.0.1", "-r rs1.example", "-r10.2.0.5:8080"]
SERVICE_SETTINGS = ["-s rr", "-s wrr", "-s sh", "-s mh", "-s nosuch", "-p", "-p 60", "--persistent=10", "-p 0", "-M 255.255.255.0", "-M 64",
                    "-o", "--pe sip", "-b sh-port", "-b mh-port,mh-fallback", "-b flag-1,flag-3", "--scheduler=lc"]
REAL_SETTINGS = ["-m", "-g", "-i", "-m", "-i", "-w 5", "-w 0", "-w -1", "-x 10", "-y 5", "-x 20", "--tun-type gue", "--tun-port 6080",
                 "--tun-type gre", "--tun-type ipip", "--tun-csum", "--tun-nocsum", "--tun-remcsum", "--weight=7"]
LIST_SETTINGS = ["-n", "-n", "--stats", "--rate", "--thresholds", "--persistent-conn", "--tun-info", "--timeout", "--daemon", "-c", "-X",
                 "--sort", "--syncid 1"]
DAEMON_SETTINGS = ["--syncid 3", "--syncid 300", "--mcast-interface eth1", "--mcast-interface none", "--mcast-group 239.0.0.9", "--mcast-ttl 3",
                   "--mcast-port 9000", "--sync-maxlen 1200", "-n"]
COMMANDS = [  # weight, word, required words, optional words
    (10, "-A", [SERVICES], SERVICE_SETTINGS), (4, "-E", [SERVICES], SERVICE_SETTINGS), (2, "-D", [SERVICES], []),
    (14, "-a", [SERVICES, REALS], REAL_SETTINGS), (6, "-e", [SERVICES, REALS], REAL_SETTINGS), (2, "-d", [SERVICES, REALS], []),
    (8, "-L", [], LIST_SETTINGS), (3, "-l", [SERVICES], LIST_SETTINGS), (2, "-S", [], ["-n"]), (1, "-Z", [], SERVICES),
    (1, "--set 800 100 200", [], []), (2, "--start-daemon master", [], DAEMON_SETTINGS), (1, "--stop-daemon master", [], ["--syncid 1"]),
]
STRANGE = ["-q", "foo", "--", "-n", "-C", "--exact", "-6", "-w", "-t", "--stats=1", "-nL", "-m"]


def random_line(dice):
    _, command, must, may = dice.choices(COMMANDS, weights=[each[0] for each in COMMANDS])[0]
    words = [dice.choice(pool) for pool in must if dice.random() > 0.03]
    words += dice.sample(may, min(len(may), dice.choice((0, 0, 1, 1, 2, 3))))
    if dice.random() < 0.06:
        words.append(dice.choice(STRANGE))
    if dice.random() < 0.3:
        dice.shuffle(words)
    return " ".join(["ipvsadm", command, *words])


def written_tables():
    """(title, command lines) of side_by_side.txt."""
    tables = []
    for line in (GUEST / "side_by_side.txt").read_text().splitlines():
        if line.startswith("## "):
            tables.append((line[3:], []))
        elif line and not line.startswith("#"):
            tables[-1][1].append(line)
    return tables


def compare_scripts(twins, tables, lists):
    for number, (_, lines) in enumerate(tables):
        twins.reset()
        for line in lines:
            twins.same(line)
        if twins.compare_tables():
            twins.compare_lists(side_by_side.SIDES[number % 2], lists)
    twins.reset()


def compare_random(twins, seed, count):
    dice = random.Random(seed)
    lines = [random_line(dice) for _ in range(count)]
    compare_scripts(twins, [(f"random {begin}", lines[begin:begin + LINES_PER_TABLE]) for begin in range(0, count, LINES_PER_TABLE)], ())


def large_table():
    """Without addresses that have names: those of IPv6 can be saved, and not restored."""
    lines = []
    for number in range(1, 60):
        name = f"-t 10.0.0.{number % 5}:{number}" if number % 3 else f"-t [fd00:1::{number}]:{number}" if number % 2 else f"-f {number}"
        lines.append(f"-A {name} -s {('rr', 'wlc', 'mh')[number % 3]}" + (" -p 100" if number % 4 == 0 else ""))
        for real in range(number % 6):
            address = f"[fd02::{real + 10:x}]:80" if "[" in name else f"10.2.{number}.{real + 1}:{number}"
            lines.append(f"-a {name} -r {address} {'-m' if real % 2 else '-i --tun-type gue --tun-port 6080'} -w {real}")
    return ("\n".join(lines) + "\n").encode()


def compare_saves(twins):
    """Each restores what the other saved; save and restore in one pipe, both ways."""
    twins.reset()
    twins.same("ipvsadm -R", large_table())
    saved = twins.on("twin-real", twins.real, "ipvsadm -Sn").result()
    for side, saver, restorer in (("twin-real", twins.real, twins.ours), ("twin-ours", twins.ours, twins.real)):
        for numeric in ("-n", ""):
            command = f"PATH={restorer}:$PATH; {saver}/ipvsadm -S {numeric} >/run/saved-{side}; ipvsadm -C; ipvsadm -R </run/saved-{side}"
            twins.commands += 1
            twins.report(command, b"[rc=0]\n", twins.on(side, saver, command).result())
            twins.commands += 1
            command = f"{saver}/ipvsadm-save {numeric} >/run/saved-{side}; {restorer}/ipvsadm-restore </run/saved-{side}"
            twins.report(command, b"[rc=0]\n", twins.on(side, saver, command).result())
            twins.report(f"the table after {command}", saved, twins.on(side, twins.real, "ipvsadm -Sn").result())
    twins.compare_tables()
    twins.compare_lists("twin-ours")
    twins.reset()


def compare_connections(twins):
    """On the director: its connections, counters and rates, listed by both."""
    lines = ["-A -t 10.0.0.1:80 -s rr", "-a -t 10.0.0.1:80 -r 10.2.0.1:8080 -m -x 5", "-a -t 10.0.0.1:80 -r 10.2.0.2:8080 -m",
             "-A -u 10.0.0.1:53 -s rr -p 300 -M 255.255.0.0", "-a -u 10.0.0.1:53 -r 10.2.0.1:53 -m",
             "-A -t [fd00:1::1]:80 -s rr -p 100", "-a -t [fd00:1::1]:80 -r [fd02::1]:8080 -m",
             "-A -u 10.0.0.2:5060 -p 60 --pe sip", "-a -u 10.0.0.2:5060 -r 10.2.0.3:5060 -m",
             "-A -t 10.0.0.2:0 -p 60", "-a -t 10.0.0.2:0 -r 10.2.0.4 -g"]
    traffic = ["open a 10.1.0.1:4001 10.0.0.1:80", "open b 10.1.0.2:4002 10.0.0.1:80", "open c [fd01::1]:4003 [fd00:1::1]:80",
               "open d 10.1.0.3:4004 10.0.0.2:8080", "close a fin", "udp 10.1.0.4:4005 10.0.0.1:53 100 20 echo",
               "burst 10.1.0.5 5000 30 10.0.0.1:53 1000"]
    with director.director(traffic=True):
        twins.add_side(director.DIRECTOR)
        for line in lines:
            twins.report(line, b"[rc=0]\n", twins.on(director.DIRECTOR, twins.ours, f"ipvsadm {line}").result())
        for line in traffic:
            answer = twins.on(director.DIRECTOR, director.HERE / "bin", f"traffic {line}").result()
            if b"rc=0" not in answer or b"error" in answer:
                twins.report(line, b"an answer", answer)
        seen = twins.on(director.DIRECTOR, twins.ours, "ipvsadm -Lnc").result()
        if seen.count(b"\n") < 30:
            twins.report("connections", b"more than 30", seen)
        twins.compare_lists(director.DIRECTOR, attempts=side_by_side.ATTEMPTS_MAX)
        twins.on(director.DIRECTOR, twins.real, replay.RESET).result()
        twins.remove_side(director.DIRECTOR)


def stopped_process(namespace):
    """The process of the namespace that is traced."""
    for pid in director.pids(namespace):
        if "TracerPid:\t0" not in pathlib.Path(f"/proc/{pid}/status").read_text():
            return pid
    raise RuntimeError(f"nothing is traced in {namespace}")


def list_with_pauses(twins, programs, meanwhile):
    """A list by strace(1), which stops it behind each of its first requests; `meanwhile` is called at each stop."""
    TRACE.write_bytes(b"")
    stops = f"strace -q -o {TRACE} -e trace=sendmsg,sendto -e inject=sendmsg,sendto:signal=STOP:when=1..{STOPS_MAX}"
    listed, seen = twins.on("twin-ours", programs, f"{stops} ipvsadm -Sn"), 0
    while not listed.done():
        if TRACE.read_bytes().count(b"stopped by SIGSTOP") > seen:
            seen += 1
            meanwhile()
            os.kill(stopped_process("twin-ours"), signal.SIGCONT)
        time.sleep(0.01)
    return listed.result()


def compare_beside_changes(twins):
    """While another namespace adds virtual servers, ours lists each entry once.

    The real one lists some twice, or this would prove nothing: its requests are stopped where the kernel has begun a list and has more to send.
    """
    lines = "".join(f"-A -t 10.0.0.1:{port} -s rr\n" for port in range(1, 121))  # more than the kernel sends at once
    wanted = f"{lines}[rc=0]\n".encode()
    twins.reset()
    twins.on("twin-ours", twins.ours, "ipvsadm -R", lines.encode()).result()
    rounds = itertools.count()

    def add():
        # Ports that lie far apart: ip_vs_svc_hashkey() puts those of one address in order, and only what comes before the place counts.
        first = next(rounds)
        more = "".join(f"-A -u 10.0.0.2:{port}\n" for port in range(1 + first, 256 * STOPS_MAX, 4 * STOPS_MAX))
        twins.report("ipvsadm -R", b"[rc=0]\n", twins.on("twin-real", twins.real, "ipvsadm -R", more.encode()).result())

    by_real, by_ours = (list_with_pauses(twins, programs, add) for programs in (twins.real, twins.ours))
    twins.lists += 2
    twins.report("ipvsadm -Sn beside the changes of another namespace", wanted, by_ours)
    if len(by_real) <= len(wanted):
        twins.report("the real ipvsadm -Sn, which lists entries twice beside such changes,", b"more than\n" + wanted, by_real)
    twins.reset()


def main():
    seed, count = (int(sys.argv[2]), int(sys.argv[3])) if sys.argv[1:2] == ["--random"] else (SEED, COUNT)
    director.use_recorded_names()
    parts = [("written command lines", lambda twins: compare_scripts(twins, written_tables(), side_by_side.LISTS)),
             (f"random command lines (seed {seed})", lambda twins: compare_random(twins, seed, count)),
             ("save and restore", compare_saves), ("connections", compare_connections),
             ("beside the changes of another namespace", compare_beside_changes)]
    problems = 0
    with side_by_side.Twins() as twins:
        for name, part in parts:
            twins.problems = twins.commands = twins.lists = 0
            part(twins)
            print(f"{name}: {twins.commands} commands and {twins.lists} lists compared, {twins.problems} different")
            problems += twins.problems
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
