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
cut=
[ "$(id -u)" != 0 ] || cut='unshare --net'
cd "hopbox-$version"
$cut dpkg-buildpackage -us -uc "-j$(nproc)"
