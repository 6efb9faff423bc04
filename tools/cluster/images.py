#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the images that the pods of a cluster of `sluice lab cluster` run, other than Sluice's own: nothing is ever pulled.

    tools/cluster/images.py --programs DIR --out DIR

--programs has what tools/setup/kubernetes.sh built: agnhost, kubectl, kube-proxy. In the folder --out are then, for `ctr images import`,

    pause.tar       what holds a pod's namespaces: a program that sleeps
    agnhost.tar     Kubernetes' own test program, with a shell, curl, wget and nc: returns its own name, and runs the tests of e2e.test
    dns.tar         the cluster's names: dnsmasq, which gets the Services from kubectl
    kube-proxy.tar  the real kube-proxy, for comparison, with the programs that it runs
    regression.tar  what one of Kubernetes' tests of connection tracking sends to, where that was built; with it busybox.tar and iptables.tar, which
                    these tests run on nodes

Each has the name by which Kubernetes 1.20 and its tests request it. What is there already and was made of the same files stays.
"""
import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "image"))
import debian  # noqa: E402
import oci  # noqa: E402
import root  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
TIME, CREATED = 0, "1970-01-01T00:00:00Z"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
BUSYBOX = "/bin/busybox"
POD_ADDRESS = "ip -4 -o address show scope global | sed -n '1s|.* inet \\([0-9.]*\\).*|\\1|p'"


class Image:
    """An image from this machine's programs and what they need."""

    def __init__(self, name, command, arguments=()):
        self.name, self.command, self.arguments = name, command, list(arguments)
        self.assembly = root.Assembly(None, False)
        self.files = self.assembly.base
        self.needy = []

    def program(self, source, path=None):
        """A program or plug-in of this machine, with the libraries that it needs."""
        place = shutil.which(str(source)) or str(source)
        if not os.path.exists(place):
            raise LookupError(f"{source} is not installed")
        self.files.copy(place, path or place, mode=0o755)
        self.needy.append(place)

    def shell(self, leave_out=()):
        """busybox under all its names but those that another program has."""
        self.files.copy(BUSYBOX, BUSYBOX, mode=0o755)
        for applet in debian.output(BUSYBOX, "--list").split():
            if applet not in ("busybox", *leave_out):
                self.files.link(f"/bin/{applet}", "busybox")
        self.files.add("tmp", root.Entry("folder", 0o1777))

    def iptables(self):
        self.needy += self.assembly.fill_iptables()

    def complete(self):
        if self.needy:
            self.assembly.fill_libraries(self.needy)
        self.assembly.link_merged()

    def write(self, path, architecture):
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".image.") as scratch:
            layout = oci.Layout(pathlib.Path(scratch) / "oci", level=1)
            layout.image([(self.name, self.files.entries)],
                         {"created": CREATED, "architecture": architecture, "os": "linux",
                          "config": {"Entrypoint": self.command, "Cmd": self.arguments, "Env": [PATH]}}, self.name, TIME)
            made = pathlib.Path(scratch) / path.name
            layout.archive(made, TIME)
            made.rename(path)


def images(programs):
    """{file name: what makes it}"""
    def pause():
        image = Image("k8s.gcr.io/pause:3.2", [BUSYBOX, "sleep", "2147483647"])
        image.files.copy(BUSYBOX, BUSYBOX, mode=0o755)
        return image

    def agnhost():
        image = Image("k8s.gcr.io/e2e-test-images/agnhost:2.21", ["/agnhost"], ["pause"])
        # Not busybox' own shell, which runs its own nc whatever PATH says, nor its wget, which is linked statically and ends with a fault where
        # the C library looks for plug-ins.
        image.shell(leave_out=("nc", "sh", "wget"))
        image.program("wget")
        image.program("dash", "/bin/sh")
        image.program(programs / "agnhost", "/agnhost")
        image.program("curl")
        image.program("nc.openbsd", "/usr/bin/nc")
        return image

    def dns():
        image = Image("localhost/cluster-dns:1", ["/bin/sh", "/names.sh"])
        image.shell()
        image.program("dnsmasq")
        image.program(programs / "kubectl", "/usr/bin/kubectl")
        image.files.copy(HERE / "names.sh", "/names.sh")
        image.files.file("/etc/passwd", b"root:x:0:0::/:/bin/sh\n")
        return image

    def kube_proxy():
        image = Image("k8s.gcr.io/kube-proxy:v1.20.2", [], [])
        image.iptables()
        image.program(programs / "kube-proxy", "/usr/local/bin/kube-proxy")
        for name in ("conntrack", "ipset", "kmod"):
            image.program(name)
        image.files.link("/sbin/modprobe", "/bin/kmod")
        return image

    def regression():
        # The test expects version 1.0 of this image, which found the pod's address itself. The source has 1.2, which wants it in POD_IP.
        image = Image("gcr.io/kubernetes-e2e-test-images/regression-issue-74839-amd64:1.0",
                      ["/bin/sh", "-c", f"POD_IP=$({POD_ADDRESS}) exec /regression-issue-74839"])
        image.shell()
        image.program(programs / "regression-issue-74839", "/regression-issue-74839")
        return image

    def busybox():
        image = Image("docker.io/library/busybox:1.29", ["/bin/sh"])
        image.shell()
        return image

    def iptables():
        image = Image("k8s.gcr.io/build-image/debian-iptables:buster-v1.3.0", ["/bin/sh"])
        image.shell()
        image.iptables()
        image.program("conntrack")
        return image

    made = {"pause.tar": pause, "agnhost.tar": agnhost, "dns.tar": dns, "kube-proxy.tar": kube_proxy}
    if (programs / "regression-issue-74839").exists():
        made |= {"regression.tar": regression, "busybox.tar": busybox, "iptables.tar": iptables}
    return made


def ingredients(image):
    """A digest of all that would be in it."""
    total = hashlib.sha256(repr((image.name, image.command, image.arguments)).encode())
    for path, entry in sorted(image.files.entries.items()):
        total.update(repr((path, entry.kind, entry.mode, entry.target, hashlib.sha256(entry.content).hexdigest())).encode())
    return total.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    options = parser.parse_args()
    architecture, _ = debian.ARCHITECTURES[debian.elf_kind(BUSYBOX)]
    options.out.mkdir(parents=True, exist_ok=True)
    for name, make in images(options.programs).items():
        image, path, note = make(), options.out / name, options.out / f"{name}.of"
        image.complete()
        digest = ingredients(image)
        if path.exists() and note.exists() and note.read_text() == digest:
            continue
        note.unlink(missing_ok=True)
        image.write(path, architecture)
        note.write_text(digest)
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB", file=sys.stderr)


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    try:
        main()
    except (LookupError, ValueError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"images.py: {error}{': ' + error.stderr.strip() if getattr(error, 'stderr', None) else ''}")
