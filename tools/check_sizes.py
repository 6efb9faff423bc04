#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when a source file is longer than 600 lines without a reason, or a function of the product longer than 70.

A reason is a line of the comment at the file's head that begins with "Long, because". Functions of tests are tables of rows, and
may be longer. Functions are found by their indentation, which clang-format keeps.

usage: check_sizes.py [ROOT]     another tree, for the test of this check
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
ROOT = ROOT if ROOT.is_dir() else ROOT.parent.parent
FILE_LINES_MAX, FUNCTION_LINES_MAX, HEAD_LINES = 600, 70, 20
OPENING = re.compile(r"^( {0,4})(?!(?:namespace|class|struct|enum|union|extern|if|for|while|switch|do|else|try)\b|\}|\))\S.*(?<![=(] )(?<!\()\{$")


def functions(lines):
    """(line number, lines in the body, its first line) of each function."""
    start = 0
    while start < len(lines):
        opening = OPENING.match(lines[start])
        if not opening:
            start += 1
            continue
        end = start + 1
        while end < len(lines) and not lines[end].startswith(opening.group(1) + "}"):
            end += 1
        yield start + 1, end - start - 1, lines[start].strip()
        start = end + 1


def main():
    problems = []
    seen = 0
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix not in (".h", ".cc"):
            continue
        seen += 1
        name = path.relative_to(ROOT).as_posix()
        lines = path.read_text().splitlines()
        if len(lines) > FILE_LINES_MAX and not any(line.startswith("// Long, because") for line in lines[:HEAD_LINES]):
            problems.append(f"{name}: {len(lines)} lines, more than {FILE_LINES_MAX}, and no line '// Long, because ...' at its head")
        if name.endswith("_test.cc") or any(line.startswith("TEST") for line in lines):
            continue
        for number, length, text in functions(lines):
            if length > FUNCTION_LINES_MAX:
                problems.append(f"{name}:{number}: a function of {length} lines, more than {FUNCTION_LINES_MAX}: {text[:60]}")
    if not seen:
        problems.append("there is no source file")
    print("\n".join(problems) if problems else f"{seen} files, none too long, nor any function")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
