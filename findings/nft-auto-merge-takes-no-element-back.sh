#!/bin/sh
# Expected: in a set with auto-merge what was added can be deleted again: the range as it was given, or
#           the part of it that nobody else has added.
# Seen: once two ranges overlap or touch, neither of them can be deleted, nor any part of the result:
#       "element does not exist", also within the file that has just added them. What two programs put
#       into one set can be taken back only as the union, which neither of them knows, or by a flush.
#       Without auto-merge the second range is refused, and the first can be deleted.
# Versions: nftables 1.0.6 (Debian 1.0.6-2+deb12u2), Linux 6.18
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

[ "$(id -u)" = 0 ] && unshare -n true 2>/dev/null || skip "no network namespace can be made"
get nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 libnftnl11=1.2.4-2
export LD_LIBRARY_PATH="$work/root/usr/lib/x86_64-linux-gnu"
PATH=$work/root/usr/sbin:$PATH
nft --version || skip "this machine lacks libraries of nft"
cat >"$work/inside" <<'END'
nft add table ip t || exit 77
for merge in auto-merge\; ""; do
    nft "add set ip t s { type ipv4_addr; flags interval; $merge }" || exit 77
    echo "${merge:-without}"
    for range in 10.0.0.0-10.0.0.20 10.0.0.10-10.0.0.30; do
        nft add element ip t s "{ $range }" 2>/dev/null; echo "add $range: $?"
    done
    for range in 10.0.0.10-10.0.0.30 10.0.0.0-10.0.0.20 10.0.0.25; do
        nft delete element ip t s "{ $range }" 2>/dev/null; echo "delete $range: $?"
    done
    nft list set ip t s | grep elements
    nft delete set ip t s
done
END
unshare -n sh "$work/inside" >"$work/told" || skip "the kernel has no nf_tables"
cat "$work/told"
printf '%s\n' 'auto-merge;' 'add 10.0.0.0-10.0.0.20: 0' 'add 10.0.0.10-10.0.0.30: 0' \
    'delete 10.0.0.10-10.0.0.30: 1' 'delete 10.0.0.0-10.0.0.20: 1' 'delete 10.0.0.25: 1' \
    '		elements = { 10.0.0.0-10.0.0.30 }' without 'add 10.0.0.0-10.0.0.20: 0' \
    'add 10.0.0.10-10.0.0.30: 1' 'delete 10.0.0.10-10.0.0.30: 1' 'delete 10.0.0.0-10.0.0.20: 0' \
    'delete 10.0.0.25: 1' | cmp -s - "$work/told" || changed "see above"
