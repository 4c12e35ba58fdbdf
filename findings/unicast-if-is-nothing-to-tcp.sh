#!/bin/sh
# Expected: IP_UNICAST_IF, which needs no privilege, picks the interface of a connection as it picks
#           that of datagrams; setting it on a TCP socket succeeds.
# Seen: UDP obeys, connected or not, source address included. TCP's SYN goes where the routes say, in
#       silence. To send a connection by one interface takes SO_BINDTODEVICE.
# Versions: Linux 6.18.44; iproute2 6.1.0 (Debian 6.1.0-3)
# Date: 2026-11-29
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
# Unpacks Debian packages of exactly these versions into the temporary folder; installs nothing.
get() {
    (cd "$work" && apt-get -q download "$@" && for deb in *.deb; do dpkg -x "$deb" root; done) \
        >"$work/get.log" 2>&1 || skip "no package $*: $(tail -n 1 "$work/get.log" | cut -d : -f 1)"
}

[ "$(id -u)" = 0 ] && [ -c /dev/net/tun ] || skip "needs root and /dev/net/tun"
unshare -n true 2>/dev/null || skip "no network namespace can be made"
command -v python3 >/dev/null || skip "needs python3"
get iproute2=6.1.0-3
PATH=$work/root/sbin:$work/root/bin:$PATH
uname -sr
ip -V || skip "not this machine's kind of program"
cat >"$work/inside" <<'END'
import fcntl, os, select, socket, struct, subprocess, time
TUNSETIFF, IFF_TUN_NO_PI, IP_UNICAST_IF = 0x400454CA, 0x1001, 50
FAR = ("198.51.100.5", 9)
tuns = {}
for name, near in (("routed", "192.0.2.1/28"), ("wanted", "192.0.2.17/28")):
    tuns[name] = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tuns[name], TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TUN_NO_PI))
    for command in (f"ip addr add {near} dev {name}", f"ip link set {name} up"):
        subprocess.run(command.split(), check=True)
for command in ("ip route add 198.51.100.0/24 dev routed", "ip route add default dev wanted"):
    subprocess.run(command.split(), check=True)
def leaves(protocol):
    stop = time.time() + 2
    while time.time() < stop:
        for name, tun in tuns.items():
            if select.select([tun], [], [], 0.1)[0]:
                packet = os.read(tun, 2000)
                if packet[0] == 0x45 and packet[9] == protocol:
                    return f"{name} from {socket.inet_ntoa(packet[12:16])};"
    return "nowhere;"
def end(kind, *option):
    made = socket.socket(socket.AF_INET, kind)
    made.setblocking(False)
    made.setsockopt(*option)
    return made
unicast = (socket.IPPROTO_IP, IP_UNICAST_IF, struct.pack("!I", socket.if_nametoindex("wanted")))
udp = end(socket.SOCK_DGRAM, *unicast)
udp.sendto(b"x", FAR)
print("UDP:", leaves(17))
udp.connect(FAR)
udp.send(b"x")
print("UDP, connected:", leaves(17))
tcp = end(socket.SOCK_STREAM, *unicast)
tcp.connect_ex(FAR)
print("TCP:", leaves(6))
tcp.close()
bound = end(socket.SOCK_STREAM, socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"wanted")
bound.connect_ex(("198.51.100.5", 10))
print("TCP, bound to the device:", leaves(6))
END
seen=$(unshare -n python3 "$work/inside" 2>"$work/error" | paste -s -d ' ')
[ -s "$work/error" ] && skip "$(tail -n 1 "$work/error")"
echo "$seen"
want='UDP: wanted from 192.0.2.17; UDP, connected: wanted from 192.0.2.17; TCP: routed from 192.0.2.1; TCP, bound to the device: wanted from 192.0.2.17;'
[ "$seen" = "$want" ] || changed "$seen"
