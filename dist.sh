#!/bin/sh
# dist.sh CARGO [DIRECTORY [PROFILE]]
# The release: the last commit's sources, the crates they are built of (vendor/), the licences of
# those, and the digests of what it makes (B2SUMS), for which it is built once. It builds, tests and
# installs with the network cut. Whoever makes it of the same commit, with the same toolchain, gets
# the same bytes, whatever his name, umask and directory: see tests/dist.sh.
set -eu
cargo=$1
cd "$(dirname "$0")"
out=${2:-.}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
name=hopbox-$version
git diff --quiet HEAD 2>/dev/null ||
    echo "note: what is not committed is not in $name.tar.xz" >&2
when=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
mkdir -p "$out"
lab=$(mktemp -d "$out/.dist.XXXXXX")
trap 'rm -rf "$lab"' EXIT
mkdir "$lab/$name"
git archive HEAD | tar -x -C "$lab/$name"
(
    cd "$lab/$name"
    $cargo vendor --locked --quiet --versioned-dirs vendor >/dev/null
    sh licences.sh "$cargo" >THIRD-PARTY
    "${MAKE:-make}" -s manifest CARGO="$cargo" PROFILE="${3:-release}" CARGO_TARGET_DIR=target >B2SUMS
    rm -rf target
)
# Nothing of the maker is in it: not his name, his clock, his umask or the order of his directory.
LC_ALL=C tar --sort=name --mtime="@$when" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
    --format=gnu -C "$lab" -cf - "$name" | xz -T1 -9e >"$lab/$name.tar.xz"
mv "$lab/$name.tar.xz" "$out/"
(cd "$out" && sha256sum "$name.tar.xz" | tee "$name.tar.xz.sha256")
