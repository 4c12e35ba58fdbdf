#!/bin/sh
# licences.sh CARGO: the licences of every crate that is in the programs, for whoever hands them on.
# Of the sources in vendor/; the same text from the same sources.
set -eu
cd "$(dirname "$0")"
cargo=$1
[ -d vendor ] || { echo "licences.sh: reads vendor/, which make dist makes" >&2; exit 1; }
echo "hopbox is licensed under Apache-2.0 (see LICENSE). Its programs contain the crates below."
# Every system's, and of each what is compiled into a program.
LC_ALL=C
export LC_ALL
$cargo tree --workspace --locked --offline --target all -e normal --prefix none --no-dedupe -f '{p}|{l}' \
    --config 'source.crates-io.replace-with="vendored"' \
    --config 'source.vendored.directory="vendor"' |
    sed -n 's/^\([^ ]*\) v\([^ |]*\)[^|]*|\(.*[^ ]\).*/\1 \2 \3/p' | sort -u |
while read -r crate version licence; do
    case $crate in hopbox | hopbox-selftest | hop-helper) continue ;; esac
    printf '\n== %s %s: %s\n' "$crate" "$version" "$licence"
    dir=vendor/$crate-$version
    # Where MIT is one of a choice, that; else every text that the crate brings.
    case $licence in
        *AND*) set -- "$dir"/LICEN[CS]E* "$dir"/COPYING* ;;
        *MIT*) set -- "$dir"/LICENSE-MIT* "$dir"/LICENSE ;;
        *) set -- "$dir"/LICEN[CS]E* "$dir"/COPYING* ;;
    esac
    for file in "$@"; do
        if [ -f "$file" ]; then printf '\n'; cat "$file"; fi
    done
done
