# SPDX-License-Identifier: Apache-2.0
"""A containerd of our own, in folders of its own, for tests of the image: what loads it, and containers with a security context as Kubernetes
writes it, in a network namespace that the test has made."""
import pathlib
import signal
import subprocess
import time

PATIENCE = 120
# What `ctr run` gives a container by default.
CTR_DEFAULTS = ("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT",
                "KILL", "AUDIT_WRITE")


def run(*command, check=True, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def wait_for(what, condition, patience=PATIENCE):
    deadline = time.monotonic() + patience
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {patience} s: {what() if callable(what) else what}")
        time.sleep(0.1)
    return value


class Containerd:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        self.socket, self.log = self.folder / "socket", self.folder / "log"
        (self.folder / "config.toml").write_text(f'version = 2\nroot = "{self.folder}/root"\nstate = "{self.folder}/state"\n'
                                                 f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{self.socket}"\n')
        with self.log.open("w") as log:
            self.process = subprocess.Popen(["containerd", "--config", self.folder / "config.toml"], stdout=log, stderr=log)
        wait_for(lambda: f"containerd serves; its log:\n{self.log.read_text()[-3000:]}", lambda: self.ctr("version", check=False).returncode == 0)

    def ctr(self, *words, **options):
        return run("ctr", "--address", self.socket, *words, **options)

    def close(self):
        """Ends what runs, then containerd. What a container had mounted goes with it."""
        for line in self.ctr("tasks", "list", "-q", check=False).stdout.split():
            self.ctr("tasks", "kill", "--signal", "SIGKILL", line, check=False)
            wait_for(f"the end of {line}", lambda: self.ctr("tasks", "delete", "--force", line, check=False).returncode == 0 or
                     line not in self.ctr("tasks", "list", "-q", check=False).stdout.split())
        for line in self.ctr("containers", "list", "-q", check=False).stdout.split():
            self.ctr("containers", "delete", line, check=False)
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)

    def start(self, image, name, command, *, netns, mounts=(), context, log):
        """A container with a securityContext of Kubernetes; its output is in `log`. mounts: (source, target, read-only). The Popen of ctr, which
        ends with it."""
        words = ["run", "--rm", "--with-ns", f"network:/run/netns/{netns}", "--env", "NODE_NAME=node-a"]
        if context.get("readOnlyRootFilesystem"):
            words.append("--read-only")
        if context.get("privileged"):
            words.append("--privileged")
        else:
            capabilities = context.get("capabilities", {})
            added = capabilities.get("add", ())
            if "ALL" in capabilities.get("drop", ()):
                for each in sorted(set(CTR_DEFAULTS) - set(added)):  # it drops after it has added
                    words += ["--cap-drop", f"CAP_{each}"]
            for each in added:
                words += ["--cap-add", f"CAP_{each}"]
            if context.get("seccompProfile", {}).get("type") == "RuntimeDefault":
                words.append("--seccomp")
        if context.get("allowPrivilegeEscalation", True):
            words.append("--allow-new-privs")
        for source, target, read_only in mounts:
            words += ["--mount", f"type=bind,src={source},dst={target},options=rbind:{'ro' if read_only else 'rw'}"]
        with open(log, "w") as output:
            return subprocess.Popen([str(word) for word in ["ctr", "--address", self.socket, *words, image, name, *command]], stdout=output, stderr=output)

    def kill(self, name, how="SIGTERM"):
        self.ctr("tasks", "kill", "--signal", how, name)
