# SPDX-License-Identifier: Apache-2.0
"""Random replies of a kernel: tables with everything that netlink can carry, daemons, connections."""
import socket
import struct

# Where the unit of a number changes, where 32 bits end, and similar.
NUMBERS = (0, 1, 99, 12345678, 99999999, 10**8, 10**8 + 1, 10**9 - 1, 10**9, 10**11 - 1, 10**11, 2**31 - 1, 2**31, 2**32 - 1, 2**32,
           10**14 - 1, 10**14, 10**15, 2**63, 2**64 - 1)
V4 = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "192.168.122.1", "10.104.247.10", "127.0.0.1", "128.0.0.1", "255.255.255.254", "0.0.0.0",
      "200.1.2.3", "224.0.0.1", "10.2.0.1", "10.2.0.2", "10.2.0.3")
V6 = ("fd00:1::1", "1::1", "2001:db8::1", "2001:db8:1234:5678:9abc:def0:1234:5678", "::", "::1", "::ffff:10.0.0.1", "ff02::1", "fd02::1",
      "8000::", "7fff:ffff::1", "2001:db8::ffff")
PORTS = (0, 1, 53, 80, 443, 8080, 5060, 3565, 65535)
SCHEDULERS = ("rr", "wrr", "wlc", "sh", "mh", "none", "lblcr", "a23456789012345")
STATES = {"TCP": ("ESTABLISHED", "SYN_RECV", "TIME_WAIT", "CLOSE", "ERR!"), "UDP": ("UDP",), "SCTP": ("COOKIE_ECHOED", "ESTABLISHED"),
          "IP": ("NONE", "ASSURED"), "IP_89": ("NONE",), "ICMPv6": ("NONE",)}


def attribute(kind, value):
    return struct.pack("<HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def u8(kind, value):
    return attribute(kind, struct.pack("<B", value))


def u16(kind, value, order="<"):
    return attribute(kind, struct.pack(f"{order}H", value))


def u32(kind, value):
    return attribute(kind, struct.pack("<I", value & 0xffffffff))


def text(kind, value):
    return attribute(kind, value.encode() + b"\0")


def packed(ip):
    return socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)


class Tables:
    def __init__(self, dice):
        self.dice = dice

    def chance(self, probability):
        return self.dice.random() < probability

    def number(self):
        return self.dice.choice(NUMBERS) if self.chance(0.6) else self.dice.randrange(10 ** self.dice.randrange(1, 20)) % 2**64

    def address(self, ipv6):
        known, kind, size = (V6, socket.AF_INET6, 16) if ipv6 else (V4, socket.AF_INET, 4)
        return self.dice.choice(known) if self.chance(0.6) else socket.inet_ntop(kind, self.dice.randbytes(size))

    def port(self):
        return self.dice.choice(PORTS) if self.chance(0.7) else self.dice.randrange(65536)

    def statistics(self, cut, whole):
        """Cut to 32 bits, all but bytes; and whole, as in kernels since 4.1."""
        values = list(enumerate((self.number() for _ in range(10)), 1))
        wide = [attribute(kind, struct.pack("<Q", value)) for kind, value in values]
        small = [wide[kind - 1] if kind in (4, 5) else u32(kind, value) for kind, value in values]
        return attribute(cut, b"".join(small)) + (attribute(whole, b"".join(wide)) if self.chance(0.95) else b"")

    def service(self):
        """(its attributes, its identity, whether it is IPv6)"""
        ipv6 = self.chance(0.3)
        identity = u16(1, 10 if ipv6 else 2)
        if self.chance(0.25):
            identity += u32(5, self.dice.choice((1, 80, 2**31 - 1, 2**31, 2**32 - 1, self.dice.randrange(1, 2**32))))
        else:
            identity += u16(2, self.dice.choice((6, 6, 6, 17, 17, 132, 1, 58, 255)))
            identity += attribute(3, packed(self.address(ipv6)).ljust(16, b"\0")) + u16(4, self.port(), ">")
        service = identity + text(6, self.dice.choice(SCHEDULERS))
        if self.chance(0.15):
            service += text(11, self.dice.choice(("sip", "", "enginex")))
        flags = 2 | (self.dice.randrange(64) if self.chance(0.5) else self.dice.randrange(2))
        service += attribute(7, struct.pack("<II", flags, 0xffffffff)) + u32(8, self.dice.choice((0, 360, 2678400, 2**32 - 1)))
        service += u32(9, self.dice.choice((128, 128, 64, 1)) if ipv6 else self.dice.choice((2**32 - 1, 2**32 - 1, 0xffffff, 0, 0xff00ff00)))
        return service + self.statistics(10, 12) + (u32(40, 3) if self.chance(0.1) else b""), identity, ipv6

    def real(self, of_ipv6):
        """(its attributes, its identity)"""
        ipv6 = of_ipv6 != self.chance(0.1)
        identity = attribute(1, packed(self.address(ipv6)).ljust(16, b"\0")) + u16(2, self.port(), ">")
        real = identity + u32(3, self.dice.choice((0, 0, 1, 2, 2, 3, 3, 4, 7))) + u32(4, self.dice.choice((0, 1, 100, 999999, 2**31 - 1, 2**32 - 1)))
        if self.chance(0.9):
            real += u8(13, self.dice.randrange(3)) + u16(14, self.dice.randrange(65536), ">") + u16(15, self.dice.randrange(3))
        real += b"".join(u32(kind, self.number()) for kind in (5, 6, 7, 8, 9))
        return real + u16(11, 10 if ipv6 else 2) + self.statistics(10, 12), identity + bytes([ipv6])

    def table(self):
        lines, services = [], set()
        for _ in range(self.dice.choice((0, 1, 2, 3, 5, 8, 25))):
            service, identity, ipv6 = self.service()
            if identity in services:
                continue
            services.add(identity)
            lines.append(f"service {service.hex()}")
            reals = dict((identity, real) for real, identity in (self.real(ipv6) for _ in range(self.dice.choice((0, 1, 2, 5, 17)))))
            lines += [f"real {real.hex()}" for real in reals.values()]
        return lines

    def daemons(self):
        lines = []
        for role in (1, 2)[self.dice.randrange(2):]:
            daemon = u32(1, role) + text(2, self.dice.choice(("eth0", "bond0.100"))) + u32(3, self.dice.choice((0, 255, 300, 2**31, 2**32 - 1)))
            optional = [u16(4, self.dice.choice((0, 1472, 65507))), u16(7, self.dice.choice((0, 8848, 65535))), u8(8, self.dice.choice((0, 1, 255))),
                        attribute(5, packed("224.0.0.81")) if self.chance(0.6) else attribute(6, packed("ff02::5"))]
            lines.append(f"daemon {(daemon + b''.join(each for each in optional if self.chance(0.9))).hex()}")
        return lines

    def end(self, ipv6):
        bits = packed(self.address(ipv6)).hex()
        return f"{':'.join(bits[i:i + 4] for i in range(0, 32, 4)) if ipv6 else bits.upper()} {self.port():04X}"

    def connections(self):
        """The contents of /proc/net/ip_vs_conn."""
        lines = ["Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData"]
        for _ in range(self.dice.choice((0, 1, 5, 30))):
            protocol, ipv6 = self.dice.choice(tuple(STATES)), self.chance(0.3)
            ends = " ".join(self.end(family) for family in (ipv6, ipv6, ipv6 != self.chance(0.1)))
            expires, engine = self.dice.choice((0, 59, 60, 5999, 6000, 2678400)), self.dice.choice(("", "", "", " sip 384bde1@10.0.0.1"))
            lines.append(f"{protocol:<3} {ends} {self.dice.choice(STATES[protocol]):<11} {expires:7}{engine}")
        return "\n".join(lines) + "\n"
