#!/bin/sh
# Expected: a change of disable_ipv6 or accept_redirects of a device is told to who listens on
#           netlink (RTNLGRP_*_NETCONF), as a change of rp_filter and of forwarding is.
# Seen: `ip monitor all` tells rp_filter and IPv6 forwarding, and nothing for disable_ipv6 1 and 0
#       (a device without carrier), accept_redirects, accept_ra. Who guards them has to look again.
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
[ -d /proc/sys/net/ipv6/conf ] || skip "this kernel has no IPv6"
get iproute2=6.1.0-3
PATH=$work/root/sbin:$work/root/bin:$PATH
uname -sr
ip -V || skip "not this machine's kind of program"
cat >"$work/inside" <<'END'
ip tuntap add t0 mode tun && ip link set t0 up || exit
: >said
ip monitor all >>said 2>/dev/null & monitor=$!
trap 'kill $monitor' EXIT
v4=/proc/sys/net/ipv4/conf/t0 v6=/proc/sys/net/ipv6/conf/t0
try() {
    before=$(wc -l <said); echo "$2" >"$1" || exit; sleep 0.7
    echo "${1##*/}=$2:$(($(wc -l <said) > before))"
}
# Until the listener listens.
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -s said ] && break; sleep 0.5; ip link set t0 alias a; done
sleep 1
try $v4/rp_filter 2; try $v6/disable_ipv6 1; try $v6/disable_ipv6 0; try $v4/accept_redirects 1
try $v6/accept_ra 0; try $v6/forwarding 1
END
cd "$work" || exit 77
seen=$(unshare -n sh inside 2>error | paste -s -d ' ')
[ -n "$seen" ] || skip "$(tail -n 1 error)"
echo "change:told? $seen"
want='rp_filter=2:1 disable_ipv6=1:0 disable_ipv6=0:0 accept_redirects=1:0 accept_ra=0:0 forwarding=1:1'
[ "$seen" = "$want" ] || changed "$seen"
