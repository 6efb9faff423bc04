#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/setup/deps.sh with each of its steps failing. apt-get and dpkg are replaced: what is installed is a file of the machine's folder.
The real apt-get reads its lists, which are the machine's too, and must know the options with which it is asked to install."""
import signal
import unittest

from machine import FAIL, FULL, MachineTest, PATIENCE, SLOW

SCRIPT = "tools/setup/deps.sh"
APT = r'''
options=()
for word; do
	[ "$word" != install ] || break
	options+=("$word")
done
case " $* " in
*" update "*) echo "lists" >>"$machine/calls"; exec "$real" "$@" ;;
*" install "*) "$real" "${options[@]}" --simulate install >/dev/null || exit 100 ;;
esac
case " $* " in
*" --simulate "*) echo "Inst something"; [ ! -e "$machine/removes" ] || cat "$machine/removes" ;;
*" install "*)
	[ ! -e "$machine/interrupted" ] || { echo "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem." >&2; exit 100; }
	echo "install" >>"$machine/calls"
	seen=
	for word; do
		[ -z "$seen" ] || echo "installed $word" >>"$machine/installed"
		[ "$word" != install ] || seen=1
	done ;;
*) echo "apt-get: unexpected: $*" >&2; exit 100 ;;
esac'''

# Replaces a real installation, but not a simulated one.
REALLY = 'case " $* " in *" --simulate "*) exec "$real" "$@" ;; esac; '


class Deps(MachineTest):
    def setUp(self):
        super().setUp()
        (self.machine.folder / "installed").write_text("installed git\ninstalled make\n")
        self.machine.program("apt-get", APT)
        self.machine.program("dpkg-query", 'cat "$machine/installed"; exit 1')
        self.machine.program("dpkg", 'echo "dpkg $*" >>"$machine/calls"; rm -f "$machine/interrupted"')

    def assert_done(self, result):
        output = self.assert_works(result)
        self.assertIn("installed ninja-build", (self.machine.folder / "installed").read_text())
        self.assertEqual(list(self.machine.tmp.iterdir()), [])
        self.assertEqual(self.machine.run(SCRIPT), (0, ""))  # silent: nothing is missing
        return output

    def test_an_empty_machine(self):
        output = self.assert_done(self.machine.run(SCRIPT))
        self.assertIn("missing", output)
        self.assertNotIn("fail", output)
        self.assertEqual(self.machine.calls(), ["lists", "install"])

    def test_without_home(self):
        self.assert_done(self.machine.run(SCRIPT, HOME=None))

    def test_lists_that_cannot_be_had_are_named_and_the_old_ones_taken(self):
        for action, why in ((FAIL, "made to fail"), (FULL, "No space left on device")):
            (self.machine.folder / "installed").write_text("")
            self.machine.spoil("apt-get update", action)
            output = self.assert_done(self.machine.run(SCRIPT))
            self.assertIn(why, output)
            self.assertIn("continuing with the lists that did", output)
            self.machine.mend("apt-get")

    def test_every_other_step_that_fails_is_named_and_the_next_run_succeeds(self):
        for step, what in (("apt-get --simulate", "apt cannot install them"), ("apt-get install", "failed: installing them")):
            for action, why in ((FAIL, "made to fail"), (FULL, "No space left on device")):
                with self.subTest(step):
                    (self.machine.folder / "installed").write_text("")
                    self.machine.spoil(step, action if "simulate" in step else REALLY + action)
                    status, output = self.machine.run(SCRIPT)
                    self.assertNotEqual(status, 0)
                    self.assertIn(what, output)
                    self.assertIn(why, output)
                    self.machine.mend("apt-get")
                    for log in self.machine.tmp.iterdir():
                        log.unlink()  # kept on purpose, and named
                    self.assert_done(self.machine.run(SCRIPT))

    def test_an_install_that_installs_nothing(self):
        self.machine.spoil("apt-get install", REALLY + "exit 0")
        self.assert_explained(self.machine.run(SCRIPT), "still missing after the install", "ninja-build")

    def test_no_package_is_taken_away(self):
        (self.machine.folder / "removes").write_text("Remv busybox [1]\nRemv precious [2]\n")
        self.assert_explained(self.machine.run(SCRIPT), "apt would remove precious")
        self.assertNotIn("install", self.machine.calls())
        (self.machine.folder / "removes").write_text("Remv busybox [1]\n")
        self.assert_done(self.machine.run(SCRIPT))

    def test_what_an_interrupted_dpkg_left_is_finished(self):
        (self.machine.folder / "interrupted").touch()
        output = self.assert_done(self.machine.run(SCRIPT))
        self.assertIn("finishing what an interrupted dpkg left", output)
        self.assertEqual(self.machine.calls(), ["lists", "dpkg --configure -a", "install"])

    def test_killed_while_reading_lists(self):
        for how in (signal.SIGTERM, signal.SIGKILL):
            (self.machine.folder / "installed").write_text("")
            self.kill_in_the_middle("apt-get update", how, SCRIPT)
            for log in self.machine.tmp.iterdir():
                log.unlink()
            self.assert_done(self.machine.run(SCRIPT))

    def test_an_install_is_let_finish(self):
        self.machine.spoil("apt-get install", REALLY + 'touch "$machine/going"; while [ -e "$machine/going" ]; do sleep 0.05; done; exec "$real" "$@"')
        process = self.machine.start(SCRIPT)
        while not (self.machine.folder / "going").exists():
            self.assertIsNone(process.poll())
        process.send_signal(signal.SIGTERM)
        seen = ""
        while "waiting for apt to finish" not in seen:
            line = process.stdout.readline()
            self.assertNotEqual(line, "", seen)
            seen += line
        (self.machine.folder / "going").unlink()
        process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 143)
        self.assertIn("installed ninja-build", (self.machine.folder / "installed").read_text())

    def test_two_at_once_install_once(self):
        self.machine.spoil("apt-get update", SLOW)
        both = [self.machine.start(SCRIPT), self.machine.start(SCRIPT)]
        for process in both:
            self.assert_works((process.wait(), process.communicate()[0]))
        self.assertEqual(self.machine.calls().count("install"), 1)

    def test_without_root_it_says_what_is_missing(self):
        self.machine.folder.chmod(0o755)
        status, output = self.machine.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", SCRIPT)
        self.assertNotEqual(status, 0)
        self.assertIn("not root, and these packages are missing", output)
        self.assertIn("ninja-build", output)

    def test_a_temporary_folder_that_is_missing(self):
        self.assert_explained(self.machine.run(SCRIPT, TMPDIR="/nonexistent/tmp"), "mktemp", "/nonexistent/tmp")

    def test_a_machine_that_is_not_debian(self):
        self.machine.environment["PATH"] = str(self.machine.bin)
        (self.machine.bin / "dpkg-query").unlink()
        for name in ("bash", "dirname", "basename", "realpath", "env"):
            self.machine.program(name, 'exec "$real" "$@"')
        self.assert_explained(self.machine.run(SCRIPT), "this is not Debian", "ninja-build")


if __name__ == "__main__":
    unittest.main(verbosity=1)
