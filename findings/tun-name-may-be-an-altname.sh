#!/bin/sh
# Expected: TUNSETIFF with a name that no interface has (not in /sys/class/net, /proc/net/dev,
#           /proc/sys/net) makes a new TUN of that name, or fails.
# Seen: an alternative name of another interface counts as the name, while those lists do not have it.
#       If that is a TUN without owner the call succeeds and the caller holds *that* TUN, under its
#       real name; if it is held: EBUSY; if it is no TUN: EINVAL. SO_BINDTODEVICE takes the altname too.
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
def run(command):
    subprocess.run(command.split(), capture_output=True, check=True)
held = []
def attach(name):
    tun = os.open("/dev/net/tun", os.O_RDWR)
    held.append(tun)
    try:
        answer = fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH14x", name.encode(), IFF_TUN_NO_PI))
        return answer[:16].split(b"\0")[0].decode()
    except OSError as error:
        return errno.errorcode[error.errno]
run("ip tuntap add real0 mode tun")
run("ip link property add dev real0 altname second0")
run("ip link property add dev lo altname second1")
# The lists of the new namespace, not of the machine.
listed = any(line.startswith(" second") or line.startswith("second") for line in open("/proc/self/net/dev"))
listed = listed or os.path.exists("/proc/sys/net/ipv4/conf/second0")
print("listed" if listed else "not listed")
print("second0", attach("second0"))
print("second0 again", attach("second0"))
print("second1", attach("second1"))
print("fresh0", attach("fresh0"))
bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"second0")
print("bound to", bound.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0").decode())
END
seen=$(unshare -n python3 "$work/inside" 2>"$work/error" | paste -s -d ';')
[ -n "$seen" ] || skip "$(tail -n 1 "$work/error")"
echo "$seen"
want='not listed;second0 real0;second0 again EBUSY;second1 EINVAL;fresh0 fresh0;bound to real0'
[ "$seen" = "$want" ] || changed "$seen"
