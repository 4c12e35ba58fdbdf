#!/bin/sh
# Expected: `preferred_lft 0` takes an address out of the choice of the source for new connections, for
#           IPv4 as for IPv6: both show it as "deprecated".
# Seen: for IPv4 the mark is decoration. Of two addresses on the interface the deprecated one is the
#       source of a connection without its own; for IPv6 the other one is.
# Versions: Linux 6.18.44; iproute2 6.1.0 (Debian 6.1.0-3)
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
get iproute2=6.1.0-3
PATH=$work/root/sbin:$work/root/bin:$PATH
uname -sr
ip -V || skip "not this machine's kind of program"
cat >"$work/inside" <<'END'
set -e
ip tuntap add t0 mode tun
ip link set t0 up
ip addr add 192.0.2.1/28 preferred_lft 0 dev t0
ip addr add 192.0.2.17/28 dev t0
ip addr add 2001:db8:1::1/64 preferred_lft 0 dev t0 nodad
ip addr add 2001:db8:2::1/64 dev t0 nodad
ip route add 198.51.100.0/24 dev t0
ip route add 2001:db8:9::/64 dev t0
ip addr show dev t0 deprecated | grep -c ' deprecated'
for far in 198.51.100.1 2001:db8:9::1; do ip route get "$far" | sed -n 's/.* src \([^ ]*\).*/\1/p'; done
END
seen=$(unshare -n sh "$work/inside" 2>"$work/error" | paste -s -d ' ')
[ -n "$seen" ] || skip "$(tail -n 1 "$work/error")"
echo "deprecated addresses, IPv4 source, IPv6 source: $seen"
[ "$seen" = '2 192.0.2.1 2001:db8:2::1' ] || changed "$seen"
