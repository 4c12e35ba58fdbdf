#!/bin/sh
# lint.sh CARGO FLAGS...: rustfmt and clippy, where the toolchain has them.
set -eu
cargo=$1
shift
if $cargo fmt --version >/dev/null 2>&1; then
    $cargo fmt --all --check
else
    echo "SKIP rustfmt: this toolchain has none"
fi
if $cargo clippy --version >/dev/null 2>&1; then
    $cargo clippy "$@" -- -D warnings
else
    echo "SKIP clippy: this toolchain has none"
fi
