#!/bin/sh
# Expected: connect() of a UDP socket to AF_UNSPEC takes the peer away and leaves what bind() gave: the
#           address and the port.
# Seen: so it is with a port that bind() named. One that the kernel chose for bind() to port 0 is given
#       back: the socket has port 0, hears nothing any more, without an error, and the next
#       send picks another port, so that answers to the first go nowhere. The address stays. Who
#       disconnects such a socket has to bind it anew, to the number that it had.
# Versions: Linux 6.18.44, Python 3.11
# Date: 2026-12-01
set -u
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
command -v python3 >/dev/null || skip "needs python3"
unshare -n true 2>/dev/null || skip "no network namespace can be made"
uname -sr
seen=$(timeout 60 unshare -n python3 - <<'END'
import ctypes, errno, os, socket, struct, subprocess
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
libc = ctypes.CDLL(None, use_errno=True)
def made(port):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", port))
    one.settimeout(1)
    return one
def heard(one):
    try:
        return one.recv(9)
    except TimeoutError:
        return "nothing"
other = made(0)
for words, port in (("named", 5555), ("chosen", 0)):
    one = made(port)
    before = one.getsockname()[1]
    one.connect(other.getsockname())
    if libc.connect(one.fileno(), struct.pack("=H14x", socket.AF_UNSPEC), 16) != 0:
        raise OSError(ctypes.get_errno())
    name, at = one.getsockname()
    other.sendto(b"answer", ("127.0.0.1", before))
    print(f"{words}: address {name}, the port is", {before: "the same", 0: 0}.get(at, "another"), end=", ")
    print("hears", heard(one), end=", ")
    one.sendto(b"x", other.getsockname())
    print("sends from", "the same" if one.getsockname()[1] == before else "another")
END
) || skip "python3 or ip failed"
echo "$seen"
[ "$seen" = "named: address 127.0.0.1, the port is the same, hears b'answer', sends from the same
chosen: address 127.0.0.1, the port is 0, hears nothing, sends from another" ] || changed "see above"
