#!/bin/sh
# Expected: a dump of the sockets that listen (sock_diag(7), NLM_F_DUMP) has each that listens before
#           it and after it; or, since it comes in several datagrams, the flag NLM_F_DUMP_INTR where
#           something came between, as dumps of rtnetlink have it.
# Seen: one that listens all the time is left out now and then while others of its hash bucket close:
#       between two datagrams the kernel remembers the bucket and how many of it were told, and skips
#       as many, of which there are fewer by then. No answer has the flag. A dump that is filtered to
#       one port (idiag_sport) fits into one datagram, and is whole. Seen best with SO_REUSEPORT, whose
#       sockets share a bucket; two ports of one bucket do the same to each other.
# Versions: Linux 6.18.44
# Date: 2026-11-29
set -u
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
command -v python3 >/dev/null || skip "needs python3"
unshare -n true 2>/dev/null || skip "no network namespace can be made"
uname -sr
work=$(mktemp)
trap 'rm -f "$work"' EXIT
cat <<'END' >"$work"
import os, signal, socket, struct, subprocess, time
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
def listen():
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind(("127.0.0.1", 7000))
    one.listen(1)
    return one
def dump():
    """Numbers of all that listen, and all flags."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as link:
        link.settimeout(5)
        sockid = bytes(36) + struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
        body = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 1 << 10) + sockid
        link.send(struct.pack("=IHHII", 16 + len(body), 20, 0x301, 1, 0) + body)
        found, all_flags = set(), 0
        while True:
            answer, at = link.recv(32768), 0
            while at < len(answer):
                length, kind, flags = struct.unpack_from("=IHH", answer, at)
                all_flags |= flags
                if kind == 3:
                    return found, all_flags
                found.add(struct.unpack_from("=I", answer, at + 16 + 4 + 48 + 16)[0])
                at += (length + 3) & ~3
stay = [listen() for _ in range(200)]
numbers = {os.fstat(one.fileno()).st_ino for one in stay}
assert numbers <= dump()[0], "alone, they are all there"
parent = os.getpid()
child = os.fork()
while not child and os.getppid() == parent:
    for one in [listen() for _ in range(100)]:
        one.close()
if not child:
    os._exit(0)
torn = marked = looks = 0
end = time.time() + 20
while time.time() < end and torn < 5:
    found, flags = dump()
    looks += 1
    torn += not numbers <= found
    marked += bool(flags & 0x10)
os.kill(child, signal.SIGKILL)
print("left out:", torn > 0, "marked:", marked > 0)
END
seen=$(timeout 60 unshare -n python3 "$work") || skip "python3 or ip failed"
echo "$seen"
[ "$seen" = "left out: True marked: False" ] || changed "$seen"
