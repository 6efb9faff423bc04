#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when a library calls what a pure room must not: clocks, input and output, the environment, logging, randomness,
threads. It reads the undefined symbols of the compiled library, so no header can hide a call.

usage: check_purity.py LIBRARY..."""
import re
import subprocess
import sys

FORBIDDEN = {
    "a clock": r"(clock_gettime|gettimeofday|time|clock|nanosleep|usleep|sleep|strftime|localtime(_r)?|timespec_get)$"
               r"|std::chrono::_V2::\w+::now|sluice::system_clock",
    "input or output": r"_*(open|openat|fopen|read|write|pread|pwrite|close|socket|connect|send\w*|recv\w*|ioctl|mmap|stat|poll|puts|putchar"
                       r"|f?printf|vf?printf|fprintf_chk|printf_chk|fputs|fwrite|fread|perror|syscall|fork|v?fork|exec\w+|system)(64)?$"
                       r"|std::(cout|cerr|clog|cin)\b|std::basic_[io]?fstream|std::basic_filebuf|std::filesystem|fmt::v\d+::v?print"
                       r"|sluice::(read_file|sys::|net::)",
    "the environment": r"(secure_getenv|getenv|setenv|putenv|environ|setlocale)$",
    "logging": r"sluice::log::|spdlog::|syslog$",
    "randomness": r"(rand|rand_r|random|srand|drand48|getrandom|arc4random\w*)$|std::random_device",
    "threads": r"pthread_(create|mutex_lock|cond_wait)$|std::thread|std::condition_variable",
}


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    problems = []
    for library in sys.argv[1:]:
        listed = subprocess.run(["nm", "--undefined-only", "--demangle", library], capture_output=True, text=True, check=True).stdout
        symbols = {match.group(1).split("@")[0] for match in re.finditer(r"^\s+[UwW] (.+)$", listed, re.M)}
        if not symbols:
            problems.append(f"{library}: nm shows no calls at all, so nothing was checked")
        for symbol in sorted(symbols):
            problems += [f"{library}: {symbol} is {what}" for what, pattern in FORBIDDEN.items() if re.match(pattern, symbol)]
    print("\n".join(problems) if problems else "no clock, input, output, environment, log, randomness or thread found")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
