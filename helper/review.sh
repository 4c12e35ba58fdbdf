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
part() {
    name=$1 sum=0
    shift
    for file in "$@"; do
        case $file in *_tests.rs) continue ;; esac
        lines=$(code "$file")
        sum=$((sum + lines))
        printf '%-28s %5d %7d %7d\n' "${file#src/}" "$lines" "$(blocks "$file")" "$(reasons "$file")"
    done
    printf '%-28s %5d\n\n' "= $name" "$sum"
}
files() { find "$@" -name '*.rs' ! -path src/sys/macos.rs ! -path src/sys/install.rs | LC_ALL=C sort; }
part "what runs on Linux" src/lib.rs src/bin/hop-helper.rs $(files src/proto src/core src/net src/sys*)
part "hop-install, which runs once" src/bin/hop-install.rs $(files src/install) src/sys/install.rs
part "what is for macOS" $(files src/macos) src/sys/macos.rs

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
