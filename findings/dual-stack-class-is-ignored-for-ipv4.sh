#!/bin/sh
# Expected: on an IPv6 socket that also speaks IPv4 (mapped addresses) the IPv6 control messages
#           serve both families, or are refused for the other one: IPV6_PKTINFO does serve both.
# Seen: IPV6_TCLASS to a mapped address is taken without an error and the packet goes out with class 0 (as
#       control message and as option); only IP_TOS works there. So with the other way: IPV6_RECVTCLASS says
#       nothing of a mapped packet's class. ECN marks are lost in silence for half of the peers.
# Versions: Linux 6.18.44
# Date: 2026-11-29
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
# Unpacks Debian packages of exactly these versions into the temporary folder; installs nothing.
get() {
    (cd "$work" && apt-get -q download "$@" && for deb in *.deb; do dpkg -x "$deb" root; done) \
        >"$work/get.log" 2>&1 || skip "no package $*: $(tail -n 1 "$work/get.log")"
}

command -v python3 >/dev/null || skip "needs python3"
uname -sr
cat >"$work/inside" <<'END'
import socket, struct
SIX, FOUR = socket.IPPROTO_IPV6, socket.IPPROTO_IP
IPV6_PKTINFO, IPV6_RECVTCLASS, IPV6_TCLASS, IP_TOS, IP_RECVTOS = 50, 66, 67, 1, 13
both = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
both.setsockopt(SIX, socket.IPV6_V6ONLY, 0)
both.setsockopt(SIX, IPV6_RECVTCLASS, 1)
both.bind(("::", 0))
four = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
four.bind(("127.0.0.1", 0))
four.setsockopt(FOUR, IP_RECVTOS, 1)
for end in (both, four):
    end.settimeout(2)
to_four = ("::ffff:127.0.0.1", four.getsockname()[1])
def arrives(*control):
    both.sendmsg([b"x"], control, 0, to_four)
    _, told, _, source = four.recvmsg(10, 100)
    return told[0][2][0], source[0]
two = struct.pack("i", 2)
print("IPV6_TCLASS", arrives((SIX, IPV6_TCLASS, two))[0])
print("IP_TOS", arrives((FOUR, IP_TOS, two))[0])
source = socket.inet_pton(socket.AF_INET6, "::ffff:127.0.0.2") + struct.pack("I", 0)
print("IPV6_PKTINFO", arrives((SIX, IPV6_PKTINFO, source))[1])
both.setsockopt(SIX, IPV6_TCLASS, 2)
print("option IPV6_TCLASS", arrives()[0])
both.setsockopt(FOUR, IP_TOS, 2)
print("option IP_TOS", arrives()[0])
four.setsockopt(FOUR, IP_TOS, 2)
four.sendto(b"x", ("127.0.0.1", both.getsockname()[1]))
print("IPV6_RECVTCLASS tells", len(both.recvmsg(10, 100)[1]))
both.setsockopt(FOUR, IP_RECVTOS, 1)
four.sendto(b"x", ("127.0.0.1", both.getsockname()[1]))
print("IP_RECVTOS tells", len(both.recvmsg(10, 100)[1]))
END
seen=$(python3 "$work/inside" 2>"$work/error" | paste -s -d ';')
[ -s "$work/error" ] && skip "$(tail -n 1 "$work/error")"
echo "$seen"
want='IPV6_TCLASS 0;IP_TOS 2;IPV6_PKTINFO 127.0.0.2;option IPV6_TCLASS 0;option IP_TOS 2;IPV6_RECVTCLASS tells 0;IP_RECVTOS tells 1'
[ "$seen" = "$want" ] || changed "$seen"
