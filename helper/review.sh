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

printf '%-24s %5s %7s %7s\n' file code unsafe SAFETY
for part in both linux macos client; do
    sum=0
    for file in src/*.rs src/*/*.rs; do
        case $file in
            *_tests.rs) continue ;;
            src/reply.rs) of=client ;;
            *macos.rs | src/xnu.rs) of=macos ;;
            *linux.rs | src/netlink.rs | src/rtnetlink.rs | src/systemd.rs | src/sandbox.rs) of=linux ;;
            *) of=both ;;
        esac
        [ "$of" = "$part" ] || continue
        lines=$(code "$file")
        sum=$((sum + lines))
        printf '%-24s %5d %7d %7d\n' "${file#src/}" "$lines" "$(blocks "$file")" "$(reasons "$file")"
    done
    printf '%-24s %5d\n\n' "= $part" "$sum"
done

echo "crates:"
"$cargo" tree --locked --offline --package hop-helper --edges normal --prefix none 2>/dev/null |
    sort -u | sed 's/^/  /' || echo "  (cargo tree: not available offline)"

echo
echo "system calls allowed after the start (seccomp, src/sandbox.rs):"
list() { grep -v '= &\[\];$' src/sandbox.rs | sed -n "/^const $1:/,/^];/p" | grep -o 'SYS_[a-z0-9_]*' | sed 's/SYS_//'; }
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
