#!/bin/sh
# Expected: the port that pasta forwards to a program in a namespace is pasta's, and free once pasta ends.
# Seen: the socket that listens is open in the program as well (its descriptor is not closed over execve):
#       while both live the port seems to be the program's, and once pasta has ended the kernel goes on
#       taking connections to it, which nobody accepts and nothing answers, for as long as the program
#       or what it started lives.
# Versions: passt 0.0~git20230309.7c7625d-1 (Debian 12), Linux 6.18
# Date: 2026-11-30
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
[ "$(id -u)" = 0 ] && unshare -mn true 2>/dev/null || skip "no namespaces can be made"
for need in ss setpriv python3; do command -v $need >/dev/null || skip "needs $need"; done
chmod 755 "$work" && cd "$work" || exit 77
(apt-get -q download passt=0.0~git20230309.7c7625d-1 && dpkg -x passt_*.deb root) >get.log 2>&1 ||
    skip "$(tail -n 1 get.log)"
cat >inside <<'END'
# A device that users may open.
mount -t tmpfs tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 && ip link set lo up &&
    ip link add v0 type veth peer name v1 && ip addr add 192.0.2.2/24 dev v0 && ip link set v0 up &&
    ip link set v1 up && ip route add default via 192.0.2.1 || exit 77
pasta=$PWD/root/usr/bin/pasta
cd /
setpriv --reuid=4321 --regid=4321 --clear-groups \
    "$pasta" -q -f -t 18080 -u none -T none -U none -- sleep 30 2>/dev/null &
pasta=$!
port() { ss -Hltnp sport = 18080 | grep -o '"[a-z]*' | tr -d '"' | sed 's/passt/pasta/; /^$/d' | sort | tr '\n' ' '; }
n=50; until [ -n "$(port)" ] && pgrep -x sleep >/dev/null || [ $n = 0 ]; do n=$((n - 1)); sleep 0.1; done
sleep 0.5
echo "listens: $(port)"
kill $pasta
wait $pasta 2>/dev/null
echo "pasta has ended; listens: $(port)"
python3 - <<'PY'
import socket
peer = socket.create_connection(("127.0.0.1", 18080), 2)
peer.settimeout(2)
try:
    print("connected; read", peer.recv(1))
except TimeoutError:
    print("connected; nothing in 2 s")
PY
END
unshare -mn --pid --fork --kill-child --mount-proc sh inside >seen || skip "the kernel, or its tools, lack something"
cat seen
printf '%s\n' 'listens: pasta sleep ' 'pasta has ended; listens: sleep ' 'connected; nothing in 2 s' |
    cmp -s - seen || changed "see above"
