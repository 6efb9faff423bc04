# SPDX-License-Identifier: Apache-2.0
"""Where a proxy mode cannot do what the others do, a scenario expects something else of it and names the gap. The mode itself declares its
gaps (DataPlane::capabilities(), printed by `sluice status -o json`); an expectation by a gap that it does not declare is a failure."""

import json
import subprocess


class UndeclaredGap(Exception):
    pass


class Gaps:
    """The gaps that one scenario names for the mode it runs in."""

    def __init__(self, mode):
        self.mode, self.named = mode, []

    def take_from(self, words):
        """Removes gap=NAME from the words of an `expect@MODE` or `expect@MODE/ENGINE`; there must be one."""
        if not words or not words[0].startswith("gap=") or words[0] == "gap=":
            raise ValueError("an expectation of one mode alone begins with gap=NAME, the gap of that mode which it follows from")
        name = words[0].removeprefix("gap=")
        if name not in self.named:
            self.named.append(name)
        return words[1:]

    def quote(self, status):
        """What to print for each gap, in the mode's own words, as `sluice status -o json` has them."""
        if not self.named:
            return []
        declared = [{each["gap"]: each["why"] for each in family["lacks"]} for family in json.loads(status)["families"]]
        for name in self.named:
            if not declared or any(name not in of_family for of_family in declared):
                raise UndeclaredGap(f"mode {self.mode} does not declare the gap '{name}'; it declares {sorted(declared[0]) if declared else 'nothing'}")
        return [f"mode {self.mode} cannot do {name}: {declared[0][name]}" for name in self.named]


def status_of(sluice, namespace):
    command = ["ip", "netns", "exec", namespace, sluice, "status", "-o", "json"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
