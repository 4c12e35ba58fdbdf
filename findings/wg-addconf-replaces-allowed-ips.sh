#!/bin/sh
# Expected: `wg addconf` appends: a section for a peer that is there already changes what it names and
#           leaves the rest; two sections of one file with the same key are together that peer.
# Seen: each [Peer] section replaces the peer's AllowedIPs, by nothing where it names none, while
#       Endpoint and PersistentKeepalive of an earlier one stay. `addconf` of a section with a keepalive
#       alone cuts the peer off; of two sections in one setconf only the last one's AllowedIPs count.
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
peer=$(wg genkey | wg pubkey)
printf '[Interface]\nPrivateKey = %s\n' "$(wg genkey)" >c
for net in 192.0.2.0/28 192.0.2.16/28; do printf '[Peer]\nPublicKey = %s\nAllowedIPs = %s\n' "$peer" $net; done >>c
sed -i '0,/^AllowedIPs/s//Endpoint = 192.0.2.1:7\n&/' c
printf '[Peer]\nPublicKey = %s\nPersistentKeepalive = 5\n' "$peer" >more
state() { wg show "$name" "$1" | cut -f 2; }
wg setconf "$name" c || exit 70
state allowed-ips; state endpoints
wg addconf "$name" more; echo $?
state allowed-ips; state endpoints; state persistent-keepalive
END
cd "$work" || exit 77
seen=$(unshare -n sh inside | paste -s -d ' ')
[ -n "$seen" ] || skip "wireguard-go does not start here"
echo "setconf of two sections, then addconf (its exit, allowed ips, endpoint, keepalive): $seen"
[ "$seen" = '192.0.2.16/28 192.0.2.1:7 0 (none) 192.0.2.1:7 5' ] || changed "$seen"
