#!/bin/sh
# Expected: `nft -j list ruleset` fed to `nft -j -f` gives the rules back, or is refused.
# Seen: 1.0.6 takes it with exit 0 and without what its JSON never said: a table that was `dormant`
#       is at work after it, a set has lost auto-merge (and `flags dynamic`), all comments of tables,
#       chains and sets are gone. A base chain at `ingress` is refused for lack of its device, a map
#       to address and port for its own type. The text form comes back the same in each case.
# Versions: nftables 1.0.6 (Debian 1.0.6-2+deb12u2); 1.1.7 has mended most of it
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

[ "$(id -u)" = 0 ] || skip "needs root"
unshare -n true 2>/dev/null || skip "no network namespace can be made"
get nftables=1.0.6-2+deb12u2 libnftables1=1.0.6-2+deb12u2 libnftnl11=1.2.4-2
lib=$work/root/usr/lib/x86_64-linux-gnu
export LD_LIBRARY_PATH="$lib" PATH="$work/root/usr/sbin:$PATH"
nft --version || skip "not this machine's kind of program"
cd "$work" || exit 77
unshare -n nft list ruleset >/dev/null 2>&1 || skip "this kernel has no nf_tables"

# text, json: what a ruleset is after it went out and in again in that form: same, other, refused.
cat >back <<'END'
nft -f in || exit 1
nft -s list ruleset >first
nft list ruleset >text; nft -j list ruleset >json
for form in text json; do
    nft flush ruleset
    [ $form = json ] && j=-j || j=
    if ! nft $j -f $form 2>/dev/null; then echo "$form refused"; continue; fi
    nft -s list ruleset | cmp -s - first && echo "$form same" || echo "$form other"
done
END
check() {
    printf 'table inet t {\n%s\n}\n' "$2" >in
    seen=$(unshare -n sh back 2>&1 | paste -s -d ' ')
    echo "$2: $seen"
    [ "$seen" = "text same json $1" ] || changed "$2: $seen"
}
check other 'flags dormant; chain c { type filter hook input priority 0; policy drop; }'
check other 'set s { type inet_service; flags interval; auto-merge; elements = { 1-5, 7 }; }'
check other 'set s { type ipv4_addr; flags dynamic, timeout; timeout 5m; }'
check other 'chain c { comment "why"; }'
check refused 'chain c { type filter hook ingress device lo priority 0; }'
check refused 'map m { type inet_service : ipv4_addr . inet_service; elements = { 80 : 192.0.2.1 . 8080 }; }'
check same 'chain c { type filter hook input priority 0; policy drop; }'
