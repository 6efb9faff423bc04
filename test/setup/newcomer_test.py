#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`make demo` and `make test` on a fresh machine: the whole way through the setup scripts, with an empty home. What takes
minutes is replaced: compiling, the tests themselves, QEMU. So is installing, and Kubernetes is provided."""
import hashlib
import os
import pathlib
import pty
import signal
import subprocess
import unittest

from machine import FAIL, MachineTest

# What CMake would do: configure, then print the steps like Ninja and make the program.
CMAKE = r'''
case " $* " in
*" --build "*)
	preset=$(basename "$2")
	[ -t 1 ] && echo "on a terminal"
	for step in 1 2 3; do echo "[$step/3] Building CXX object $step"; done
	mkdir -p "build/$preset"
	cp "$machine/sluice" "build/$preset/sluice" ;;
*) echo "-- Configuring done" ;;
esac'''
SLUICE = r'''#!/bin/bash
case "$1" in
ipvsadm) echo "no ip_vs" >&2; exit 1 ;;
*) echo "walkthrough: $*" ;;
esac
'''
CTEST = r'''
while [ $# -gt 0 ]; do case $1 in --output-junit) junit=$2 ;; --test-dir) folder=$2 ;; -L | -LE) label=$2 ;; esac; shift; done
echo "ctest of $folder $label" | tee -a "$machine/calls"
echo '<testsuite><testcase name="a" status="run"/><testcase name="b" status="run"/></testsuite>' >"$junit"'''
# Runs what the guest would run, on this machine.
QEMU = r'''
for word; do case $word in local,path=*out,*) out=${word#local,path=}; out=${out%,mount_tag*} ;; esac; done
echo "sluice guest: start"
eval "$(sed -n '/^command=(/p' "$out/.script")"
"${command[@]}"
echo $? >"$out/.status"
echo "sluice guest: end"'''


def sources_of_apt():
    """What none of our scripts may change."""
    digest = hashlib.sha256()
    for path in sorted(pathlib.Path("/etc/apt").rglob("*")):
        digest.update(str(path).encode() + (path.read_bytes() if path.is_file() else b""))
    return digest.hexdigest()


class Newcomer(MachineTest):
    def setUp(self):
        super().setUp()
        self.machine.make_kernel_packages()
        for name, text in (("cmake", CMAKE), ("ctest", CTEST), ("qemu-system-x86_64", QEMU), ("uname", "echo x86_64"),
                           ("dpkg-query", 'for name in $(sed -n "/^[a-z_]*packages=(/,/^)/s/^\t//p" tools/setup/deps.sh) qemu-system-x86 busybox-static kmod cpio '
                            'ca-certificates kubernetes-client; do echo "installed $name"; done')):
            self.machine.program(name, text)
        (self.machine.folder / "sluice").write_text(SLUICE)
        (self.machine.folder / "sluice").chmod(0o755)
        programs = self.machine.cache / "kubernetes-1.20.2/bin"
        programs.mkdir(parents=True)
        for name in ("kube-proxy", "kube-apiserver"):
            (programs / name).write_text("#!/bin/sh\n")
            (programs / name).chmod(0o755)
        before = sources_of_apt()
        self.addCleanup(lambda: self.assertEqual(sources_of_apt(), before))

    def test_the_demo(self):
        output = self.assert_works(self.machine.run("make", "demo"))
        self.assertIn("walkthrough: lab walkthrough\n", output)
        self.assertIn("walkthrough: lab walkthrough --only-ipvs\n", output)
        self.assertNotIn("[1/3]", output)  # no line per step where there is no terminal
        self.assertIn("built, step 3/3", output)
        self.assertEqual(list(self.machine.tmp.iterdir()), [])
        again = self.assert_works(self.machine.run("make", "demo"))
        self.assertNotIn("downloading", again)

    def test_the_tests(self):
        output = self.assert_works(self.machine.run("make", "test"))
        self.assertEqual(output.splitlines()[-1], "6 passed, 0 failed")
        self.assertEqual(self.machine.calls(), ["ctest of build/release ^(guest|portable|setup)$", "ctest of build/release ^cluster$",
                                                "ctest of build/dev ^(guest|setup)$"])
        self.assertNotIn("[1/3]", output)

    def test_on_a_terminal_the_steps_are_ninjas_own_line(self):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(["make", "build"], cwd=self.machine.tree, env=self.machine.environment, stdin=theirs, stdout=theirs,
                                   stderr=theirs, start_new_session=True)
        os.close(theirs)
        output = b""
        while True:
            try:
                output += os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
        os.close(ours)
        self.assertEqual(process.wait(), 0, output)
        self.assertIn(b"on a terminal", output)
        self.assertNotIn(b"Configuring done", output)

    def test_a_demo_that_fails_says_why(self):
        for step, action, named in (
                ("dpkg-query", "exit 0", "these packages are missing: "),
                ("cmake --preset", FAIL, "failed: configuring build/release"),
                ("cmake --build", 'echo "[1/2] a"; echo "FAILED: b.o"; echo "b.cc:1: error: bad"; echo "[2/2] c"; exit 1', "b.cc:1: error: bad"),
                ("apt-get", FAIL, "apt knows no kernel package"),
                ("qemu-system-x86_64", FAIL, "the guest ended before its command did (QEMU's exit status is 7)"),
                ("qemu-system-x86_64", 'echo "terminated"; kill -KILL $$', "the guest ended before its command did")):
            with self.subTest(named):
                if step == "dpkg-query":
                    self.machine.program("apt-get", FAIL)
                    named = "apt cannot install them"
                self.machine.spoil(step, action)
                self.machine.forget()
                status, output = self.machine.run("make", "demo")
                self.assertNotEqual(status, 0)
                self.assertIn(named, output)
                self.machine.mend(step)
                (self.machine.bin / "apt-get").unlink(missing_ok=True)
        self.assert_works(self.machine.run("make", "demo"))

    def test_tests_that_cannot_be_built_or_fail_say_so(self):
        self.machine.spoil("cmake build/dev", 'echo "FAILED: b.o"; echo "b.cc:1: error: bad"; exit 1')
        status, output = self.machine.run("make", "test")
        self.assertNotEqual(status, 0)
        self.assertIn("b.cc:1: error: bad", output)
        self.machine.mend("cmake")
        self.machine.spoil("ctest build/dev", '"$real" "$@"; exit 8')
        status, output = self.machine.run("make", "test")
        self.assertNotEqual(status, 0)
        self.assertIn("failed: ctest: tests of build/dev\n6 passed, 1 failed", output)  # its file names no test: counted as one
        self.machine.mend("ctest")

    def test_what_failed_stands_at_the_end(self):
        self.machine.spoil("ctest build/release", """"$real" "$@"
while [ "$1" != --output-junit ]; do shift; done
cat >"$2" <<'END'
<testsuite><testcase name="good" status="run"/>
<testcase name="bad one" status="fail"><failure message="Failed"/><system-out>begin
middle
the reason</system-out></testcase></testsuite>
END
exit 8""")
        status, output = self.machine.run("make", "test")
        self.assertNotEqual(status, 0)
        self.assertIn("--- the end of bad one (release):\nbegin\nmiddle\nthe reason\n", output)
        self.assertIn("failed: bad one (release)\nfailed: bad one (release)\n4 passed, 2 failed", output)
        self.machine.mend("ctest")
        self.machine.spoil("ctest build/dev", '"$real" "$@"; while [ "$1" != --output-junit ]; do shift; done; echo "<testsuite>" >"$2"; exit 8')
        status, output = self.machine.run("make", "test")
        self.assertNotEqual(status, 0)
        self.assertIn("failed: ctest: tests of build/dev\n4 passed, 1 failed", output)  # a report that ends in the middle

    def test_tests_without_kubernetes_count_a_failure_and_say_why(self):
        self.machine.forget()
        self.machine.program("make", FAIL)
        status, output = self.machine.run("/usr/bin/make", "test")
        self.assertNotEqual(status, 0)
        self.assertIn("failed: reading Debian's source index", output)
        self.assertIn("4 passed, 1 failed", output)
        self.assertIn("ctest of build/dev ^(guest|setup|cluster)$", self.machine.calls())

    def test_killed_while_building(self):
        for how in (signal.SIGTERM, signal.SIGKILL):
            for words in (("tools/setup/build.sh", "release", "sluice"), ("tools/setup/run-tests.sh",)):
                with self.subTest(f"{words[0]} {how.name}"):
                    self.kill_in_the_middle("cmake --build", how, *words)
        self.assert_works(self.machine.run("make", "demo"))


if __name__ == "__main__":
    unittest.main(verbosity=1)
