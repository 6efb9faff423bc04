#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Requests to Services until SIGTERM, each on a connection of its own, and others on one connection that stays.

    traffic.py RESULT.json ADDRESS PORT [ADDRESS PORT]...
    traffic.py --report RESULT.json

Status 0 if every request succeeded."""
import collections
import http.client
import json
import os
import pathlib
import signal
import sys
import threading
import time

PATIENCE = 5.0
PAUSE = 0.2
stopping = threading.Event()


class Flow:
    def __init__(self, name):
        self.name, self.answers, self.failures = name, collections.Counter(), []

    def ask(self, connection):
        try:
            connection.request("GET", "/hostname")
            answer = connection.getresponse()
            body = answer.read().decode()
            if answer.status != 200:
                raise OSError(f"status {answer.status}")
            self.answers[body] += 1
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error}")


def new_connections(flow, address, port):
    while not stopping.wait(PAUSE):
        connection = http.client.HTTPConnection(address, port, timeout=PATIENCE)
        flow.ask(connection)
        connection.close()


def one_connection(flow, address, port):
    connection = http.client.HTTPConnection(address, port, timeout=PATIENCE)
    connection.auto_open = 0  # a connection that broke stays broken
    connection.connect()
    while not stopping.wait(PAUSE):
        flow.ask(connection)


def write(path, flows):
    value = {flow.name: {"answers": dict(flow.answers), "failures": list(flow.failures)} for flow in flows}
    temporary = f"{path}.new"
    pathlib.Path(temporary).write_text(json.dumps(value))
    os.replace(temporary, path)


def report(path):
    failed = False
    for name, flow in json.loads(pathlib.Path(path).read_text()).items():
        total = sum(flow["answers"].values())
        print(f"  {name}: {total} answers from {len(flow['answers'])} pods, {len(flow['failures'])} failures")
        for line in flow["failures"][:10]:
            print(f"    {line}")
        failed = failed or not total or bool(flow["failures"])
    return 1 if failed else 0


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--report":
        return report(sys.argv[2])
    if len(sys.argv) < 4 or len(sys.argv) % 2:
        sys.exit(__doc__)
    path, places = sys.argv[1], list(zip(sys.argv[2::2], map(int, sys.argv[3::2])))
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    flows, threads = [], []
    for address, port in places:
        for name, work in (("new connections", new_connections), ("one connection that stays", one_connection)):
            flows.append(Flow(f"{name} to {address}"))
            threads.append(threading.Thread(target=work, args=(flows[-1], address, port)))
    for thread in threads:
        thread.start()
    while not stopping.wait(1):
        write(path, flows)
    for thread in threads:
        thread.join()
    write(path, flows)
    return 1 if any(flow.failures or not flow.answers for flow in flows) else 0


if __name__ == "__main__":
    sys.exit(main())
