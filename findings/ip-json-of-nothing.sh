#!/bin/sh
# Expected: with -j ip(8) and tc(8) write JSON: an array, empty where nothing is found.
# Seen: that depends on what is asked. `ip -j link show type wireguard` has an empty object for each
#       device that is of another type: [{},{}], so that a program that counts finds two. Of a
#       routing table that nobody has used there comes "[" and no end, exit 2, and X# Versions: iproute2 6.1.0 (Debian 6.1.0-3)
# Date: 2026-12-01
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

get iproute2=6.1.0-3 libbpf1=1:1.1.2-0+deb12u1
unshare -n true 2>/dev/null || skip "no network namespace can be made"
cd "$work" || exit 77
export LD_LIBRARY_PATH="$work/root/usr/lib/x86_64-linux-gnu" PATH="$work/root/sbin:$work/root/bin:$PATH"
ip -V || skip "not this machine's kind of program"
cat >act.sh <<'END'
ip link set lo up
ip tuntap add tun0 mode tun
told() {
    out=$("$@" 2>>log); status=$?
    echo "$*: exit $status, $(printf '%s' "$out" | tr -d '\n ' | cut -c 1-20)"
}
told ip -j link show type wireguard
told ip -j addr show to 192.168.0.0/16
told ip -j route show table 99
told ip -j route show 192.168.0.0/16
told ip -j link show dev nobody
told tc -j class show dev lo
told tc -j filter show dev lo
END
unshare -n sh act.sh >seen 2>log || skip "it cannot be asked: $(tail -n 1 log)"
cat seen
cat >want <<'END'
ip -j link show type wireguard: exit 0, [{},{}]
ip -j addr show to 192.168.0.0/16: exit 0, []
ip -j route show table 99: exit 2, [
ip -j route show 192.168.0.0/16: exit 0, []
ip -j link show dev nobody: exit 1, 
tc -j class show dev lo: exit 0, 
tc -j filter show dev lo: exit 0, []
END
cmp -s seen want || changed "$(diff want seen)"
