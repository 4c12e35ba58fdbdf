#!/bin/sh
# darwin.sh aarch64|both FLAGS...: type-checks the code for macOS, for its processor of today or for
# the one before, too. Nothing of it can be run here; what is checked beyond types are the layouts of
# the kernel's structs (helper/src/macos/xnu.rs). For musl, too, with which the programs for servers
# are linked (`make agents`): crates offer less for it than for glibc.
#
# There is no standard library for either among Debian's packages, but its source: the compiler makes
# what it needs, below $CARGO_TARGET_DIR. On Debian, root gets the packages by itself.
set -eu
cd "$(dirname "$0")/.."
case $1 in
aarch64) targets="aarch64-apple-darwin aarch64-unknown-linux-musl" ;;
both) targets="aarch64-apple-darwin x86_64-apple-darwin aarch64-unknown-linux-musl" ;;
*) echo "darwin.sh: aarch64 or both, not $1" >&2; exit 2 ;;
esac
shift
packages="rustc-web cargo-web rust-web-src libstd-rust-web-dev"
out=${CARGO_TARGET_DIR:-target}/darwin

# The toolchain that hop is built with may know the targets: rustup target add.
own=yes
for target in $targets; do
    [ -d "$(rustc --print target-libdir --target "$target" 2>/dev/null)" ] || own=no
done
if [ $own = no ] && [ ! -e /usr/lib/rustlib/src/rust/library/std ] && [ "$(id -u)" = 0 ] &&
    apt-cache show $packages >/dev/null 2>&1; then
    sh tests/needs.sh /usr/lib/rustlib/src/rust/library/std:rust-web-src /usr/bin/rustc:rustc-web \
        /usr/bin/cargo:cargo-web /usr/lib/rustlib/etc:libstd-rust-web-dev
fi
if [ $own = yes ]; then
    cargo=cargo std=
elif [ -e /usr/lib/rustlib/src/rust/library/std ] && [ -x /usr/bin/cargo ]; then
    # Called by their paths: rustup's would look for the source in their own places.
    export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1
    cargo=/usr/bin/cargo std='-Zbuild-std=std,panic_abort -Zbuild-std-features='
else
    echo "SKIP darwin: no standard library for $targets;" \
        "rustup target add $targets, or Debian's packages $packages"
    [ "${CI:-}" != true ]
    exit
fi
# Nothing is run: neither optimised code nor backtraces are needed.
export CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=0
set -- check --locked $std --target-dir "$out" "$@"
for target in $targets; do
    set -- "$@" --target "$target"
done
$cargo "$@"
