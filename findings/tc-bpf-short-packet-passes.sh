#!/bin/sh
# Expected: a classic BPF program that reads past the end of a packet refuses it: it ends with 0, and
#           with socket filters and seccomp 0 is "nothing passes".
# Seen: as an action of tc (`bpf da`) 0 is TC_ACT_OK. A program "load byte 100; drop" drops long
#       packets and lets every shorter one in. Each load needs a test of the length before it.
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
import fcntl, os, socket, struct, subprocess, sys
TUNSETIFF, IFF_TUN_NO_PI = 0x400454CA, 0x1001
def run(command):
    subprocess.run(command.split(" ", 9), capture_output=True, check=True)
def datagram(size):
    near, far = socket.inet_aton("192.0.2.1"), socket.inet_aton("192.0.2.2")
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28 + size, 1, 0, 64, 17, 0) + far + near
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
    return head + struct.pack("!HHHH", 7, 5000, 8 + size, 0) + bytes(size)
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH14x", b"t0", IFF_TUN_NO_PI))
run("ip addr add 192.0.2.1/24 dev t0")
run("ip link set t0 up")
run("tc qdisc add dev t0 clsact")
run("tc filter add dev t0 ingress bpf da bytecode " + sys.argv[1])
near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
near.bind(("192.0.2.1", 5000))
near.settimeout(1)
for size in (10, 200):
    os.write(tun, datagram(size))
    try:
        print(size, "in" if len(near.recv(2000)) == size else "other")
    except TimeoutError:
        print(size, "dropped")
END
try() { unshare -n python3 "$work/inside" "$1" 2>"$work/error" | paste -s -d ' '; }
always=$(try '1,6 0 0 2,')
[ -n "$always" ] || skip "$(tail -n 1 "$work/error")"
load=$(try '2,32 0 0 100,6 0 0 2,')
echo "drop: $always; load 100, then drop: $load"
[ "$always" = '10 dropped 200 dropped' ] || changed "drop: $always"
[ "$load" = '10 in 200 dropped' ] || changed "load, then drop: $load"
