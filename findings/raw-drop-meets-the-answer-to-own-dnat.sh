#!/bin/sh
# Expected: "drop at prerouting, priority raw, what comes to ADDRESS by another interface than its own
#           and lo" keeps strangers out, and lets alone what this machine says to itself: that is on lo.
# Seen: what a machine says to a port that a container engine has published at ADDRESS is translated on
#       its way out (docker's and podman's DNAT in OUTPUT), leaves by the engine's bridge with ADDRESS
#       as its source, and is answered by the bridge *to ADDRESS*. raw comes before conntrack: the
#       answer is dropped, and connect(2) hangs. A program that listens itself is met. (`ct` in
#       such a rule would have the kernel track every connection of the machine from then on.)
# Versions: nftables 1.0.6 (Debian 1.0.6-2+deb12u2), Linux 6.18; docker 20.10.24, podman 4.3.1
# Date: 2026-11-30
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }

[ "$(id -u)" = 0 ] && unshare -n true 2>/dev/null || skip "no network namespace can be made"
for tool in nft ip perl nsenter timeout; do command -v $tool >/dev/null || skip "no $tool"; done
cat >"$work/listen" <<'END'
use Socket; $| = 1;
socket(S, PF_INET, SOCK_STREAM, 0); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);
bind(S, sockaddr_in($ARGV[0], INADDR_ANY)) && listen(S, 9) or die; print "listens\n"; sleep 60;
END
cat >"$work/connect" <<'END'
use Socket; alarm 3; socket(S, PF_INET, SOCK_STREAM, 0);
connect(S, sockaddr_in($ARGV[1], inet_aton($ARGV[0]))) or exit 1;
END
cat >"$work/inside" <<'END'
cd "$1"
unshare -n sleep 60 & box=$!
trap 'kill $box $inner $plain 2>/dev/null' EXIT
until [ "$(readlink /proc/$box/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
set -e
ip link set lo up
ip address add 10.10.0.1/32 dev lo
ip link add bridge0 type veth peer name eth0 netns $box
ip address add 172.17.0.1/16 dev bridge0
ip link set bridge0 up
nsenter -n -t $box ip address add 172.17.0.2/16 dev eth0
nsenter -n -t $box ip link set eth0 up
nsenter -n -t $box ip route add default via 172.17.0.1
nft -f - <<'RULES'
table ip engine {
    chain pre { type nat hook prerouting priority -100; }
    chain out {
        type nat hook output priority -100;
        ip daddr 10.10.0.1 tcp dport 8080 dnat to 172.17.0.2:80
    }
}
RULES
nsenter -n -t $box perl listen 80 >one & inner=$!
perl listen 8079 >two & plain=$!
for i in $(seq 100); do [ -s one ] && [ -s two ] && break; sleep 0.1; done
met() { if perl connect "$@" 2>/dev/null; then echo "met $2"; else echo "not met $2"; fi; }
met 10.10.0.1 8080
met 10.10.0.1 8079
nft -f - <<'RULES'
table ip guard {
    chain in {
        type filter hook prerouting priority -300;
        iifname != "lo" ip daddr 10.10.0.1 drop
    }
}
RULES
met 10.10.0.1 8080
met 10.10.0.1 8079
END
timeout 60 unshare -n sh "$work/inside" "$work" >"$work/told" 2>"$work/why" || skip "$(cat "$work/why")"
cat "$work/told"
printf '%s\n' 'met 8080' 'met 8079' 'not met 8080' 'met 8079' |
    cmp -s - "$work/told" || changed "see above"
