#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a manual page's source for scdoc, with the program's own descriptions of its options.

usage: man_page.py SLUICE PAGE.scd

In PAGE a line "@HELP lab up@" is replaced by the text of `sluice lab up --help`, a line "@FLAGS proxy@" by the flags that
`sluice proxy --help` lists, each with its description. So pages and --help cannot differ.
"""
import re
import subprocess
import sys

def help_of(program, words):
    return subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=True).stdout.rstrip("\n")


def escaped(text):
    return re.sub(r"([\\_*#<>])", r"\\\1", text)


def flags(text):
    """The lines of " * --name type  (default x)", each with indented lines below, as a list; headings in between."""
    lines = []
    for line in text.splitlines():
        flag = re.match(r"^ ([ *]) (--[\w-]+)(.*)$", line)
        if flag:
            star = "\\* " if flag.group(1) == "*" else ""
            lines += ["", f"{star}*{flag.group(2)}*{escaped(flag.group(3))}"]
        elif line.startswith("    ") and lines:
            lines.append("\t" + escaped(line.strip()))
        elif line.endswith(":") and not line.startswith(" "):
            lines += ["", "## " + line[:-1]]
    return lines


def page(program, source):
    for line in source.splitlines():
        marker = re.match(r"^@(HELP|FLAGS) (.*)@$", line)
        if not marker:
            yield line
        elif marker.group(1) == "HELP":
            yield from ("```", help_of(program, marker.group(2).split()), "```")
        else:
            listed = flags(help_of(program, marker.group(2).split()))
            if not listed:
                sys.exit(f"man_page.py: `sluice {marker.group(2)} --help` lists no flag")
            yield from listed


if __name__ == "__main__":
    print("\n".join(page(sys.argv[1], open(sys.argv[2], encoding="utf-8").read())))
