# SPDX-License-Identifier: Apache-2.0
"""Holds the clients' sockets and the real servers of director.py. One line per connection to its socket is a command, one line the answer:

    open ID CLIENT:PORT VIRTUAL:PORT                        a TCP connection, held under that name
    close ID fin|rst                                        ends it, and waits until its other end has seen that
    udp CLIENT:PORT VIRTUAL:PORT LENGTH [COUNT [echo]]      datagrams, each one waited for
    burst CLIENT PORT COUNT VIRTUAL:PORT LENGTH             one datagram from each of COUNT ports
    blast CLIENT:PORT VIRTUAL:PORT LENGTH COUNT             many datagrams as fast as possible

A real server greets each TCP connection with the address and port at which it was reached, and closes when the client does.
"""
import collections
import os
import selectors
import signal
import socket
import struct
import sys
import threading
import time

import director

TCP_PORTS, UDP_PORTS = (80, 443, 8080), (53, 5060, 8080)
IP_PKTINFO, IP_FREEBIND = 8, 15
IPV6_RECVPKTINFO, IPV6_PKTINFO, IPV6_FREEBIND = 49, 50, 78
PATIENCE = 30.0
BLAST_PIECE = 64  # datagrams between two pauses: a network queue holds 1000


def make_socket(namespace, family, kind):
    """Sockets belong to the namespace of the thread that makes them."""
    made = []

    def make():
        director.enter(namespace)
        made.append(socket.socket(family, kind))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def split_end(text):
    address, port = text.rsplit(":", 1)
    return address.strip("[]"), int(port)


class RealServers(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.selector = selectors.DefaultSelector()
        self.changed = threading.Condition()
        self.datagrams = collections.deque(maxlen=256)
        self.connections = set()  # the clients' ends
        for family in (socket.AF_INET, socket.AF_INET6):
            for port in TCP_PORTS:
                listener = self.add_socket(family, socket.SOCK_STREAM, port)
                listener.listen(256)
                self.selector.register(listener, selectors.EVENT_READ, self.accept)
            for port in UDP_PORTS:
                receiver = self.add_socket(family, socket.SOCK_DGRAM, port)
                if family == socket.AF_INET:
                    receiver.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
                else:
                    receiver.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
                self.selector.register(receiver, selectors.EVENT_READ, self.receive)

    @staticmethod
    def add_socket(family, kind, port):
        made = make_socket(director.SERVERS, family, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(("", port))
        return made

    def run(self):
        while True:
            for key, _ in self.selector.select():
                key.data(key.fileobj)

    def accept(self, listener):
        connection, client = listener.accept()
        address, port = connection.getsockname()[:2]
        with self.changed:
            self.connections.add(client[:2])
        self.selector.register(connection, selectors.EVENT_READ, lambda each: self.read(each, client[:2]))
        connection.sendall(f"{address} port {port}\n".encode())

    def read(self, connection, client):
        try:
            if connection.recv(65536):
                return
        except OSError:
            pass  # reset: also an end
        self.selector.unregister(connection)
        connection.close()
        with self.changed:
            self.connections.discard(client)
            self.changed.notify_all()

    def receive(self, receiver):
        payload, extra, _, client = receiver.recvmsg(65535, 256)
        address = reply_from = None
        for level, kind, value in extra:
            if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
                address = socket.inet_ntoa(value[8:12])
                reply_from = (level, kind, struct.pack("=I4s4s", 0, value[8:12], b"\0" * 4))
            elif (level, kind) == (socket.IPPROTO_IPV6, IPV6_PKTINFO):
                address = socket.inet_ntop(socket.AF_INET6, value[:16])
                reply_from = (level, kind, value[:16] + struct.pack("=I", 0))
        if payload.startswith(b"echo"):
            receiver.sendmsg([payload], [reply_from], 0, client)
        with self.changed:
            self.datagrams.append((payload, address, receiver.getsockname()[1]))
            self.changed.notify_all()

    def await_datagram(self, payload):
        with self.changed:
            if not self.changed.wait_for(lambda: any(each[0] == payload for each in self.datagrams), PATIENCE):
                return None
            found = next(each for each in self.datagrams if each[0] == payload)
            self.datagrams.remove(found)
            return found

    def await_end(self, client):
        with self.changed:
            return self.changed.wait_for(lambda: client not in self.connections, PATIENCE)


class Clients:
    def __init__(self, servers):
        self.servers = servers
        self.held = {}

    @staticmethod
    def add_socket(kind, end):
        address, port = end
        made = make_socket(director.CLIENTS, family_of(address), kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family_of(address) == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        else:
            made.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        made.bind(end)
        made.settimeout(PATIENCE)
        return made

    def open(self, name, client, virtual):
        connection = self.add_socket(socket.SOCK_STREAM, split_end(client))
        try:
            connection.connect(split_end(virtual))
            greeting = connection.recv(256).decode().strip()
        except ConnectionRefusedError:
            return "refused"
        except socket.timeout:
            return "timeout"
        self.held[name] = connection
        return f"connected to {greeting}"

    def close(self, name, how):
        connection = self.held.pop(name)
        client = connection.getsockname()[:2]
        if how == "rst":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)  # the other end's FIN
        connection.close()
        return "closed" if self.servers.await_end(client) else "the real server did not see the end"

    def udp(self, client, virtual, length, count="1", mode=""):
        with self.add_socket(socket.SOCK_DGRAM, split_end(client)) as sender:
            for number in range(int(count)):
                word = "echo" if mode == "echo" else "data"
                payload = f"{word}{number:06}".encode().ljust(int(length), b".")
                sender.sendto(payload, split_end(virtual))
                arrived = self.servers.await_datagram(payload)
                if arrived is None:
                    return "lost"
                if mode == "echo":
                    sender.recv(65535)
        return f"delivered to {arrived[1]} port {arrived[2]}"

    def burst(self, address, first_port, count, virtual, length):
        senders = [self.add_socket(socket.SOCK_DGRAM, (address, int(first_port) + n)) for n in range(int(count))]
        for sender in senders:
            sender.sendto(b"b" * int(length), split_end(virtual))
        for sender in senders:
            sender.close()
        return f"sent {count}"

    def blast(self, client, virtual, length, count):
        end, payload = split_end(virtual), b"B" * int(length)
        with self.add_socket(socket.SOCK_DGRAM, split_end(client)) as sender:
            for number in range(int(count)):
                sender.sendto(payload, end)
                if number % BLAST_PIECE == BLAST_PIECE - 1:
                    time.sleep(0.0005)
        return f"sent {count}"


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    servers = RealServers()
    servers.start()
    clients = Clients(servers)
    commands = {"open": clients.open, "close": clients.close, "udp": clients.udp, "burst": clients.burst, "blast": clients.blast}
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(director.SOCKET + ".new")
    listener.listen()
    os.rename(director.SOCKET + ".new", director.SOCKET)  # visible once it can be used
    while True:
        caller, _ = listener.accept()
        with caller:
            words = caller.recv(4096).decode().split()
            try:
                answer = commands[words[0]](*words[1:])
            except (OSError, KeyError, TypeError, ValueError) as error:
                answer = f"error: {error!r}"
            caller.sendall((answer + "\n").encode())


if __name__ == "__main__":
    main()
