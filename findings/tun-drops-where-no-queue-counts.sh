#!/bin/sh
# Expected: who sends faster than the reader of a TUN reads is held back (a full socket buffer, EAGAIN,
#           a backlog in the queueing discipline), or the discipline counts what it drops.
# Seen: the driver lets go of the sender's buffer at once and never stops its queue. Of 2000 datagrams
#       from a non-blocking socket with the smallest buffer all are "sent", the discipline has
#       dropped 0 and holds 0, and about 1500 (all but txqueuelen) are gone: tx_dropped alone says it.
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
import fcntl, json, os, socket, struct, subprocess
TUNSETIFF, IFF_TUN_NO_PI = 0x400454CA, 0x1001
def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH14x", b"t0", IFF_TUN_NO_PI))
run("ip", "addr", "add", "192.0.2.1/24", "dev", "t0")
run("ip", "link", "set", "t0", "up", "txqueuelen", "500")
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.setblocking(False)
sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
sent = 0
for _ in range(2000):
    try:
        sent += sender.sendto(bytes(1000), ("192.0.2.2", 9)) // 1000
    except BlockingIOError:
        pass
queue = json.loads(run("tc", "-j", "-s", "qdisc", "show", "dev", "t0"))[0]
link = json.loads(run("ip", "-j", "-s", "link", "show", "t0"))[0]["stats64"]["tx"]["dropped"]
# The system's own packets (router solicitations) may take a few places.
fits = 1490 <= link <= 1520
print("sent", sent, "queue", queue["drops"], queue.get("qlen", 0), "device", "1490..1520" if fits else link)
END
seen=$(unshare -n python3 "$work/inside" 2>"$work/error") || skip "$(tail -n 1 "$work/error")"
echo "$seen"
[ "$seen" = 'sent 2000 queue 0 0 device 1490..1520' ] || changed "$seen"
