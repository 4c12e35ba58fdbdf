#!/bin/sh
# Expected: systemd-resolved answers from /etc/hosts as glibc's "files" does: what is in the file now,
#           for each name that is in it.
# Seen: what it read last counts for two seconds more: a name that was just written is unknown, one
#       that has another address is answered with the old one. A name with an underscore is left out
#       ("not valid"), the others of its line are taken. Of a name at 0.0.0.0 it says that it has no
#       address. So a program that asks 127.0.0.53 itself (a container, a resolver of its own) hears
#       other things than ping(8).
# Versions: systemd-resolved 252 (Debian 252.39-1~deb12u2), Python 3.11
# Date: 2026-12-01
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
[ "$(id -u)" = 0 ] && unshare -nm true || skip "needs root, for namespaces"
command -v python3 >/dev/null || skip "needs python3"
# Unpacks Debian packages of exactly these versions into the temporary folder; installs nothing.
get() {
    (cd "$work" && apt-get -q download "$@" && for deb in *.deb; do dpkg -x "$deb" root; done) \
        >"$work/get.log" 2>&1 || skip "no package $*: $(tail -n 1 "$work/get.log")"
}

get systemd-resolved=252.39-1~deb12u2 libsystemd-shared=252.39-1~deb12u2
cd "$work" || exit 77
chmod 755 .
export LD_LIBRARY_PATH="$work/root/usr/lib/x86_64-linux-gnu/systemd:$work/root/lib/x86_64-linux-gnu/systemd"
"$work/root/lib/systemd/systemd-resolved" --version | head -n 1 || skip "not this machine's kind of program"
cat >ask.py <<'END'
import socket, struct, sys
name = sys.argv[1]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
    one.settimeout(9)
    one.connect(("127.0.0.53", 53))
    words = b"".join(bytes([len(word)]) + word.encode() for word in name.split("."))
    one.send(struct.pack(">6H", 7, 0x100, 1, 0, 0, 0) + words + struct.pack(">BHH", 0, 1, 1))
    told = one.recv(999)
count = struct.unpack(">H", told[6:8])[0]
at = 12 + len(words) + 5
print(socket.inet_ntoa(told[at + 12 : at + 16]) if count else {0: "no address", 2: "unknown", 3: "unknown"}.get(told[3] & 15))
END
cat >act.sh <<'END'
ip link set lo up
mount -t tmpfs none /run && mkdir -p /run/systemd/resolve etc
cp -a /etc/. etc && mount --bind etc /etc
grep -q ^systemd-resolve: /etc/passwd || {
    echo 'systemd-resolve:x:990:990::/:/bin/false' >>/etc/passwd
    echo 'systemd-resolve:x:990:' >>/etc/group
}
chown systemd-resolve: /run/systemd/resolve
mkdir -p /etc/systemd; printf '[Resolve]\nLLMNR=no\nMulticastDNS=no\nDNSSEC=no\n' >/etc/systemd/resolved.conf
put() { printf '%s\n' '127.0.0.1 localhost' "$@" >/etc/hosts.new; mv /etc/hosts.new /etc/hosts; }
put '10.0.0.1 box.test'
root/lib/systemd/systemd-resolved >resolved.log 2>&1 & resolved=$!
for _ in $(seq 50); do ss -Hlun | grep -q 127.0.0.53 && break; sleep 0.1; done
ask() {
    now=$(python3 ask.py "$2") files=$(getent -s files ahostsv4 "$2" | head -n 1 | cut -d ' ' -f 1)
    echo "$1 $2: $now; files: ${files:-unknown}"
}
# For glibc, which looks at what addresses there are.
ip addr add 10.0.0.99/24 dev lo
ask begun box.test
put '10.0.0.2 box.test' '10.0.0.3 new.test'
ask written box.test; ask written new.test
sleep 2.5
ask later box.test; ask later new.test
put '10.0.0.4 my_db.test plain.test' '0.0.0.0 null.test'
sleep 2.5
for name in my_db plain null; do ask odd "$name.test"; done
kill $resolved
exit 0
END
unshare -nm --propagation private sh act.sh >seen 2>log || skip "it does not run here: $(tail -n 1 log)"
cat seen
cat >want <<'END'
begun box.test: 10.0.0.1; files: 10.0.0.1
written box.test: 10.0.0.1; files: 10.0.0.2
written new.test: unknown; files: 10.0.0.3
later box.test: 10.0.0.2; files: 10.0.0.2
later new.test: 10.0.0.3; files: 10.0.0.3
odd my_db.test: unknown; files: 10.0.0.4
odd plain.test: 10.0.0.4; files: 10.0.0.4
odd null.test: no address; files: 0.0.0.0
END
cmp -s seen want || changed "$(diff want seen)"
