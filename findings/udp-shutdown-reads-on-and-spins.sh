#!/bin/sh
# Expected: shutdown(SHUT_RD) of a connected UDP socket is the end of reading, as for TCP: read() says
#           0 from then on, and what comes is dropped; or it is refused, as it is for one that is not
#           connected (ENOTCONN). connect() anew makes a new start of SHUT_WR, too.
# Seen: what comes later is read as ever. While nothing is there, poll() says "readable" without end
#       and a socket that does not block says EAGAIN: an event loop takes a whole processor. Only a
#       read that blocks says 0. SHUT_WR (EPIPE) stays for the life of the socket, also for sendto(), whatever
#       it is connected to afterwards.
# Versions: Linux 6.18.44, Python 3.11
# Date: 2026-12-01
set -u
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
command -v python3 >/dev/null || skip "needs python3"
unshare -n true 2>/dev/null || skip "no network namespace can be made"
uname -sr
seen=$(timeout 60 unshare -n python3 - <<'END'
import errno, select, signal, socket, subprocess
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
def told(act):
    try:
        return act()
    except OSError as error:
        return errno.errorcode[error.errno]
def made():
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.bind(("127.0.0.1", 0))
    return one
def readable(one):
    poll = select.poll()
    poll.register(one, select.POLLIN)
    return sum(bool(poll.poll(0)) for _ in range(1000))
other, closed, fresh = made(), made(), made()
for one in (closed, fresh):
    one.connect(other.getsockname())
    one.setblocking(False)
print("open: poll", readable(closed), "of 1000, read", told(lambda: closed.recv(9)))
closed.shutdown(socket.SHUT_RD)
print("shut: poll", readable(closed), "of 1000, read", told(lambda: closed.recv(9)))
closed.setblocking(True)
signal.alarm(20)
print("shut, blocking: read", told(lambda: closed.recv(9)))
other.sendto(b"late", closed.getsockname())
print("shut, and something comes: read", told(lambda: closed.recv(9)))
fresh.shutdown(socket.SHUT_WR)
print("shut to write:", told(lambda: fresh.send(b"x")), told(lambda: fresh.sendto(b"x", other.getsockname())))
fresh.connect(other.getsockname())
print("connected anew:", told(lambda: fresh.send(b"x")))
END
) || skip "python3 or ip failed"
echo "$seen"
[ "$seen" = "open: poll 0 of 1000, read EAGAIN
shut: poll 1000 of 1000, read EAGAIN
shut, blocking: read b''
shut, and something comes: read b'late'
shut to write: EPIPE EPIPE
connected anew: EPIPE" ] || changed "see above"
