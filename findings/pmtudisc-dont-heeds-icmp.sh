#!/bin/sh
# Expected: IP_PMTUDISC_DONT is "never do Path MTU Discovery" (ip(7)): such a socket's datagrams are
#           fragmented to fit the interface, and no ICMP has a part in it.
# Seen: DONT only leaves DF out. The kernel notes what a "fragmentation needed" says of the
#       destination, and fragments what the socket sends to that, for ten minutes: 1400 bytes leave in
#       3 pieces of at most 600. IP_PMTUDISC_OMIT (5), which ip(7) does not have, sends them whole.
# Versions: Linux 6.18.44; iproute2 6.1.0 (Debian 6.1.0-3)
# Date: 2026-11-30
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

[ "$(id -u)" = 0 ] && [ -c /dev/net/tun ] || skip "needs root and /dev/net/tun"
unshare -n true 2>/dev/null || skip "no network namespace can be made"
command -v python3 >/dev/null || skip "needs python3"
get iproute2=6.1.0-3
PATH=$work/root/sbin:$work/root/bin:$PATH
uname -sr
ip -V || skip "not this machine's kind of program"
cat >"$work/inside" <<'END'
import fcntl, os, select, socket, struct, subprocess
TUNSETIFF, IFF_TUN_NO_PI = 0x400454CA, 0x1001
IP_MTU_DISCOVER, DONT, OMIT = 10, 0, 5
def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
def summed(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH14x", b"t0", IFF_TUN_NO_PI))
run("ip", "addr", "add", "192.0.2.1/24", "dev", "t0")
run("ip", "link", "set", "t0", "up")
# It stays: who has no such socket hears nothing of the ICMP.
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def sent(how):
    sender.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, how)
    sender.sendto(bytes(1400 - 28), ("192.0.2.2", 9))
    packets = []
    while select.select([tun], [], [], 0.3)[0]:
        packet = os.read(tun, 2000)
        if packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_UDP:
            packets.append(packet)
    return packets
def lengths(packets):
    return " ".join(str(len(packet)) for packet in packets)
before = sent(DONT)
# What a router says that takes no more than 600 bytes, of that very datagram.
icmp = struct.pack("!BBHHH", 3, 4, 0, 0, 600) + before[0][:28]
icmp = icmp[:2] + summed(icmp) + icmp[4:]
head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(icmp), 1, 0, 64, 1, 0)
head += socket.inet_aton("192.0.2.254") + socket.inet_aton("192.0.2.1")
os.write(tun, head[:10] + summed(head) + head[12:] + icmp)
print("before:", lengths(before), "DONT:", lengths(sent(DONT)), "OMIT:", lengths(sent(OMIT)))
END
seen=$(unshare -n python3 "$work/inside" 2>"$work/error") || skip "$(tail -n 1 "$work/error")"
echo "$seen"
[ "$seen" = 'before: 1400 DONT: 596 596 248 OMIT: 1400' ] || changed "$seen"
