#!/bin/sh
# Expected: a socket bound to an interface (SO_BINDTODEVICE) is independent of policy rules: it sends by
#           that interface and hears the answers from it.
# Seen: it sends there whatever the rules say, but with rp_filter=1 the answer is dropped when a rule
#       leads the way back elsewhere. With rp_filter=2 it is heard. A rule for the socket's own
#       uid does not disturb it, and a rule for uid 0 does, whoever's the socket is: the check of the
#       source is made as root.
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
import fcntl, os, select, socket, struct, subprocess
TUNSETIFF, IFF_TUN_NO_PI = 0x400454CA, 0x1001
def run(command):
    subprocess.run(command.split(), capture_output=True, check=True)
def tun(name):
    opened = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(opened, TUNSETIFF, struct.pack("16sH14x", name, IFF_TUN_NO_PI))
    return opened
near, other = tun(b"near"), tun(b"other")
run("ip addr add 192.0.2.1/28 dev near")
run("ip addr add 192.0.2.17/28 dev other")
run("ip link set near up")
run("ip link set other up")
run("ip route add 192.0.2.2 via 192.0.2.18 table 77")
def rp_filter(value):
    for name in ("all", "near"):
        with open(f"/proc/sys/net/ipv4/conf/{name}/rp_filter", "w") as file:
            file.write("0" if name == "all" else value)
def exchange():
    """Whether an echo by the far end, behind `near`, is heard."""
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"near")
    end.settimeout(1)
    end.sendto(b"hello", ("192.0.2.2", 7))
    while select.select([near], [], [], 1)[0]:
        packet = os.read(near, 2000)
        if packet[0] == 0x45 and packet[9] == 17 and packet[16:20] == socket.inet_aton("192.0.2.2"):
            back = packet[:12] + packet[16:20] + packet[12:16] + packet[22:24] + packet[20:22]
            os.write(near, back + packet[24:])
            break
    else:
        return "not sent"
    try:
        return "heard" if end.recv(100) == b"hello" else "other"
    except TimeoutError:
        return "dropped"
rp_filter("1")
print("no rule:", exchange())
run("ip rule add priority 5 table 77")
print("rule, strict:", exchange())
rp_filter("2")
print("rule, loose:", exchange())
rp_filter("1")
run("ip rule del priority 5")
for uid in (4243, 0):
    run(f"ip rule add priority 5 uidrange {uid}-{uid} table 77")
    os.seteuid(4243)
    print(f"rule for {uid}, socket of 4243:", exchange())
    os.seteuid(0)
    run("ip rule del priority 5")
END
seen=$(unshare -n python3 "$work/inside" 2>"$work/error" | paste -s -d ';')
[ -n "$seen" ] || skip "$(tail -n 1 "$work/error")"
echo "$seen"
want='no rule: heard;rule, strict: dropped;rule, loose: heard;rule for 4243, socket of 4243: heard;rule for 0, socket of 4243: dropped'
[ "$seen" = "$want" ] || changed "$seen"
