#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Moves the debug information of a program into PROGRAM.debug, beside it.

The program's build ID, by which debuggers know that the two belong together, becomes a digest of what is left. The linker's is one of the debug
information, too, which has names of folders: the same sources would give another program in another folder. A debug link would do the same.

usage: split_debug.py OBJCOPY STRIP PROGRAM"""
import hashlib
import pathlib
import subprocess
import sys
import tempfile

SECTION = ".note.gnu.build-id"
HEADER = 16  # of a note: three lengths and "GNU"; the ID follows
SIZE = hashlib.sha1().digest_size


def main():
    objcopy, strip, program = sys.argv[1:]
    debug = program + ".debug"
    run = lambda *words: subprocess.run(words, check=True, stderr=subprocess.DEVNULL if words[-1] == debug else None)  # noqa: E731
    run(objcopy, "--only-keep-debug", program, debug)
    run(strip, "--strip-all", program)
    with tempfile.TemporaryDirectory() as folder:
        note = pathlib.Path(folder, "note")
        run(objcopy, "--dump-section", f"{SECTION}={note}", program, f"{folder}/unused")
        header, linkers = note.read_bytes()[:HEADER], note.read_bytes()[HEADER:]
        if len(linkers) != SIZE:
            sys.exit(f"split_debug.py: {program} has no build ID of {SIZE} bytes")

        def write(build_id, path):
            note.write_bytes(header + build_id)
            run(objcopy, "--update-section", f"{SECTION}={note}", path)
        write(bytes(SIZE), program)
        build_id = hashlib.sha1(pathlib.Path(program).read_bytes()).digest()
        write(build_id, program)
        write(build_id, debug)  # objcopy warns of all the sections that have no content there


if __name__ == "__main__":
    main()
