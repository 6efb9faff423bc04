# SPDX-License-Identifier: Apache-2.0
"""An image in OCI's layout (image-spec 1.0: layout, index, manifest, configuration), which is at the same time what `docker save` writes.

The bytes depend only on what goes in: names are sorted, times are the one that was given, owners are root."""
import gzip
import hashlib
import io
import json
import pathlib
import tarfile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def dump(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def tar_of(entries, time):
    """The bytes of an archive of entries of root.py."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, entry in sorted(entries.items()):
            header = tarfile.TarInfo(path)
            header.mode, header.mtime = entry.mode, time
            header.type = {"file": tarfile.REGTYPE, "link": tarfile.SYMTYPE, "folder": tarfile.DIRTYPE}[entry.kind]
            header.linkname, header.size = entry.target, len(entry.content)
            archive.addfile(header, io.BytesIO(entry.content))
    return buffer.getvalue()


class Layout:
    """A folder in OCI's layout with one image."""

    def __init__(self, folder, level=9):
        """level: of compression, where time counts for more than size"""
        self.folder, self.level = pathlib.Path(folder), level
        (self.folder / "blobs/sha256").mkdir(parents=True)

    def blob(self, content, media_type):
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs/sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(content)}

    def image(self, layers, config, name, time):
        """Writes the image of these layers, (what, entries) each, and returns the digest of its manifest. `config` is filled up with what
        follows from the layers; `name` is what the image is called, a tag included."""
        descriptors, diff_ids, history = [], [], []
        for what, entries in layers:
            archive = tar_of(entries, time)
            diff_ids.append("sha256:" + hashlib.sha256(archive).hexdigest())
            descriptors.append(self.blob(gzip.compress(archive, self.level, mtime=0), LAYER))
            history.append({"created": config["created"], "created_by": f"tools/image: {what}"})
        config = self.blob(dump(config | {"rootfs": {"type": "layers", "diff_ids": diff_ids}, "history": history}), CONFIG)
        manifest = self.blob(dump({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": descriptors}), MANIFEST)
        tag = name.rpartition(":")[2]
        manifest["annotations"] = {"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": name}
        self.write("oci-layout", {"imageLayoutVersion": "1.0.0"})
        self.write("index.json", {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest]})
        blob = "blobs/sha256/{}".format
        self.write("manifest.json", [{"Config": blob(config["digest"][7:]), "RepoTags": [name], "Layers": [blob(each["digest"][7:]) for each in descriptors]}])
        return manifest["digest"]

    def write(self, name, value):
        (self.folder / name).write_bytes(dump(value))

    def archive(self, path, time):
        """All of it as one file, for `ctr images import`, `podman load` and `docker load`."""
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            for source in sorted(self.folder.rglob("*")):
                header = tarfile.TarInfo(str(source.relative_to(self.folder)))
                header.mtime = time
                if source.is_dir():
                    header.type, header.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(header)
                else:
                    header.size = source.stat().st_size
                    with source.open("rb") as content:
                        archive.addfile(header, content)
