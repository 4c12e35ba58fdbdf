#!/bin/sh
# Expected: net.unix.max_dgram_qlen (10) bounds how many datagrams wait in any AF_UNIX datagram
#           socket; and where poll says that a socket is not writable, not one more fits.
# Seen: the two ends of a socketpair are not bound by it, SOCK_DGRAM or SOCK_SEQPACKET: about 90
#       packets of 1,420 bytes wait, as many as SO_SNDBUF pays for. The bound is for a receiver that
#       is not connected back: there it is 11. And after one of them is read poll still says "not
#       writable", though the next send succeeds: it wants three quarters of the buffer free. Who puts
#       a pair in the place of a TUN device must not take "not writable" for "down".
# Versions: Linux 6.18.44
# Date: 2026-11-29
set -u
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
unshare -n true 2>/dev/null || skip "no network namespace can be made"
command -v python3 >/dev/null || skip "needs python3"
uname -sr
seen=$(unshare -n python3 - <<'END'
import select, socket
qlen = int(open("/proc/sys/net/unix/max_dgram_qlen").read())
def fill(sender):
    sender.setblocking(False)
    count = 0
    try:
        while True:
            sender.send(bytes(1420))
            count += 1
    except BlockingIOError:
        return count
def after_one(sender, receiver):
    receiver.recv(2000)
    look = select.poll()
    look.register(sender, select.POLLOUT)
    ready = bool(look.poll(0))
    try:
        sender.send(bytes(1420))
        return f"poll says {ready}, send works"
    except BlockingIOError:
        return f"poll says {ready}, send fails"
print(f"max_dgram_qlen {qlen};")
for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    count = fill(one)
    print(f"{kind.name} pair: {'more' if count > 4 * qlen else count}, {after_one(one, other)};")
bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
bound.bind("\0hopbox-findings-receiver")
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.connect("\0hopbox-findings-receiver")
print(f"not connected back: {fill(sender) - qlen} more than qlen")
END
) || skip "python3 failed"
seen=$(echo "$seen" | paste -s -d ' ')
echo "$seen"
want='max_dgram_qlen 10; SOCK_DGRAM pair: more, poll says False, send works; SOCK_SEQPACKET pair: more, poll says False, send works; not connected back: 1 more than qlen'
[ "$seen" = "$want" ] || changed "$seen"
