#!/bin/sh
# check.sh DIRECTORY MAKE...: all parts of `make check`, whatever becomes of the others.
# What only compiles, and known answers, runs beside the suites, which wait, with what they leave of
# the processors, and builds in DIRECTORY, since cargo lets one build at a time into a directory.
# What it says is shown if it fails. The suites are the last: what they say of failures is the end.
set -u
out=$1
shift
mkdir -p "$out" || exit
nice -n 19 "$@" CARGO_TARGET_DIR="$out" check-lint check-darwin check-vectors >"$out/check.log" 2>&1 &
beside=$!
trap 'kill $beside 2>/dev/null' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
code=0
"$@" check-build check-ct check-steps check-bench check-suites || code=$?
if wait $beside; then
    grep '^SKIP' "$out/check.log"
else
    code=1
    cat "$out/check.log"
fi
exit $code
