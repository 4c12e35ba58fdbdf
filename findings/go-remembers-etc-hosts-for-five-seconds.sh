#!/bin/sh
# Expected: a program of Go that resolves names itself (netdns=go, or built without cgo) reads /etc/hosts
#           for each look-up, as glibc does: a name that was just written is found.
# Seen: once it has looked, it does not look at the file for five seconds, whatever name is asked for:
#       new names are unknown, an old one has its old address. After that it reads the file again
#       only where its time or its length has changed: of two addresses of one length, written by what
#       keeps the time (cp -p, rsync -a, a restore), it has the former one for ever. A dot behind the
#       name, with which glibc finds none in the file, is taken off.
# Versions: Go 1.19.8 (rclone 1.60.1, Debian 1.60.1+dfsg-2+b5)
# Date: 2026-12-01
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
[ "$(id -u)" = 0 ] && unshare -nm true || skip "needs root, for namespaces"
# Unpacks Debian packages of exactly these versions into the temporary folder; installs nothing.
get() {
    (cd "$work" && apt-get -q download "$@" && for deb in *.deb; do dpkg -x "$deb" root; done) \
        >"$work/get.log" 2>&1 || skip "no package $*: $(tail -n 1 "$work/get.log")"
}

get rclone=1.60.1+dfsg-2+b5
cd "$work" || exit 77
rclone="$work/root/usr/bin/rclone"
"$rclone" version | grep go/version || skip "not this machine's kind of program"
cat >act.sh <<'END'
ip link set lo up
mkdir etc && cp -a /etc/. etc && mount --bind etc /etc
echo 'hosts: files' >/etc/nsswitch.conf
: >/etc/resolv.conf
put() { printf '%s\n' '127.0.0.1 localhost' "$@" >/etc/hosts.new; mv /etc/hosts.new /etc/hosts; }
put '127.0.0.5 box.test'
export GODEBUG=netdns=go HOME="$PWD"
"$rclone" rcd --rc-no-auth --rc-addr 127.0.0.1:5572 --retries 1 --low-level-retries 1 >daemon.log 2>&1 & daemon=$!
for _ in $(seq 50); do ss -Htln | grep -q :5572 && break; sleep 0.1; done
# The address to which it means to connect.
ask() {
    told=$("$rclone" rc --url http://127.0.0.1:5572/ operations/list fs=":http,url='http://$2:9/':" remote= 2>&1)
    address=$(printf '%s' "$told" | sed -n 's/.*dial tcp \([0-9.]*\):9.*/\1/p' | head -n 1)
    echo "$1 $2: ${address:-unknown}"
}
ask begun box.test
put '127.0.0.6 box.test' '127.0.0.7 new.test'
ask written box.test; ask written new.test
sleep 5.5
ask later box.test; ask later new.test; ask later new.test.
cp -p /etc/hosts before
put '127.0.0.8 box.test' '127.0.0.9 new.test'; touch -r before /etc/hosts
sleep 5.5
ask 'of the same time and length' box.test
touch /etc/hosts
sleep 5.5
ask 'touched' box.test
kill $daemon
exit 0
END
rclone="$rclone" unshare -nm --propagation private sh act.sh >seen 2>log || skip "it does not run here: $(tail -n 1 log)"
cat seen
cat >want <<'END'
begun box.test: 127.0.0.5
written box.test: 127.0.0.5
written new.test: unknown
later box.test: 127.0.0.6
later new.test: 127.0.0.7
later new.test.: 127.0.0.7
of the same time and length box.test: 127.0.0.6
touched box.test: 127.0.0.8
END
cmp -s seen want || changed "$(diff want seen)"
