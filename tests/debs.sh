#!/bin/sh
# debs.sh CARGO ARGUMENTS...: Debian's packages of the last commit. They are built by
# dpkg-buildpackage with the network cut, read by the newest lintian that Debian has (sid), tried by
# autopkgtest, and installed, upgraded under a live tunnel, removed and purged on booted machines
# (tests/vps/debs.rs).
# Root and network. What is built is kept for the next run of the same commit.
#
# Nobody ships what `noopt` makes, but it takes minutes: DEB_BUILD_OPTIONS= for what is shipped.
set -eu
cd "$(dirname "$0")/.."
cargo=$1
[ "$(id -u)" = 0 ] || { echo "debs.sh: needs root" >&2; exit 1; }
export DEB_BUILD_OPTIONS="${DEB_BUILD_OPTIONS-noopt}"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
dir=$(realpath -m "${CARGO_TARGET_DIR:-target}/debs")
mkdir -p "$dir"

of="$(git rev-parse HEAD) $DEB_BUILD_OPTIONS"
if [ "$(cat "$dir/of" 2>/dev/null)" != "$of" ]; then
    rm -rf "$dir/of" "$dir/out"
    sh dist.sh "$cargo" "$dir" >/dev/null
    # With the toolchain of Build-Depends, in a directory of its own, whatever ours are.
    (
        unset CARGO_TARGET_DIR
        PATH=/usr/sbin:/usr/bin:/sbin:/bin
        sh packaging/debian.sh "$dir/hopbox-$version.tar.xz" "$dir/out"
    ) >"$dir/log" 2>&1 || { tail -n 40 "$dir/log" >&2; exit 1; }
    echo "$of" >"$dir/of"
fi
(cd "$dir/out" && wc -c ./*.deb) | sed '$d; s|^|ok: |; s|\./||'

# In a root of its own: nothing of sid comes to this machine. A mirror may be some weeks behind.
sid=$dir/sid
if [ ! -e "$sid/made" ]; then
    rm -rf "$sid"
    mmdebstrap --quiet --variant=apt --include=lintian \
        --aptopt='Acquire::Check-Valid-Until "false"' sid "$sid"
    touch "$sid/made"
fi
# Not as root, and not of who builds: it reads what strangers have made.
if unshare --mount --propagation private --pid --fork sh -euc '
    mount -t proc proc "$0/proc"
    mount --rbind /dev "$0/dev"
    mount --bind "$1" "$0/mnt"
    exec chroot "$0" setpriv --reuid=65534 --regid=65534 --clear-groups env -i PATH=/usr/bin:/bin \
        HOME=/nonexistent LC_ALL=C.UTF-8 sh -euc "
        lintian --version
        lintian --display-info --tag-display-limit 0 --fail-on error,warning /mnt/*.changes"
' "$sid" "$dir/out" >"$dir/lintian" 2>&1; then
    echo "ok: $(head -n 1 "$dir/lintian") finds neither errors nor warnings"
    sed -n '2,$s/^/   /p' "$dir/lintian"
else
    cat "$dir/lintian" >&2
    exit 1
fi

HOP_DEBS=$dir/out sh tests/enter.sh "$@" --test vps debs:: -- --nocapture
