#!/bin/sh
# mach_o.sh CARGO FLAGS...: links every program for macOS, for its processor of today and for the
# one before, and reads what came of it: an executable for that processor, signed as ld does it,
# that asks the system for its C library and libiconv and nothing else. Nothing of it is run here.
#
# zig brings what a Mac's system libraries offer, and links: `python3 -m pip install ziglang`, or ZIG.
# The targets' standard libraries are the toolchain's: `rustup target add aarch64-apple-darwin
# x86_64-apple-darwin`.
set -eu
cd "$(dirname "$0")/.."
cargo=$1
shift
out=${CARGO_TARGET_DIR:-target}
mkdir -p "$out/mach-o"
out=$(cd "$out/mach-o" && pwd)
zig=$(sh agents.sh --zig)
[ -n "$zig" ] || { echo "mach_o.sh: no zig; fix: python3 -m pip install ziglang" >&2; exit 1; }
for target in aarch64-apple-darwin x86_64-apple-darwin; do
    [ -d "$(rustc --print target-libdir --target "$target")" ] || {
        echo "mach_o.sh: no standard library for $target; fix: rustup target add $target" >&2
        exit 1
    }
done

# Rust's standard library asks for it, and zig has none: what a Mac's offers of it.
mkdir -p "$out/lib"
cat >"$out/lib/libiconv.tbd" <<'END'
--- !tapi-tbd
tbd-version: 4
targets: [ arm64-macos, x86_64-macos ]
install-name: '/usr/lib/libiconv.2.dylib'
current-version: 7
compatibility-version: 7
exports:
  - targets: [ arm64-macos, x86_64-macos ]
    symbols: [ _iconv, _iconv_close, _iconv_open ]
...
END
for processor in aarch64 x86_64; do
    target=$processor-apple-darwin linker=$out/cc-$processor
    printf '#!/bin/sh\nexec %s cc -target %s-macos -L"%s" "$@"\n' "$zig" "$processor" "$out/lib" \
        >"$linker"
    chmod +x "$linker"
    name=CARGO_TARGET_$(echo "$target" | tr a-z- A-Z_)_LINKER
    env "$name=$linker" CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=0 \
        "$cargo" build --target-dir "$out" --target "$target" --bins "$@"
    find "$out/$target/debug" -maxdepth 1 -type f -name 'hop*' ! -name '*.d' -print0 |
        xargs -0 python3 tests/mach_o.py "$processor"
done
