#!/bin/sh
# Expected: shutdown() of a socket that listens is refused (ENOTCONN, as POSIX says of what is not
#           connected) or ends it; and a port that cannot be bound has a listener that ss(8) and
#           /proc/net/tcp name.
# Seen: it succeeds, and connections are refused at once, but the port stays bound: others get
#       "Address already in use", while ss -l, ss -a and /proc/net/tcp have no line of it at all.
#       listen() on the same socket makes it a listener again. That is a port held without being
#       answered, and an error whose cause no tool shows. (Where the kernel had chosen the number,
#       bind() to port 0, shutdown() gives it back.)
# Versions: Linux 6.18.44, iproute2 6.1.0 (Debian 12)
# Date: 2026-11-29
set -u
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
command -v python3 >/dev/null && command -v ss >/dev/null || skip "needs python3 and ss"
unshare -n true 2>/dev/null || skip "no network namespace can be made"
uname -sr
seen=$(timeout 60 unshare -n python3 - <<'END'
import errno, socket, subprocess
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
port = 7001
def told(act):
    try:
        act()
        return "yes"
    except OSError as error:
        return errno.errorcode[error.errno]
def bind():
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
def connect():
    socket.create_connection(("127.0.0.1", port), 5).close()
def shown():
    lines = subprocess.run(["ss", "-Htan", f"sport = {port}"], capture_output=True, text=True, check=True)
    table = [line for line in open("/proc/net/tcp") if line.split()[1].endswith(f":{port:04X}")]
    return sum("LISTEN" in line for line in lines.stdout.splitlines()), sum(line.split()[3] in "0A 07" for line in table)
held = socket.socket()
held.bind(("127.0.0.1", port))
held.listen()
print("listening: shown", *shown(), end="; ")
print("shutdown:", told(lambda: held.shutdown(socket.SHUT_RD)), end="; ")
print("connect:", told(connect), "bind:", told(bind), "shown", *shown(), end="; ")
print("listen:", told(held.listen), "connect:", told(connect))
END
) || skip "python3 or ss failed"
echo "$seen"
want='listening: shown 1 1; shutdown: yes; connect: ECONNREFUSED bind: EADDRINUSE shown 0 0; listen: yes connect: yes'
[ "$seen" = "$want" ] || changed "$seen"
