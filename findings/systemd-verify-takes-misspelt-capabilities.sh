#!/bin/sh
# Expected: `systemd-analyze verify` names a capability that does not exist, as it names a system call,
#           an address family or a device node that does not.
# Seen: not a word and exit 0. `CapabilityBoundingSet=~CAP_SYS_ADMINN` takes nothing away, and
#       `CAP_NET_ADMIN CAP_NET_RAWW` leaves the service without the second.
# Versions: systemd 252 (Debian 252.39-1~deb12u2)
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

get systemd=252.39-1~deb12u2 libsystemd-shared=252.39-1~deb12u2
export LD_LIBRARY_PATH="$work/root/usr/lib/x86_64-linux-gnu/systemd:$work/root/lib/x86_64-linux-gnu/systemd"
analyze=$(find "$work/root" -name systemd-analyze -path '*bin*')
"$analyze" --version | head -n 1
"$analyze" --version >/dev/null 2>&1 || skip "this machine lacks libraries of systemd-analyze"
cd "$work" || exit 77
verify() {
    printf '[Service]\nExecStart=/bin/true\n%s\n' "$1" >x.service
    "$analyze" verify --man=no ./x.service >said 2>&1; echo "exit $?, $(grep -c 'x.service:3' said) words"
}
allowed() { "$analyze" security --offline=yes ./x.service 2>/dev/null | grep "$1" | cut -c 1-3 | tr -d ' '; }
call=$(verify 'SystemCallFilter=~no_such_call')
[ "$call" = 'exit 0, 1 words' ] || skip "verify does not work here: $call"
without=$(verify 'CapabilityBoundingSet=~CAP_SYS_ADMIN')
want=$(allowed CapabilityBoundingSet=~CAP_SYS_ADMIN)
slip=$(verify 'CapabilityBoundingSet=~CAP_SYS_ADMINN')
got=$(allowed CapabilityBoundingSet=~CAP_SYS_ADMIN)
two=$(verify 'CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAWW')
printf '~no_such_call: %s\n~CAP_SYS_ADMIN: %s (%s)\n' "$call" "$without" "$want"
printf '~CAP_SYS_ADMINN: %s (%s)\nCAP_NET_RAWW: %s\n' "$slip" "$got" "$two"
[ "$slip" = 'exit 0, 0 words' ] && [ "$two" = 'exit 0, 0 words' ] || changed "verify says something"
[ "$want" != "$got" ] || changed "the slip has the same result as the word"
