#!/bin/sh
# Expected: a datagram over IPv6 to a port that nobody has counts as Udp6NoPorts and is answered by
#           "port unreachable", with a checksum of zero (VXLAN's udp6zerocsumtx) as with any other.
# Seen: with zero it counts as Udp6InCsumErrors: a tunnel whose far end came up first looks like a
#       path that damages packets. IPv4 counts both as UdpNoPorts.
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
import fcntl, os, socket, struct, subprocess, time
TUNSETIFF, IFF_TUN_NO_PI = 0x400454CA, 0x1001
def run(command):
    subprocess.run(command.split(), capture_output=True, check=True)
def counters():
    found = {}
    for line in open("/proc/net/snmp6"):
        found[line.split()[0]] = int(line.split()[1])
    udp = [line.split() for line in open("/proc/net/snmp") if line.startswith("Udp:")]
    found.update({"Udp" + name: int(value) for name, value in list(zip(*udp))[1:]})
    return found
def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH14x", b"t0", IFF_TUN_NO_PI))
run("ip addr add 192.0.2.1/24 dev t0")
run("ip addr add 2001:db8::1/64 dev t0 nodad")
run("ip link set t0 up")
time.sleep(0.5)
near, far = (socket.inet_pton(socket.AF_INET6, f"2001:db8::{end}") for end in (1, 2))
def six(sum_):
    udp = struct.pack("!HHHH4s", 7, 4789, 12, sum_, b"abcd")
    return struct.pack("!IHBB", 6 << 28, 12, 17, 64) + far + near + udp
right = checksum(far + near + struct.pack("!II", 12, 17) + struct.pack("!HHHH4s", 7, 4789, 12, 0, b"abcd"))
head = struct.pack("!BBHHHBBH", 0x45, 0, 32, 1, 0, 64, 17, 0)
head += socket.inet_aton("192.0.2.2") + socket.inet_aton("192.0.2.1")
four = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
four += struct.pack("!HHHH4s", 7, 4789, 12, 0, b"abcd")
for name, packet in (("IPv6, right", six(right)), ("IPv6, zero", six(0)), ("IPv4, zero", four)):
    before = counters()
    os.write(tun, packet)
    time.sleep(0.2)
    after = counters()
    told = [key for key in ("Udp6NoPorts", "Udp6InCsumErrors", "UdpNoPorts", "UdpInCsumErrors", "Icmp6OutDestUnreachs") if after[key] > before[key]]
    print(f"{name}: {' '.join(told)};")
END
seen=$(unshare -n python3 "$work/inside" 2>"$work/error" | paste -s -d ' ')
[ -n "$seen" ] || skip "$(tail -n 1 "$work/error")"
echo "$seen"
want='IPv6, right: Udp6NoPorts Icmp6OutDestUnreachs; IPv6, zero: Udp6InCsumErrors; IPv4, zero: UdpNoPorts;'
[ "$seen" = "$want" ] || changed "$seen"
