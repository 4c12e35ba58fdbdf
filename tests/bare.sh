#!/bin/sh
# bare.sh [demo|check|all] [CARGO]: the README's two commands on bare machines, made by debootstrap,
# with make and nothing else: a Debian 12 once with nothing at /sys and this machine's Rust toolchain,
# and once with /sys and without one; a Debian 13 without one. The sources are the last commit's.
# Needs root, debootstrap, and what reaches Debian's packages and the crates here; three times as
# long as `make check`. BARE=no-sys|no-rust and DEBIAN=bookworm|trixie do a part of it.
set -eu
what=${1:-all} cargo=${2:-cargo}
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "bare.sh: needs root" >&2; exit 1; }
sh tests/needs.sh debootstrap:debootstrap git:git unshare:util-linux
toolchain=$(cd / && RUSTUP_TOOLCHAIN="${RUSTUP_TOOLCHAIN:-}" "${RUSTC:-rustc}" --print sysroot)
lab=$(mktemp -d /var/tmp/hopbox-bare.XXXXXX)
trap 'rm -rf --one-file-system "$lab"' EXIT
mine=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")

# machine RELEASE: in $root.
machine() {
    root=$lab/$1
    echo "bare.sh: making a Debian, $1, in $root"
    debootstrap --variant=minbase --include=make,ca-certificates "$1" "$root" >"$lab/log" 2>&1 || {
        tail -n 5 "$lab/log" >&2
        exit 1
    }
    # How packages and crates are reached is this machine's business, and is taken along.
    for file in /etc/resolv.conf ${SSL_CERT_FILE:-}; do
        [ ! -e "$file" ] || { mkdir -p "$root${file%/*}" && cp -L "$file" "$root$file"; }
    done
    cp -rL --remove-destination /etc/ssl/certs/. "$root/etc/ssl/certs/"
    rm -rf "$root/etc/apt/sources.list" "$root/etc/apt/sources.list.d"
    cp -r /etc/apt/sources.list* /etc/apt/apt.conf.d "$root/etc/apt/" 2>/dev/null || :
    find "$root"/etc/apt/sources.list* -type f -exec sed -i "s/\\b$mine\\b/$1/g" {} +
    cp -r /usr/share/keyrings/. "$root/usr/share/keyrings/"
    home=${CARGO_HOME:-$HOME/.cargo}
    mkdir -p "$root/root/.cargo" "$root/opt/rust"
    for file in config config.toml; do
        [ ! -e "$home/$file" ] || cp "$home/$file" "$root/root/.cargo/"
    done
    cp -a "$toolchain/." "$root/opt/rust/"
    git clone -q --no-hardlinks . "$root/src"
}

run() { # no-sys|no-rust COMMAND...
    without=$1
    shift
    echo "bare.sh: $* ($without)"
    # As in a chroot made by hand: /proc and /dev, and /sys or nothing there.
    unshare --mount --propagation private --pid --fork --kill-child sh -euc '
        root=$1 without=$2
        shift 2
        mount -t proc proc "$root/proc"
        mount --rbind /dev "$root/dev"
        [ "$without" = no-sys ] || mount --rbind /sys "$root/sys"
        rust=/opt/rust/bin:
        [ "$without" != no-rust ] || rust=
        exec chroot "$root" env HOME=/root CARGO_TARGET_DIR="/src/target/$without" \
            PATH="$rust"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            sh -euc "cd /src && exec \"\$@\"" sh "$@"
    ' sh "$root" "$without" "$@"
}
for debian in ${DEBIAN:-bookworm trixie}; do
    machine "$debian"
    ways='no-rust no-sys'
    # The toolchain of this machine is the same on both.
    [ "$debian" = bookworm ] || ways=no-rust
    for without in ${BARE:-$ways}; do
        [ "$what" = check ] || run "$without" make demo CARGO="$cargo"
        # Whose machine a program was built on is nobody's business.
        hop=$root/src/target/$without/release/hop
        if [ "$what" != check ] && grep -qE '/root/|/src/src' "$hop"; then
            echo "bare.sh: a directory of the builder is in $hop" >&2
            exit 1
        fi
        [ "$what" = demo ] || run "$without" make check CARGO="$cargo"
    done
    rm -rf --one-file-system "$root"
done
