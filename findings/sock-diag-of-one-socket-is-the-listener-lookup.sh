#!/bin/sh
# Expected: sock_diag(7) asked for one socket (no NLM_F_DUMP) finds the socket whose four numbers are
#           given, and nothing else: with the port of the other side 0, none.
# Seen: it goes the way of a first packet. With 0 there it answers with who would be given a
#       connection to that address: the socket at the very address before the one at 0.0.0.0, and,
#       asked for IPv4, also one at [::] that takes both; ENOENT where nobody would. The mask of
#       states is not looked at. One question in place of a table of all sockets, without privileges.
# Versions: Linux 6.18.44
# Date: 2026-11-29
set -u
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
command -v python3 >/dev/null || skip "needs python3"
unshare -n true 2>/dev/null || skip "no network namespace can be made"
uname -sr
cat <<'END' >"${work:=$(mktemp)}"
import errno, os, socket, struct, subprocess
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
def who(address, port, states):
    # struct inet_diag_sockid: own port and address are the listener's, the others are zero.
    sockid = struct.pack("!HH", port, 0) + socket.inet_aton(address) + bytes(12) + bytes(16)
    sockid += struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
    body = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_TCP, 0, 0, states) + sockid
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as link:
        link.settimeout(5)
        link.send(struct.pack("=IHHII", 16 + len(body), 20, 1, 1, 0) + body)
        answer = link.recv(8192)
    kind, = struct.unpack_from("=H", answer, 4)
    if kind == 2:
        return errno.errorcode[-struct.unpack_from("=i", answer, 16)[0]]
    return struct.unpack_from("=I", answer, 16 + 4 + 48 + 16)[0]
def listener(family, address, port):
    one = socket.socket(family)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind((address, port))
    one.listen()
    return one, os.fstat(one.fileno()).st_ino
LISTEN, ESTABLISHED = 1 << 10, 1 << 1
print("nobody:", who("127.0.0.1", 7001, LISTEN), end="; ")
wide, wide_ino = listener(socket.AF_INET, "0.0.0.0", 7002)
print("wildcard:", who("127.0.0.1", 7002, LISTEN) == wide_ino, end=" ")
print("whatever states:", who("127.0.0.1", 7002, ESTABLISHED) == wide_ino, end="; ")
both, both_ino = listener(socket.AF_INET6, "::", 7003)
print("[::] for IPv4:", who("127.0.0.1", 7003, LISTEN) == both_ino, end="; ")
wide.close()
near, near_ino = listener(socket.AF_INET, "127.0.0.1", 7002)
print("own address:", who("127.0.0.1", 7002, LISTEN) == near_ino, "other:", who("127.0.0.2", 7002, LISTEN))
END
trap 'rm -f "$work"' EXIT
seen=$(timeout 60 unshare -n python3 "$work") || skip "python3 or ip failed"
echo "$seen"
want='nobody: ENOENT; wildcard: True whatever states: True; [::] for IPv4: True; own address: True other: ENOENT'
[ "$seen" = "$want" ] || changed "$seen"
