#!/bin/sh
# Expected: an endpoint `[fe80::2%eth0]:51820` is shown as it was set, so that `wg showconf` is a
#           configuration that works again.
# Seen: it is taken with its scope and shown without. `wg setconf` of one's own `wg showconf` is exit 0,
#       and nothing says any more by which link the peer is reached.
# Versions: wireguard-go 0.0.20220316 (Debian 0.0.20220316-1+b4), wireguard-tools 1.0.20210914
#           (Debian 1.0.20210914-1+b1); wireguard-go 0.0.20260522 shows the scope
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
unshare -nm true 2>/dev/null || skip "no namespace can be made"
command -v ip >/dev/null || skip "needs ip"
get wireguard-tools=1.0.20210914-1+b1 wireguard-go=0.0.20220316-1+b4
PATH=$work/root/usr/bin:$PATH
wg --version || skip "not this machine's kind of program"
wireguard-go --version | head -n 1
cat >"$work/inside" <<'END'
mount -t tmpfs run /run && mkdir -p /var/run/wireguard || exit
ip link add near type veth peer name far && ip link set near up && ip link set far up || exit
wireguard-go -f wgf0 >/dev/null 2>&1 & device=$!
trap 'kill $device' EXIT
for _ in 1 2 3 4 5 6 7 8 9 10; do wg show wgf0 >/dev/null 2>&1 && break; sleep 0.3; done
ip link set wgf0 up
wg genkey >key
peer=$(wg genkey | wg pubkey)
wg set wgf0 private-key key peer "$peer" allowed-ips 192.0.2.0/28 endpoint '[fe80::2%near]:7' && echo set
wg show wgf0 endpoints | cut -f 2
wg showconf wgf0 >shown && wg setconf wgf0 shown && wg show wgf0 endpoints | cut -f 2
END
cd "$work" || exit 77
seen=$(unshare -nm sh inside 2>error | paste -s -d ' ')
[ -n "$seen" ] || skip "it does not start here: $(tail -n 1 error)"
echo "[fe80::2%near]:7 is $seen"
[ "$seen" = 'set [fe80::2]:7 [fe80::2]:7' ] || changed "$seen"
