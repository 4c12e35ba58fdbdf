#!/bin/sh
# What somebody who reviews hop-helper has to read, counted. `make helper-review` runs it.
set -eu
cd "$(dirname "$0")"
cargo=${1:-cargo}

# Lines of code: neither blank, nor comment, nor behind the inline tests.
code() { sed '/^#\[cfg(test)\]$/,$d' "$1" | grep -cv -e '^[[:space:]]*$' -e '^[[:space:]]*//' || true; }
# Blocks of unsafe code, and those whose reason stands beside them.
blocks() { sed 's|//.*||' "$1" | grep -o 'unsafe {' | wc -l; }
reasons() { grep -c 'SAFETY:' "$1" || true; }

printf '%-28s %5s %7s %7s\n' file code unsafe SAFETY
all=0
part() {
    name=$1 sum=0
    shift
    for file in "$@"; do
        case $file in *_tests.rs) continue ;; esac
        lines=$(code "$file")
        sum=$((sum + lines))
        printf '%-28s %5d %7d %7d\n' "${file#src/}" "$lines" "$(blocks "$file")" "$(reasons "$file")"
    done
    all=$((all + sum))
    printf '%-28s %5d\n\n' "= $name" "$sum"
}
total() {
    printf '%-28s %5d\n\n' "== $1" "$all"
    all=0
}
files() { find "$@" -name '*.rs' | LC_ALL=C sort; }
in_core() { for file in "$@"; do echo "src/core/$file.rs"; done; }
in_net() { for file in "$@"; do echo "src/net/$file.rs"; done; }
sandbox="access bpf sandbox"
own="files lockdown paths socket state_file"
names="block hosts lease/names"
policy="config invited pool reserve resolvers"
held="lease/leases lease/look lease/mod lease/patience lease/service state"
rest() { # of a room, without these
    room=$1
    shift
    for file in $(files "src/$room"); do
        name=${file#src/"$room"/}
        case " $* " in *" ${name%.rs} "*) ;; *) echo "$file" ;; esac
    done
}
part "lines and codes" $(files src/proto)
part "who asks, how often, the log" $(rest core $sandbox $own)
part "files, socket, lockdown" $(in_core $own)
part "sandbox" $(in_core $sandbox) src/sys/confine.rs
part "what root allows" $(in_net $policy)
part "devices, guards, netlink" src/net/link.rs $(files src/net/linux) src/sys/netlink.rs src/sys/tun.rs
part "names in /etc/hosts" $(in_net $names)
part "leases and the state" $(in_net $held)
part "start, operations, sys" src/lib.rs src/bin/hop-helper.rs src/net/daemon.rs src/net/mod.rs \
    src/net/ops.rs src/sys.rs src/sys/linux.rs
daily=$all
total "what runs on Linux"
in_firewall() { for file in "$@"; do echo "src/server/firewall/$file.rs"; done; }
part "rules of the firewall" $(in_firewall answers change grants mod plans rule store table trials)
part "what others make of them" $(in_firewall effective matches)
made="cgroup errands manager"
in_server() { for file in "$@"; do echo "src/server/$file.rs"; done; }
part "worker, nft, rows, history, start" src/bin/hop-helper-server.rs \
    $(rest server $made | grep -v -e /firewall/ -e /mount/ -e /nginx/)
part "limits, by the manager" $(in_server $made)
part "mounts, by the manager" $(files src/server/mount) src/sys/mount.rs
part "sites of nginx" $(files src/server/nginx)
served=$all
total "what runs on a server besides"
whole=0
for file in src/lib.rs src/bin/hop-helper*.rs $(files src/proto src/core src/net src/server src/sys*); do
    case $file in *_tests.rs | src/sys/macos.rs | src/sys/install.rs) continue ;; esac
    whole=$((whole + $(code "$file")))
done
[ "$whole" = "$((daily + served))" ] ||
    { echo "a file is in no part, or in two: $whole lines in all" >&2; exit 1; }
part "hop-install" src/bin/hop-install.rs $(files src/install) src/sys/install.rs
total "what runs once"
part "macOS" $(files src/macos) src/sys/macos.rs
total "what is for macOS"

echo "crates:"
"$cargo" tree --locked --offline --package hop-helper --edges normal --prefix none 2>/dev/null |
    sort -u | sed 's/^/  /' || echo "  (cargo tree: not available offline)"

echo
echo "system calls allowed after the start (seccomp, src/core/sandbox.rs):"
list() { grep -v '= &\[\];$' src/core/sandbox.rs | sed -n "/^const $1:/,/^];/p" | grep -o 'SYS_[a-z0-9_]*' | sed 's/SYS_//'; }
for name in CALLS OLDER CHOSEN MAPPING; do
    case $name in
        CALLS) what="any arguments" ;;
        OLDER) what="older forms, x86_64 alone" ;;
        CHOSEN) what="by one argument" ;;
        MAPPING) what="never executable" ;;
    esac
    printf '  %s: %s\n' "$what" "$(list $name | sort | tr '\n' ' ')" | fold -s -w 96
    echo
done

echo "files of service managers:"
ls unit | sed 's/^/  unit\//'
