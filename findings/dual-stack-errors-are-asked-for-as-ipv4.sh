#!/bin/sh
# Expected: IPV6_RECVERR on an IPv6 socket that also speaks IPv4 (mapped addresses) has it told of each
#           ICMP error, for both families; or, if IP_RECVERR is needed for IPv4, errors of IPv4 are told by
#           its own control message, as IP_TTL and IP_TOS are.
# Seen: IPV6_RECVERR says nothing of mapped destinations: a closed port there is silence. IP_RECVERR does,
#       and then the error is told as IPV6_RECVERR, though that was never set, with an origin of
#       ICMP and an IPv4 type and code in it: 3 3, where IPv6 has 1 4. A reader that judges type and
#       code by the level of the message judges them by the wrong table.
# Versions: Linux 6.18.44, Python 3.11
# Date: 2026-12-01
set -u
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
command -v python3 >/dev/null || skip "needs python3"
unshare -n true 2>/dev/null || skip "no network namespace can be made"
uname -sr
seen=$(timeout 60 unshare -n python3 - <<'END'
import socket, struct, subprocess, time
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
OPTIONS = {"IP_RECVERR": (0, 11), "IPV6_RECVERR": (41, 25)}
NAMES = {number: name for name, number in OPTIONS.items()}
for words, names in (("the IPv6 option", ["IPV6_RECVERR"]), ("the IPv4 option", ["IP_RECVERR"]), ("both", list(OPTIONS))):
    for to in ("::ffff:127.0.0.1", "::1"):
        one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        for name in names:
            one.setsockopt(*OPTIONS[name], 1)
        one.sendto(b"x", (to, 9))
        time.sleep(0.2)
        try:
            (level, kind, data), = one.recvmsg(9, 999, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)[1]
            told = NAMES[level, kind], "origin, type, code", *struct.unpack("=IBBB", data[:7])[1:]
        except BlockingIOError:
            told = ("nothing",)
        print(f"{words}, {to}:", *told)
END
) || skip "python3 or ip failed"
echo "$seen"
[ "$seen" = "the IPv6 option, ::ffff:127.0.0.1: nothing
the IPv6 option, ::1: IPV6_RECVERR origin, type, code 3 1 4
the IPv4 option, ::ffff:127.0.0.1: IPV6_RECVERR origin, type, code 2 3 3
the IPv4 option, ::1: nothing
both, ::ffff:127.0.0.1: IPV6_RECVERR origin, type, code 2 3 3
both, ::1: IPV6_RECVERR origin, type, code 3 1 4" ] || changed "see above"
