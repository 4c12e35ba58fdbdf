#!/bin/sh
# Expected: TUNSETOFFLOAD is a promise of the program that holds the TUN and ends with it; who attaches
#           to a persistent TUN without IFF_VNET_HDR reads finished packets of at most the MTU.
# Seen: the offloads stay with the device. The next program, which has no virtio-net header to learn it
#       from, reads TCP super-packets (thousands of bytes at an MTU of 1400) whose checksums
#       are unfinished. Who attaches has to set its offloads, be it to 0; and with IFF_VNET_HDR the
#       header's length, which stays (24 bytes where 10 are the default), too.
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
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
TUNGETVNETHDRSZ, TUNSETVNETHDRSZ = 0x800454D7, 0x400454D8
PLAIN, WITH_HEADER, CSUM_TSO = 0x1001, 0x5001, 0x7
def attach(flags):
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH14x", b"t0", flags))
    return tun
def folded(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) & ~1]))
    total += data[-1] << 8 if len(data) % 2 else 0
    total = (total & 0xFFFF) + (total >> 16)
    return (total + (total >> 16)) & 0xFFFF
def pseudo(one, two, size):
    return one + two + struct.pack("!HH", 6, size)
def accept(packet):
    """The answer of a far end to a SYN."""
    near, far = packet[12:16], packet[16:20]
    here, there, number = struct.unpack("!HHI", packet[20:28])
    tcp = struct.pack("!HHIIBBHHH", there, here, 1000, number + 1, 0x60, 0x12, 65000, 0, 0) + b"\2\4\5\x50"
    tcp = tcp[:16] + struct.pack("!H", 0xFFFF ^ folded(pseudo(far, near, len(tcp)) + tcp)) + tcp[18:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + far + near
    return head[:10] + struct.pack("!H", 0xFFFF ^ folded(head)) + head[12:] + tcp
def look(tun, header):
    """How large TCP packets are that are read, and whether their checksums are finished."""
    end = socket.socket()
    end.setblocking(False)
    end.connect_ex(("192.0.2.2", 80))
    largest, unfinished, stop = 0, False, time.time() + 2
    while time.time() < stop:
        if not select.select([tun], [], [], 0.2)[0]:
            continue
        packet = os.read(tun, 70000)[header:]
        if packet[0] != 0x45 or packet[9] != 6:
            continue
        largest = max(largest, len(packet))
        tcp = packet[20:]
        unfinished |= folded(pseudo(packet[12:16], packet[16:20], len(tcp)) + tcp) != 0xFFFF
        if packet[33] & 2:
            os.write(tun, bytes(header) + accept(packet))
            time.sleep(0.1)
            end.send(bytes(10000))
    return ("above" if largest > 1400 else "within") + (" unfinished" if unfinished else " finished")
for command in ("ip tuntap add t0 mode tun", "ip addr add 192.0.2.1/24 dev t0", "ip link set t0 up mtu 1400"):
    subprocess.run(command.split(), capture_output=True, check=True)
def owner(name, flags, offloads=None):
    tun = attach(flags)
    if offloads is not None:
        fcntl.ioctl(tun, TUNSETOFFLOAD, offloads)
    print(f"{name}: {look(tun, 10 if flags == WITH_HEADER else 0)};")
    os.close(tun)
    time.sleep(0.2)
owner("plain, first", PLAIN)
owner("with header and offloads", WITH_HEADER, CSUM_TSO)
owner("plain, after it", PLAIN)
owner("plain that sets 0", PLAIN, 0)
tun = attach(WITH_HEADER)
fcntl.ioctl(tun, TUNSETVNETHDRSZ, struct.pack("i", 24))
os.close(tun)
print("next header", struct.unpack("i", fcntl.ioctl(attach(WITH_HEADER), TUNGETVNETHDRSZ, bytes(4)))[0])
END
seen=$(unshare -n python3 "$work/inside" 2>"$work/error" | paste -s -d ' ')
[ -s "$work/error" ] && skip "$(tail -n 1 "$work/error")"
echo "packets against the MTU, checksums. $seen"
want='plain, first: within finished; with header and offloads: above unfinished; plain, after it: above unfinished; plain that sets 0: within finished; next header 24'
[ "$seen" = "$want" ] || changed "$seen"
