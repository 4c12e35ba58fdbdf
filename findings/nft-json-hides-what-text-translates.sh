#!/bin/sh
# Expected: `nft -j list ruleset` says what `nft list ruleset` says, for programs: whoever has the JSON
#           of a rule knows what it matches.
# Seen: of a rule of iptables-nft the JSON has the name of a match and nothing else,
#       {"xt": {"type": "match", "name": "conntrack"}}: the same for RELATED,ESTABLISHED and for NEW, and
#       the same for every type of address. The text of the same nft has it translated, "ct state
#       related,established", "fib daddr type local". A program that judges ufw's rules has to take the
#       text, whose only link to the JSON is "# handle N" of -a.
# Versions: nftables 1.0.6 (Debian 1.0.6-2+deb12u2), iptables 1.8.9 (Debian 1.8.9-2), Linux 6.18
# Date: 2026-11-29
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }

[ "$(id -u)" = 0 ] && unshare -n true 2>/dev/null || skip "no network namespace can be made"
command -v nft >/dev/null && command -v iptables-nft >/dev/null || skip "no nft, or no iptables-nft"
nft --version | grep -q '1\.0\.6' || skip "another nft: $(nft --version)"
iptables-nft --version | grep -q '1\.8\.9' || skip "another iptables: $(iptables-nft --version)"
cat >"$work/inside" <<'END'
for match in "conntrack --ctstate RELATED,ESTABLISHED" "conntrack --ctstate NEW" \
    "addrtype --dst-type LOCAL" "addrtype --dst-type MULTICAST"; do
    iptables-nft -A INPUT -m $match -j ACCEPT || exit 77
    nft -j list chain ip filter INPUT 2>/dev/null | grep -o '{"xt": {[^}]*}'
    nft list chain ip filter INPUT 2>/dev/null | sed -n 's/^\t*\(.*\) counter.*/\1/p'
    iptables-nft -F INPUT
done
END
unshare -n sh "$work/inside" >"$work/told" || skip "the kernel has no nf_tables"
cat "$work/told"
printf '%s\n' '{"xt": {"type": "match", "name": "conntrack"}' 'ct state related,established' \
    '{"xt": {"type": "match", "name": "conntrack"}' 'ct state new' \
    '{"xt": {"type": "match", "name": "addrtype"}' 'fib daddr type local' \
    '{"xt": {"type": "match", "name": "addrtype"}' 'fib daddr type multicast' |
    cmp -s - "$work/told" || changed "see above"
