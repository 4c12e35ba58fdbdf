#!/bin/sh
# Expected: the old request of sock_diag (TCPDIAG_GETSOCK, type 18) with the family AF_INET is answered
#       with sockets of IPv4, as the new one (SOCK_DIAG_BY_FAMILY) is.
# Seen: it is answered with those of both families, whatever family is asked for, also one that does not
#       exist: the kernel's way for old programs puts AF_UNSPEC in its place. Who counts what is
#       answered to a question for each family counts every socket twice.
# Versions: Linux 6.18.44
# Date: 2026-11-29
set -u
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
command -v python3 >/dev/null || skip "needs python3"
seen=$(python3 - <<'EOF'
import socket, struct, sys

def listeners(kind, family):
    """Families of the sockets that listen, by one request of this type."""
    state = 1 << 10
    if kind == 20:
        body = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, state) + bytes(48)
    else:
        body = struct.pack("=BBBB", family, 0, 0, 0) + bytes(48) + struct.pack("=II", state, 0)
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
    link.send(struct.pack("=IHHII", 16 + len(body), kind, 0x301, 1, 0) + body)
    found = set()
    while True:
        answer, at = link.recv(65536), 0
        while at < len(answer):
            length, type_ = struct.unpack_from("=IH", answer, at)
            if type_ == 3:
                return sorted(found)
            if type_ == 2:
                return "error"
            found.add({socket.AF_INET: 4, socket.AF_INET6: 6}[answer[at + 16]])
            at += (length + 3) & ~3

try:
    held = [socket.create_server(("127.0.0.1", 0)),
            socket.create_server(("::1", 0), family=socket.AF_INET6)]
    print("new", listeners(20, socket.AF_INET), "old", listeners(18, socket.AF_INET),
          "of no family", listeners(18, 77))
except OSError as error:
    print("cannot", error)
EOF
)
echo "$seen"
case $seen in
    cannot* | "") skip "$seen" ;;
    'new [4] old [4, 6] of no family [4, 6]') ;;
    *) changed "$seen" ;;
esac
