#!/bin/sh
# Expected: `ip -j route` gives each route's destination as "dst".
# Seen: for a route with `encap ip` the same object has "dst" twice, the second being the far end of
#       the encapsulation. Parsers that keep the last (most) see another route.
# Versions: iproute2 6.1.0 (Debian 6.1.0-3); 7.3.0 puts the encapsulation into an object of its own
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
command -v python3 >/dev/null || skip "needs python3 to read JSON"
get iproute2=6.1.0-3
PATH=$work/root/bin:$work/root/usr/bin:$PATH
ip -V || skip "not this machine's kind of program"
cat >"$work/inside" <<'END'
ip tuntap add t0 mode tun && ip addr add 192.0.2.1/28 dev t0 && ip link set t0 up || exit
ip route add 198.51.100.0/24 dev t0 encap ip id 5 dst 192.0.2.2 || exit
ip -j route show 198.51.100.0/24
END
seen=$(unshare -n sh "$work/inside" 2>"$work/error")
[ -n "$seen" ] || skip "this kernel has no such route: $(head -n 1 "$work/error")"
echo "$seen"
last=$(echo "$seen" | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["dst"])')
echo "destination for a parser: $last; it is 198.51.100.0/24"
[ "$(echo "$seen" | grep -o '"dst"' | wc -l)" = 2 ] || changed "dst is there once"
[ "$last" = 192.0.2.2 ] || changed "dst is $last"
