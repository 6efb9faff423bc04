# SPDX-License-Identifier: Apache-2.0
"""Two namespaces alike, the real ipvsadm in one and ours in the other: the same shell commands must do and print the same in both.

One after the other, and in a guest where nothing else changes a table of ip_vs meanwhile. All namespaces share one hash table, and
ip_vs_genl_dump_services() finds its place in it by counting the entries of all of them: what another namespace adds between two pieces of a
list makes the real ipvsadm print entries twice or more, what it removes makes it leave some out, and such a list is not marked.
"""
import concurrent.futures
import re
import subprocess

import director
import replay

SIDES = ("twin-real", "twin-ours")
# One list of each kind.
LISTS = ("-Ln", "-L", "-Ln --nosort", "-Ln --stats", "-L --stats --exact", "-Ln --rate", "-Ln --rate --exact", "-Ln --thresholds",
         "-L --thresholds", "-Ln --persistent-conn", "-Ln --tun-info", "-L --tun-info", "-Lnc", "-Lc", "-Lnc --persistent-conn",
         "-Ln --timeout", "-Ln --daemon", "-Sn", "-S")
FEW_LISTS = ("-Ln", "-Sn")
ATTEMPTS_MAX = 40
# The time until a connection's entry ends, minutes and seconds.
EXPIRES = re.compile(rb"^(\w+ +)(\d{2,}):(\d\d)(?= )", re.MULTILINE)


def run_in(namespace, programs, command, input_bytes=b""):
    environment = {"PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "HOME": "/root"}
    return replay.masked(b"%s[rc=%d]\n" % replay.run(command, environment, input_bytes))


def is_between(listed, before, after):
    """Whether a list of connections is from a moment between two others: the times decrease, all else is unchanged.

    However long a busy machine takes for a list.
    """
    if len({EXPIRES.sub(rb"\1", each) for each in (listed, before, after)}) > 1:
        return listed == after
    seconds = ([int(minutes) * 60 + int(rest) for _, minutes, rest in EXPIRES.findall(each)] for each in (before, listed, after))
    return all(first >= second >= third for first, second, third in zip(*seconds))


class Twins:
    """Use as a context. `problems` counts the differences; each difference is printed."""

    def __init__(self):
        self.ours, self.real = director.program_folders()
        self.problems = self.commands = self.lists = 0
        self.done = ""  # commands since the last reset

    def __enter__(self):
        self.remove()
        director.ip(None, [f"netns add {name}" for name in SIDES])
        self.threads = {}
        for name in SIDES:
            self.add_side(name)
            director.ip(name, [
                "link set lo up", "link add eth0 type dummy", "link set eth0 multicast on up", "address add 172.31.0.1/24 dev eth0",
                "link add eth1 type dummy", "link set eth1 multicast on mtu 9000 up",
                "address add 192.0.2.1/24 dev eth1", "address add fd00:2::1/64 dev eth1 nodad",
                *(f"address add {address}/32 dev lo" for address in director.VIRTUAL_V4),
            ])
        return self

    def __exit__(self, *_):
        for name in list(self.threads):
            self.remove_side(name)
        self.remove()

    def add_side(self, namespace):
        """One thread for each: programs that it starts are in its namespace."""
        self.threads[namespace] = concurrent.futures.ThreadPoolExecutor(1, initializer=director.enter, initargs=(namespace,))

    def remove_side(self, namespace):
        self.threads.pop(namespace).shutdown()

    @staticmethod
    def remove():
        for name in SIDES:
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL, check=False)

    def on(self, side, programs, command, input_bytes=b""):
        return self.threads[side].submit(run_in, side, programs, command, input_bytes)

    def reset(self):
        command, self.done = replay.reset_after(self.done), ""
        self.on("twin-real", self.real, command).result()
        self.on("twin-ours", self.ours, command).result()

    def report(self, what, by_real, by_ours):
        if by_real == by_ours:
            return True
        self.problems += 1
        print(f"DIFFERENT {what}\n{replay.difference(by_real, by_ours, 'real ipvsadm', 'ours')}")
        return False

    def same(self, command, input_bytes=b""):
        """Both run it; returns its output and status."""
        self.commands += 1
        self.done += f"{command}\n"
        by_real = self.on("twin-real", self.real, command, input_bytes).result()
        by_ours = self.on("twin-ours", self.ours, command, input_bytes).result()
        self.report(command, by_real, by_ours)
        return by_ours

    def compare_lists(self, side, lists=LISTS, attempts=1):
        """Both list one and the same table. With connections, rates and states change meanwhile: more than one attempt."""
        for arguments in lists:
            command = f"ipvsadm {arguments}"
            for _ in range(attempts):
                by_real, by_ours = (self.on(side, programs, command).result() for programs in (self.real, self.ours))
                if by_real != by_ours and attempts > 1 and is_between(by_ours, by_real, self.on(side, self.real, command).result()):
                    by_real = by_ours
                if by_real == by_ours:
                    break
            self.lists += 1
            self.report(f"{command} (of the table in {side})", by_real, by_ours)

    def compare_tables(self):
        """What each has written, listed by each. Returns whether there is anything."""
        tables = []
        for side in SIDES:
            self.compare_lists(side, FEW_LISTS)
            tables.append(self.on(side, self.real, "ipvsadm -Sn").result())
        # By lines: the order of lists depends on the kernel's if addresses are far apart, and that differs by namespace.
        self.report("what each has written", *(b"\n".join(sorted(table.splitlines())) + b"\n" for table in tables))
        return tables[0] != b"[rc=0]\n"
