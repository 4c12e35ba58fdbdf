#!/bin/sh
# Expected: making a device its own peer is an error (the key of the wrong end is a common slip), and a
#           new private key leaves the list of peers alone.
# Seen: `wg set IF peer OWN-KEY allowed-ips ...` is exit 0 without a word, and there is no such peer;
#       setting the private key whose public key a peer has deletes that peer, exit 0 as well.
# Versions: wireguard-tools 1.0.20210914 (Debian 1.0.20210914-1+b1), wireguard-go 0.0.20220316
#           (Debian 0.0.20220316-1+b4) as the device
# Date: 2026-11-29
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
# Unpacks Debian packages of exactly these versions into the temporary folder; installs nothing.
get() {
    (cd "$work" && apt-get -q download "$@" && for deb in *.deb; do dpkg -x "$deb" root; done) \
        >"$work/get.log" 2>&1 || skip "no package $*: $(tail -n 1 "$work/get.log")"
}

[ "$(id -u)" = 0 ] && [ -c /dev/net/tun ] || skip "needs root and /dev/net/tun"
unshare -n true 2>/dev/null || skip "no network namespace can be made"
get wireguard-tools=1.0.20210914-1+b1 wireguard-go=0.0.20220316-1+b4
PATH=$work/root/usr/bin:$PATH
wg --version || skip "not this machine's kind of program"
wireguard-go --version | head -n 1
cat >"$work/inside" <<'END'
name=wgf$$
wireguard-go -f "$name" >/dev/null 2>&1 & device=$!
trap 'kill $device' EXIT
for _ in 1 2 3 4 5 6 7 8 9 10; do wg show "$name" >/dev/null 2>&1 && break; sleep 0.3; done
umask 077
wg genkey >first; wg genkey >second
peers() { wg show "$name" peers | wc -l; }
wg set "$name" private-key first || exit 70
wg set "$name" peer "$(wg pubkey <first)" allowed-ips 192.0.2.0/28; echo $?; peers
wg set "$name" peer "$(wg pubkey <second)" allowed-ips 192.0.2.16/28; echo $?; peers
wg set "$name" private-key second; echo $?; peers
END
cd "$work" || exit 77
seen=$(unshare -n sh inside 2>&1 | paste -s -d ' ')
[ -n "$seen" ] || skip "wireguard-go does not start here"
echo "exit and number of peers: own key as a peer, another's, then that one's private key: $seen"
[ "$seen" = '0 0 0 1 0 0' ] || changed "$seen"
