#!/bin/sh
# Expected: connect() to a port of 127.0.0.1 at which nobody listens is refused each time; where it
#           is not, because the kernel gave the socket that very port as its own, any port of
#           net.ipv4.ip_local_port_range is as likely.
# Seen: it happens to even ports alone, after some thousands of tries: connect() takes odd ports
#       only once the even ones are used up, and starts at an even one. The socket is connected to
#       itself, stays so, and reads back what it writes: a check of health by connecting sees a dead
#       service alive, and one that sends a byte and waits for one, too, if its port is even and in
#       the range. getsockname() == getpeername() tells.
# Versions: Linux 6.18.44
# Date: 2026-11-29
set -u
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
unshare -n true 2>/dev/null || skip "no network namespace can be made"
command -v python3 >/dev/null || skip "needs python3"
uname -sr
cat <<'END' >"${work:=$(mktemp)}"
import socket, subprocess
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
print("range", *open("/proc/sys/net/ipv4/ip_local_port_range").read().split(), end="; ")
def itself(port, tries):
    for _ in range(tries):
        with socket.socket() as one:
            try:
                one.connect(("127.0.0.1", port))
            except ConnectionRefusedError:
                continue
            one.send(b"x")
            same = one.getsockname() == one.getpeername()
            return f"itself {same}, echo {one.recv(1) == b'x'}"
    return "refused each time"
for port in (45000, 45001):
    print(f"{port}: {itself(port, 200_000)}", end="; ")
END
trap 'rm -f "$work"' EXIT
seen=$(timeout 300 unshare -n python3 "$work") || skip "python3 or ip failed"
echo "$seen"
want='range 32768 60999; 45000: itself True, echo True; 45001: refused each time; '
[ "$seen" = "$want" ] || changed "$seen"
