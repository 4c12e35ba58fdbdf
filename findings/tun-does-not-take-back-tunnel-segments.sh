#!/bin/sh
# Expected: what one TUN hands out with its virtio-net header, another TUN with the same offloads takes,
#           as it does for plain TCP: user-space forwarders copy read() to write().
# Seen: with TUN_F_UDP_TUNNEL_GSO (TUNSETOFFLOAD 0x1e7 is taken, also by an IFF_TUN device) the
#       super-packets of a VXLAN are read with gso_type 0x21, and writing the very same bytes to
#       the other device is EINVAL, each time. Everything else that is read can be written.
# Versions: Linux 6.18.44 (the offload is there since 6.17); iproute2 6.1.0 (Debian 6.1.0-3)
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
import ctypes, errno, fcntl, os, select, socket, struct, subprocess, threading, time
TUNSETIFF, TUNSETVNETHDRSZ, TUNSETOFFLOAD = 0x400454CA, 0x400454D8, 0x400454D0
FLAGS = 0x1 | 0x1000 | 0x4000  # IFF_TUN | IFF_NO_PI | IFF_VNET_HDR
OFFLOADS = 0x1E7  # checksums, TSO 4 and 6, USO 4 and 6, UDP tunnels and their checksums
libc = ctypes.CDLL(None, use_errno=True)

def run(command):
    subprocess.run(command.split(), capture_output=True, check=True)

def end(near, far):
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH14x", b"t0", FLAGS))
    fcntl.ioctl(tun, TUNSETVNETHDRSZ, struct.pack("i", 24))
    fcntl.ioctl(tun, TUNSETOFFLOAD, OFFLOADS)
    run(f"ip addr add 192.0.2.{near}/24 dev t0")
    run("ip link set t0 up mtu 1400")
    run(f"ip link add vx type vxlan id 5 dstport 4789 local 192.0.2.{near} remote 192.0.2.{far} dev t0")
    run(f"ip addr add 198.51.100.{near}/24 dev vx")
    run("ip link set vx up mtu 1300")
    return tun

def drain():
    peer, _ = server.accept()
    while peer.recv(1 << 20):
        pass

def fill():
    libc.setns(first, 0)
    peer = socket.create_connection(("198.51.100.2", 5001))
    while True:
        peer.sendall(bytes(65536))

one = end(1, 2)
first = os.open("/proc/self/ns/net", os.O_RDONLY)
assert libc.unshare(0x40000000) == 0  # CLONE_NEWNET
two = end(2, 1)
server = socket.create_server(("198.51.100.2", 5001))
threading.Thread(target=drain, daemon=True).start()
threading.Thread(target=fill, daemon=True).start()
seen, stop = {}, time.time() + 5
while time.time() < stop:
    for tun in select.select([one, two], [], [], 0.2)[0]:
        packet = os.read(tun, 70000)
        try:
            os.write(two if tun == one else one, packet)
            what = "taken"
        except OSError as error:
            what = errno.errorcode[error.errno]
        kind = f"gso_type {packet[1]:#x} {what}"
        seen[kind] = seen.get(kind, 0) + 1
for kind, count in sorted(seen.items()):
    print(kind, count)
os._exit(0)
END
unshare -n python3 "$work/inside" >"$work/seen" 2>"$work/error"
[ -s "$work/seen" ] || skip "no such offload here: $(tail -n 1 "$work/error")"
cat "$work/seen"
grep -q '^gso_type 0x0 taken' "$work/seen" || skip "no packet went through"
[ "$(grep -v '^gso_type 0x0 taken' "$work/seen" | cut -d ' ' -f 2,3)" = '0x21 EINVAL' ] ||
    changed "not each and only super-packet of the tunnel is refused"
