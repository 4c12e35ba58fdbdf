#!/bin/sh
# debian.sh TARBALL DIRECTORY: Debian packages of a release, in DIRECTORY; with the network cut where
# root can cut it. Build-Depends are named if they are missing.
set -eu
tarball=$(realpath "$1") out=$2
here=$(realpath "$(dirname "$0")")
version=$(basename "$tarball" .tar.xz)
version=${version#hopbox-}
mkdir -p "$out"
cd "$out"
cp "$tarball" "hopbox_$version.orig.tar.xz"
rm -rf "hopbox-$version"
tar -xf "hopbox_$version.orig.tar.xz"
cp -R "$here/debian" "hopbox-$version/"
cd "hopbox-$version"
set -- dpkg-buildpackage -us -uc "-j$(nproc)"
[ "$(id -u)" = 0 ] || exec "$@"
# As Debian's builders have it: nothing but loopback, which the unit tests need.
exec unshare --net sh -euc 'ip link set lo up && exec "$@"' sh "$@"
