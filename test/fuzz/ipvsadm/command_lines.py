# SPDX-License-Identifier: Apache-2.0
"""Random command lines of ipvsadm, as lists of words: most follow its grammar with good and bad values, some are random words."""

SERVICES = """-t 10.0.0.1:80|-t 10.0.0.1:80|-u 10.0.0.1:53|-t vip1:http|-t vip1.example:http-alt|-t [fd00:1::1]:80|-f 1|-f 1 -6|-t 10.0.0.2|
--sctp-service 10.0.0.1:80|--udp-service=10.0.0.2:domain|-t10.0.0.3:443|-t 10.0.0.1:x|-f 0|-t=10.0.0.1:81|--tcp-service 10.0.0.1:82|-u vip1:http|
--fwmark-service=8|-f9|-f=4294967295|-f 4294967296|-f -1|-t|-t [fd00:1::1]|-t fd00:1::1|-t 0.0.0.0:0|-t [::]:0|-t 10.1:80|-t 0x0a000001:80|-t 80|
-t :80|-t [10.0.0.1]:80|-t vip6.example:80|-t 10.0.0.1:|-t 10.0.0.1:+80|-t 10.0.0.1:-80|-t 10.0.0.1:080|-t 10.0.0.1:65536|-t 10.0.0.1:80:90|
-t nohost:80|-t [::1:80|-t []:80|-t [|-t :""".replace("\n", "").split("|")
REALS = """-r 10.2.0.1|-r 10.2.0.1:8080|-r 10.2.0.2:80|--real-server=10.2.0.3:http|-r [fd02::1]:80|-r fd02::2|-r 10.2.0.4:0|-r rs1.example|-r rs1:domain|
-r10.2.0.5:8080|-r=10.2.0.6|-r|-r 80|-r nohost|-r [fd02::1]|-r 10.2.0.1:99999|-r [10.2.0.1]:81|-r :""".replace("\n", "").split("|")
SERVICE_SETTINGS = """-s rr|-s wrr|-s sh|-s mh|-s nosuch|-s|-s 0123456789abcdefgh|--scheduler=|-p|-p 60|--persistent=10|--persistent|-p 0|-p 2678400|-p 2678401|
-p=5|-p7|-p x|-M 255.255.255.0|-M 64|-M 0|-M 129|--netmask=255.255.0.0|-M x|-M vip1|-M|-o|--ops|--pe sip|--pe=|--pe sipsipsipsipsipsipsip|
-b sh-port|-b mh-port,mh-fallback|-b flag-1,flag-3|-b flag-2,sh-port|-b x|-b=flag-1|-b ,x|-b flag-1,,flag-2|--sched-flags=sh-fallback|-b|-6|
--ipv6""".replace("\n", "").split("|")
REAL_SETTINGS = """-m|-g|-i|-m|-i|--masquerading|--gatewaying|--ipip|-w 5|-w 0|-w -1|-w 65536|-w 2147483647|-w 2147483648|-w|-w x|-w5|-w=6|-w +5|-w 08|-x 10|
-y 5|--u-threshold=9|--l-threshold 7|-x -1|-y 2147483648|-x 99999999999999999999|--tun-type gue|--tun-type=gre|--tun-type ipip|--tun-type x|
--tun-port 6080|--tun-port=0|--tun-port 65536|--tun-csum|--tun-nocsum|--tun-remcsum|--weight=7""".replace("\n", "").split("|")
LIST_SETTINGS = """-n|-n|-n|--numeric|--stats|--rate|--thresholds|--persistent-conn|--tun-info|--timeout|--daemon|-c|-c|--connection|-X|--exact|--sort|--nosort|
--syncid 1|--syncid 256""".replace("\n", "").split("|")
DAEMON_SETTINGS = """--syncid 3|--syncid 300|--syncid -1|--mcast-interface eth1|--mcast-interface=|--mcast-interface 0123456789abcdefghij|
--mcast-group 239.0.0.9|--mcast-group ff02::9|--mcast-group 10.0.0.1|--mcast-group fd00::1|--mcast-group x|--mcast-ttl 3|--mcast-ttl 256|
--mcast-port 9000|--mcast-port 65536|--sync-maxlen 1200|--sync-maxlen 65508""".replace("\n", "").split("|")
NUMBERS = "0|1|900|2678400|2678401|-1|x|+5|007|--".split("|")
COMMANDS = (  # weight, words, required words, optional words
    (10, ("-A", "--add-service"), (SERVICES,), SERVICE_SETTINGS), (4, ("-E", "--edit-service"), (SERVICES,), SERVICE_SETTINGS),
    (2, ("-D", "--delete-service"), (SERVICES,), ()), (14, ("-a", "--add-server"), (SERVICES, REALS), REAL_SETTINGS),
    (6, ("-e", "--edit-server"), (SERVICES, REALS), REAL_SETTINGS), (3, ("-d", "--delete-server"), (SERVICES, REALS), ()),
    (8, ("-L", "-l", "--list"), (), LIST_SETTINGS), (3, ("-L", "-l"), (SERVICES,), LIST_SETTINGS), (2, ("-S", "--save"), (), ("-n", "--sort", "-X")),
    (2, ("-Z", "--zero"), (), SERVICES), (1, ("-C", "--clear"), (), ("-n",)), (2, ("--set",), (NUMBERS, NUMBERS, NUMBERS), NUMBERS),
    (2, ("--start-daemon master", "--start-daemon=backup", "--start-daemon", "--start-daemon x"), (), DAEMON_SETTINGS),
    (1, ("--stop-daemon master", "--stop-daemon=backup", "--stop-daemon"), (), ("--syncid 1", "--syncid 999", "-n")),
    (1, ("-v", "--version"), (), ("x", "-n", "-t")),
)
STRANGE = """-q|foo|--|-n|-C|--exact|-6|-w|-t|--stats=1|-nL|-m|-|--=|-=x|-n=|-n=x|-mw|-mw5|-mgi|-nX|-6n|-tn|-nt 10.0.0.1:80|-op 5|---|--h|-L|-Ln|-LA|-h|
--usage|-?|--set|--start-daemon x|-w-1|-p-5|-p=|-t=|--weight=|-b=|-M=""".replace("\n", "").split("|")
POOLS = (SERVICES, REALS, SERVICE_SETTINGS, REAL_SETTINGS, LIST_SETTINGS, DAEMON_SETTINGS, STRANGE)


def command_line(dice):
    _, commands, must, may = dice.choices(COMMANDS, weights=[each[0] for each in COMMANDS])[0]
    parts = [dice.choice(pool) for pool in must if dice.random() > 0.03]
    pool = may if dice.random() > 0.05 else dice.choice(POOLS)
    parts += dice.sample(pool, min(len(pool), dice.choice((0, 0, 1, 1, 2, 3, 4))))
    if dice.random() < 0.1:
        parts.append(dice.choice(STRANGE))
    if dice.random() < 0.3:
        dice.shuffle(parts)
    return " ".join((dice.choice(commands), *parts)).split()


def mere_words(dice):
    words = [dice.choice(dice.choice(COMMANDS)[1])] + [dice.choice(dice.choice(POOLS)) for _ in range(dice.randrange(6))]
    words = " ".join(words).split()
    at = dice.randrange(len(words))
    how = dice.randrange(5)
    if how == 0:
        words[at:at + 2] = [dice.choice(("", "=")).join(words[at:at + 2])]
    elif how == 1:
        cut = dice.randrange(len(words[at]) + 1)
        words[at:at + 1] = [words[at][:cut], words[at][cut:]]
    elif how == 2:
        words[at] = dice.choice(("", "-", "--", " ", f"{words[at]} ", words[at] * 2, words[at] + "x" * 300, words[at].upper()))
    return words


def restored(dice):
    """Input of -R: mostly lines that do not end it."""
    good = ("-A -t 10.0.0.1:80", "-a -t 10.0.0.2:80 -r 10.2.0.1 -m", "-A -t 10.0.0.1:80 -s", "-d -t 10.0.0.1:80 -r 10.2.0.3", "-Z", "--set 1 2 3",
            "-A -t 10.0.0.1:80 --zz", "-L -n", "-Lnc", "-Sn", "-Z -t 10.0.0.1:80", "", "  ", "ipvsadm", "\r")
    lines = []
    for _ in range(dice.choice((0, 1, 3, 10, 40))):
        line = dice.choice(good) if dice.random() < 0.8 else " ".join(command_line(dice))
        if dice.random() < 0.2:
            line = dice.choice((f"ipvsadm {line}", line.replace(" ", "\t "), f"{line} \r", f"{line} # x", f"{line}\0x", f"# {line}"))
        lines.append(line)
    text = "\n".join(lines)
    # The original forgets a last line that ends in two blanks and no newline; ours executes it.
    return text + ("\n" if text.endswith((" ", "\r")) else dice.choice(("\n", "\n", "")))
