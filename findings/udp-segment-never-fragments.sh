#!/bin/sh
# Expected: a datagram cut by UDP_SEGMENT goes out like one sent alone: where fragments are allowed
#           (IP_PMTUDISC_DONT) each segment larger than the MTU is fragmented.
# Seen: EMSGSIZE for the whole batch, in every mode of IP_MTU_DISCOVER, and even when the data are one
#       single segment: the same bytes go out without the control message. A segment size
#       above the MTU with fewer bytes than the MTU passes, so a short probe says nothing.
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
import errno, fcntl, os, socket, struct, subprocess
TUNSETIFF, IFF_TUN_NO_PI = 0x400454CA, 0x1001
SOL_UDP, UDP_SEGMENT, IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 17, 103, 10, 0
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH14x", b"t0", IFF_TUN_NO_PI))
for command in ("ip addr add 192.0.2.1/24 dev t0", "ip link set t0 up mtu 1280"):
    subprocess.run(command.split(), capture_output=True, check=True)
end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
end.connect(("192.0.2.2", 9))
def send(size, segment):
    cut = [(SOL_UDP, UDP_SEGMENT, struct.pack("H", segment))] if segment else []
    try:
        return "sent" if end.sendmsg([bytes(size)], cut) == size else "short"
    except OSError as error:
        return errno.errorcode[error.errno]
for size, segment in ((1400, 0), (3000, 1000), (2800, 1400), (1400, 1400), (1000, 1400)):
    print(f"{size} by {segment or 'none'}: {send(size, segment)};")
END
seen=$(unshare -n python3 "$work/inside" 2>"$work/error" | paste -s -d ' ')
[ -n "$seen" ] || skip "$(tail -n 1 "$work/error")"
echo "MTU 1280, fragments allowed. $seen"
want='1400 by none: sent; 3000 by 1000: sent; 2800 by 1400: EMSGSIZE; 1400 by 1400: EMSGSIZE; 1000 by 1400: sent;'
[ "$seen" = "$want" ] || changed "$seen"
