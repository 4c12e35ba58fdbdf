#!/bin/sh
# agents.sh TARGETS PROFILE CARGO FLAGS...
# Builds hop-agent, its helpers and hop-install for servers, each of TARGETS being a kind of them:
# linked statically, so that they run on every distribution, and stripped, so that they are sent
# quickly. They are left in $CARGO_TARGET_DIR/agents/TARGET/, where `make install` looks. Installs nothing.
# agents.sh --linker TARGET: what links for a target that the toolchain knows.
# agents.sh --zig: how zig is called; an empty line where there is none.
#
# The toolchain may know a target (rustup target add). Where it does not, Debian has the source of
# the standard library, from which the compiler makes what it needs; zig brings musl, and links.
set -eu
cd "$(dirname "$0")"
host=$(rustc -vV | sed -n 's/^host: //p')

# For other processors, what is installed; else the linker that comes with the compiler.
linker() {
    arch=${1%%-*} own=cc
    if [ "$arch" != "${host%%-*}" ] || [ "${host#*-linux-}" = "$host" ]; then
        own=rust-lld
        for gcc in "$arch-linux-gnu-gcc" "$arch-linux-musl-gcc"; do
            if command -v "$gcc" >/dev/null 2>&1; then own=$gcc; fi
        done
    fi
    echo "$own"
}
if [ "$1" = --linker ]; then linker "$2" && exit; fi

zig=${ZIG:-}
if [ -z "$zig" ] && command -v zig >/dev/null 2>&1; then zig=zig; fi
if [ -z "$zig" ] && python3 -m ziglang version >/dev/null 2>&1; then zig='python3 -m ziglang'; fi
if [ "$1" = --zig ]; then echo "$zig" && exit; fi

targets=$1 profile=$2 cargo=$3
shift 3
out=${CARGO_TARGET_DIR:-target}
mkdir -p "$out"
out=$(cd "$out" && pwd)
source=/usr/lib/rustlib/src/rust/library

known() { [ -d "$(rustc --print target-libdir --target "$1" 2>/dev/null)" ]; }

from_source() {
    case $1 in *-unknown-linux-musl) ;; *) return 1 ;; esac
    [ -n "$zig" ] && [ -e "$source/std" ] && [ -x /usr/bin/cargo ] && [ -x /usr/bin/rustc ]
}

missing=
for target in $targets; do
    known "$target" || from_source "$target" || missing="$missing $target"
done
if [ -n "$missing" ]; then
    echo "no programs for$missing: this toolchain has no standard library for them" >&2
    echo "without rustup, Debian's packages rustc-web, cargo-web, rust-web-src and" \
        "libstd-rust-web-dev do, with zig (pip install ziglang; \$ZIG says where it is)" >&2
    echo "fix: rustup target add$missing" >&2
    exit 1
fi

# Crates of the standard library are needed beside ours when neither may be fetched.
merge() {
    rm -rf "$out/agents-vendor"
    mkdir "$out/agents-vendor"
    for crate in "$PWD"/vendor/*/; do
        ln -s "$crate" "$out/agents-vendor/$(basename "$crate")"
    done
    for crate in "$source"/vendor/*/; do
        ln -s "$crate" "$out/agents-vendor/std-$(basename "$crate")"
    done
}

# A linker in the words of rustc.
wrap() {
    printf '#!/bin/sh\nexec %s cc -target %s "$@"\n' "$zig" "$(echo "$1" | sed 's/-unknown//')" \
        >"$out/agents-cc-$1"
    chmod +x "$out/agents-cc-$1"
}

# build TARGET FLAGS...
build() (
    target=$1
    shift
    upper=$(echo "$target" | tr 'a-z-' 'A-Z_')
    linker=CARGO_TARGET_${upper}_LINKER
    more=-Ctarget-feature=+crt-static
    if known "$target"; then
        own=$(linker "$target")
        [ "$own" = cc ] || eval "export $linker=\"\${$linker:-$own}\""
    else
        # Called by their paths: rustup's would look for the source in their own places.
        export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 "$linker=$out/agents-cc-$target"
        export ZIG_GLOBAL_CACHE_DIR="${ZIG_GLOBAL_CACHE_DIR:-$out/agents-zig}"
        export ZIG_LOCAL_CACHE_DIR="$ZIG_GLOBAL_CACHE_DIR"
        cargo=/usr/bin/cargo
        more="$more -Clink-self-contained=no"
        wrap "$target"
        set -- "$@" -Zbuild-std=std,panic_abort -Zbuild-std-features=
        if [ -d vendor ]; then
            merge
            set -- "$@" --config "source.vendored.directory=\"$out/agents-vendor\""
        fi
    fi
    # RUSTFLAGS replace what the configuration says, so they must say it, too.
    if [ -n "${RUSTFLAGS:-}" ]; then
        export RUSTFLAGS="$RUSTFLAGS $more"
    else
        set -- "$@" --config "build.rustflags=[\"$(echo "$more" | sed 's/ /","/g')\"]"
    fi
    "$cargo" build --profile "$profile" --target "$target" --target-dir "$out" "$@" \
        --config "profile.$profile.strip=\"symbols\"" --config "profile.$profile.debug=0" \
        -p hopbox -p hop-helper --bin hop-agent --bin hop-helper --bin hop-helper-server \
        --bin hop-install
)

case $profile in dev) dir=debug ;; *) dir=$profile ;; esac
for target in $targets; do
    build "$target" "$@"
    mkdir -p "$out/agents/$target"
    rm -f "$out/agents/$target/version"
    for program in hop-agent hop-helper hop-helper-server hop-install; do
        cp "$out/$target/$dir/$program" "$out/agents/$target/$program.new"
        mv "$out/agents/$target/$program.new" "$out/agents/$target/$program"
    done
    # What `make install` compares with its own.
    sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml >"$out/agents/$target/version"
    echo "built for $target: $out/agents/$target"
done
