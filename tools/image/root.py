# SPDX-License-Identifier: Apache-2.0
"""What is in the image, file by file. Nothing is unpacked or run: a root is a table of paths, and where each one's bytes come from.

Two layers, so that a new Sluice on the same Debian costs a node the second alone:
    base      the C library and its loader, libmnl, libnftnl; certificates; iptables, where wanted; the terms of each package
    program   the program under its names, and the libraries that lie beside it"""
import dataclasses
import os
import pathlib
import re
import subprocess

import debian

PROGRAM = "usr/bin/sluice"
# kubeadm's DaemonSet calls the first; the others are for `kubectl exec`.
NAMES_OF_PROGRAM = ("usr/local/bin/kube-proxy", "usr/sbin/ipvsadm", "usr/sbin/ipvsadm-save", "usr/sbin/ipvsadm-restore")
# As Debian has them since it merged /usr: runtimes mount the node's modules at /lib/modules, and libraries are requested by both paths.
MERGED = {"bin": "usr/bin", "lib": "usr/lib", "sbin": "usr/sbin", "lib32": "usr/lib32", "lib64": "usr/lib64"}
CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
OPENSSL_LOOKS_AT = "usr/lib/ssl/cert.pem"


@dataclasses.dataclass
class Entry:
    kind: str  # file, link or folder
    mode: int
    content: bytes = b""
    target: str = ""  # of a link
    package: str = ""  # of Debian; empty: ours


class Root:
    def __init__(self):
        self.entries = {}

    def _place(self, path):
        first, _, rest = path.partition("/")
        return f"{MERGED[first]}/{rest}" if first in MERGED and rest else path

    def add(self, path, entry):
        path = self._place(path.lstrip("/"))
        for parent in reversed(pathlib.PurePosixPath(path).parents):
            if str(parent) != ".":
                self.entries.setdefault(str(parent), Entry("folder", 0o755))
        if self.entries.setdefault(path, entry) != entry:
            raise ValueError(f"two files would be {path}")

    def file(self, path, content, mode=0o644, package=""):
        self.add(path, Entry("file", mode, content, package=package))

    def link(self, path, target, package=""):
        self.add(path, Entry("link", 0o777, target=target, package=package))

    def copy(self, source, path=None, package="", mode=None):
        """A file of this machine; of a link, what it leads to, by the link's name."""
        executable = os.access(source, os.X_OK)
        self.file(str(path or source), pathlib.Path(source).read_bytes(), mode or (0o755 if executable else 0o644), package)


class Assembly:
    def __init__(self, build, with_iptables):
        """`build` is the folder of a release build, whose program is stripped already; None for an image of other programs (tools/cluster)."""
        self.build, self.with_iptables = pathlib.Path(build or "."), with_iptables
        self.packages = debian.Packages()
        self.base, self.program = Root(), Root()

    def assemble(self, scratch):
        installed = self._install(pathlib.Path(scratch))
        beside = sorted(path for path in (installed / "lib/sluice").iterdir() if path.is_file())
        program = installed / "bin/sluice"
        self.kind = debian.elf_kind(program)
        if self.kind not in debian.ARCHITECTURES:
            raise LookupError(f"{program} is for a processor that images have no name for: {self.kind}")
        self.libraries = debian.Libraries(self.kind)
        self._fill_program(program, beside)
        needy = [program, *beside]
        if self.with_iptables:
            needy += self.fill_iptables()
        self.fill_libraries(needy, {path.name for path in beside})
        self._fill_certificates()
        self.link_merged()
        for path, mode in (("run", 0o755), ("tmp", 0o1777)):
            self.base.add(path, Entry("folder", mode))
        self._fill_terms()

    def _install(self, scratch):
        subprocess.run(["cmake", "--install", str(self.build), "--prefix", "/usr", "--component", "program"], check=True,
                       env=os.environ | {"DESTDIR": str(scratch)}, stdout=subprocess.DEVNULL)
        return scratch / "usr"

    def _fill_program(self, program, beside):
        self.program.copy(program, PROGRAM)
        for name in NAMES_OF_PROGRAM:
            self.program.link(name, os.path.relpath(PROGRAM, os.path.dirname(name)))
        places = [self.libraries.places.get(path.name, str(path)) for path in beside]
        owners = self.packages.of_files(places)
        for path, place in zip(beside, places):
            # Only by the name that the program requests: the chain of links that `make install` keeps is for people.
            if any(path.name in debian.needed_by(other) for other in (program, *beside)):
                self.program.copy(path, f"usr/lib/sluice/{path.name}", owners.get(place, ""), mode=0o644)
        root = pathlib.Path(__file__).resolve().parents[2]
        self.program.copy(root / "LICENSE", "usr/share/doc/sluice/copyright")

    def link_merged(self):
        for path, target in MERGED.items():
            if any(name.startswith(target + "/") for root in (self.base, self.program) for name in root.entries):
                self.base.link(path, target)
                self.base.entries.setdefault(target, Entry("folder", 0o755))

    def fill_libraries(self, needy, beside=()):
        """What the files need to be run, the loader included; sonames in `beside` are there already."""
        libraries = debian.Libraries(next(kind for kind in map(debian.elf_kind, needy) if kind))
        loaders = {loader for loader in map(debian.interpreter_of, needy) if loader}
        places = {soname: place for soname, place in libraries.closure(needy, beside).items()
                  if os.path.realpath(place) not in map(os.path.realpath, loaders)}
        owners = self.packages.of_files([*places.values(), *loaders])
        for place in sorted(places.values()):
            self.base.copy(place, package=owners[place], mode=0o644)
        for loader in sorted(loaders):
            self.base.copy(loader, package=owners[loader], mode=0o755)

    def fill_iptables(self):
        """Both flavours, each with save and restore for both families, and the plug-ins for their matches and targets."""
        listed = debian.output("dpkg-query", "-L", "iptables").splitlines()
        programs = [path for path in listed if re.fullmatch(r"(/usr)?/sbin/xtables-(nft|legacy)-multi", path)]
        plugins = [path for path in listed if re.fullmatch(r".*/xtables/lib(xt|ipt|ip6t)_\w+\.so", path)]
        if len(programs) != 2 or not plugins:
            raise LookupError("the package iptables is not installed as Debian 12 has it")
        links = [path for path in plugins if os.path.islink(path)]
        for path in programs + plugins:
            if path in links:
                self.base.link(path, os.readlink(path), "iptables")
            else:
                self.base.copy(path, package="iptables", mode=0o755 if path in programs else 0o644)
        folder = os.path.dirname(programs[0])
        for flavour in ("nft", "legacy", ""):
            for family in ("iptables", "ip6tables"):
                for what in ("", "-save", "-restore"):
                    name = family + (f"-{flavour}" if flavour else "") + what
                    self.base.link(f"{folder}/{name}", f"xtables-{flavour or 'nft'}-multi", "iptables")
        return programs + [path for path in plugins if path not in links]

    def _fill_certificates(self):
        """The authorities that Debian's package has, and none that this machine's owner has added."""
        listed = debian.output("dpkg-query", "-L", "ca-certificates").splitlines()
        files = sorted(path for path in listed if path.startswith("/usr/share/ca-certificates/") and path.endswith(".crt"))
        if not files:
            raise LookupError("the package ca-certificates has no certificates")
        text = b"".join(pathlib.Path(path).read_bytes().rstrip() + b"\n" for path in files)
        self.base.file(CERTIFICATES, text, package="ca-certificates")
        self.base.link(OPENSSL_LOOKS_AT, "/" + CERTIFICATES, "ca-certificates")

    def _fill_terms(self):
        for root in (self.base, self.program):
            for package in sorted({entry.package for entry in root.entries.values() if entry.package}):
                name = self.packages.describe(package)["name"]
                root.file(f"usr/share/doc/{name}/copyright", self.packages.copyright_of(package).read_bytes(), package=package)
