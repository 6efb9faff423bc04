# SPDX-License-Identifier: Apache-2.0
"""What the image is made of, as SPDX 2.3: every file with its digest, the Debian package that it is of, and the packages that are compiled or
linked into the program, which are found by what the compiler read and the linker took, not by a list that has to be maintained."""
import hashlib
import os
import re

import debian


def compiled_in(build, packages):
    """The packages whose headers or archives are in the program."""
    inputs = debian.output("ninja", "-C", build, "-t", "inputs", "sluice").split("\n")
    archives = {path for path in inputs if re.fullmatch(r"/.*\.a", path)}
    wanted = {path for path in inputs if path.endswith(".o")}
    headers, mine = set(), False
    for line in debian.output("ninja", "-C", build, "-t", "deps").splitlines():
        if line.startswith("    "):
            if mine and line.startswith("    /"):
                headers.add(os.path.normpath(line.strip()))
        elif line:
            mine = line.split(": #deps")[0] in wanted
    if not headers:
        raise LookupError(f"ninja knows no dependencies in {build}: it was not built there")
    return sorted(set(packages.of_files(headers | archives).values()))


def identifier(text):
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", text)


def purl(package, system):
    name = package["name"].replace("+", "%2B")
    version = package["version"].replace("+", "%2B").replace(":", "%3A")
    return f"pkg:deb/{system[0]}/{name}@{version}?arch={package['architecture']}&distro={system[0]}-{system[1]}"


def debian_package(package, system, comment=""):
    entry = {
        "SPDXID": identifier("Package-" + package["name"]), "name": package["name"], "versionInfo": package["version"],
        "supplier": "Organization: Debian", "downloadLocation": "NOASSERTION", "filesAnalyzed": False,
        "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
        "sourceInfo": f"built from the Debian source package {package['source']} {package['source_version']}",
        "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl(package, system)}],
    }
    if package["home"]:
        entry["homepage"] = package["home"]
    if comment:
        entry["comment"] = comment
    return entry


def document(assembly, image, version, revision, digest, created):
    """The SBOM of an image with this name and digest of its manifest."""
    packages, system = assembly.packages, debian.release()
    ours = {"SPDXID": "SPDXRef-Package-sluice", "name": "sluice", "versionInfo": version, "supplier": "NOASSERTION", "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False, "licenseConcluded": "Apache-2.0", "licenseDeclared": "Apache-2.0", "copyrightText": "NOASSERTION"}
    if revision:
        ours["sourceInfo"] = f"built from revision {revision}"
    whole = {"SPDXID": "SPDXRef-Image", "name": image, "versionInfo": digest, "supplier": "NOASSERTION", "downloadLocation": "NOASSERTION",
             "filesAnalyzed": False, "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION", "copyrightText": "NOASSERTION",
             "primaryPackagePurpose": "CONTAINER", "checksums": [{"algorithm": "SHA256", "checksumValue": digest.removeprefix("sha256:")}]}
    listed, files, relations = {"sluice": ours}, [], [("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image"), ("SPDXRef-Image", "CONTAINS", ours["SPDXID"])]
    for path, entry in sorted({**assembly.base.entries, **assembly.program.entries}.items()):
        owner = packages.describe(entry.package)["name"] if entry.package else "sluice"
        if owner not in listed:
            listed[owner] = debian_package(packages.describe(entry.package), system, f"its terms: /usr/share/doc/{owner}/copyright in the image")
            relations.append(("SPDXRef-Image", "CONTAINS", listed[owner]["SPDXID"]))
        if entry.kind != "file":
            continue
        # SPDX wants SHA-1 of every file, whatever else is given.
        sums = [{"algorithm": name, "checksumValue": hashlib.new(name.lower(), entry.content).hexdigest()} for name in ("SHA1", "SHA256")]
        files.append({"SPDXID": identifier(f"File-{hashlib.sha256(path.encode()).hexdigest()[:16]}"), "fileName": "/" + path, "checksums": sums,
                      "licenseConcluded": "NOASSERTION", "licenseInfoInFiles": ["NOASSERTION"], "copyrightText": "NOASSERTION"})
        relations.append((listed[owner]["SPDXID"], "CONTAINS", files[-1]["SPDXID"]))
    sources = {packages.describe(entry.package)["source"] for root in (assembly.base, assembly.program) for entry in root.entries.values() if entry.package}
    for name in compiled_in(assembly.build, packages):
        package = packages.describe(name)
        if package["name"] not in listed and package["source"] not in sources:  # what is there as a shared library is no part of the program
            listed[package["name"]] = debian_package(package, system, "compiled or linked into the program")
            relations.append((ours["SPDXID"], "STATIC_LINK", listed[package["name"]]["SPDXID"]))
    return {
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": image,
        "documentNamespace": f"https://sluice.dev/spdx/{digest.replace(':', '-')}",
        "creationInfo": {"created": created, "creators": ["Tool: sluice-tools-image"]},
        "packages": [whole, *(listed[name] for name in sorted(listed))], "files": files,
        "relationships": [{"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other} for one, kind, other in relations],
    }


def static_packages(sbom):
    linked = {each["relatedSpdxElement"] for each in sbom["relationships"] if each["relationshipType"] == "STATIC_LINK"}
    return [(each["name"], each["versionInfo"]) for each in sbom["packages"] if each["SPDXID"] in linked]


