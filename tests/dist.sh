#!/bin/sh
# dist.sh CARGO: the release is the same bytes whoever makes it, and so are its programs. Twice: in
# two directories (one with a space in its name), by two users, with two umasks, -j1 and -j8; the
# programs with the network cut. Needs root, for the second user and the cut.
set -eu
cargo=$1
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "SKIP dist.sh: needs root"; exit 0; }
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
toolchain=$(rustc --print sysroot)
lab=$(mktemp -d /var/tmp/hopbox-dist.XXXXXX)
trap 'rm -rf --one-file-system "$lab"' EXIT
chmod 0755 "$lab"

# as USER UMASK DIRECTORY COMMAND...: with a toolchain that every user can read, and no network.
as() {
    user=$1 mask=$2 dir=$3
    shift 3
    unshare --net --mount --propagation private sh -euc '
        toolchain=$1 rust=$2 user=$3 mask=$4 dir=$5
        shift 5
        mkdir -p "$rust" && mount --bind "$toolchain" "$rust"
        ip link set lo up
        umask "$mask" && cd "$dir"
        exec setpriv --reuid="$user" --regid="$user" --clear-groups env -i HOME=/nonexistent \
            CARGO_HOME="$dir/cargo-home" PATH="$rust/bin:/usr/bin:/bin" "$@"
    ' sh "$toolchain" "$lab/rust" "$user" "$mask" "$dir" "$@"
}

# release NAME USER UMASK: the tarball, of a clone of its own; the crates are fetched by root.
release() {
    git clone -q --no-hardlinks . "$lab/$1/source"
    (umask "$3" && cd "$lab/$1/source" && sh dist.sh "$cargo" "$lab/$1" >/dev/null)
    chown -R "$2:$2" "$lab/$1"
}

# programs NAME USER UMASK JOBS
programs() {
    as "$2" "$3" "$lab/$1" tar -xf "hopbox-$version.tar.xz"
    dir=$lab/$1/hopbox-$version
    as "$2" "$3" "$dir" make -s -j"$4"
    as "$2" "$3" "$dir" make -s install DESTDIR="$lab/$1/root" PREFIX=/usr
}

mkdir -p "$lab/one" "$lab/the other"
release one 0 022
release 'the other' 65534 077
cmp "$lab/one/hopbox-$version.tar.xz" "$lab/the other/hopbox-$version.tar.xz"
echo "ok: two tarballs, the same bytes: $(wc -c <"$lab/one/hopbox-$version.tar.xz")"
programs one 0 022 1
programs 'the other' 65534 077 8
diff -r --no-dereference "$lab/one/root" "$lab/the other/root"
echo "ok: two builds without a network, the same programs:"
(cd "$lab/one/root/usr" && ls -l bin/hop libexec/hopbox/* | awk '{ print $5, $9 }')
if strings -a "$lab/one/root/usr/bin/hop" "$lab"/one/root/usr/libexec/hopbox/* | grep -F "$lab"; then
    echo "FAIL: the builder's directories are in the programs" >&2
    exit 1
fi
as 65534 022 "$lab/the other/hopbox-$version" make -s check-unit >"$lab/unit" 2>&1 ||
    { tail -n 30 "$lab/unit"; exit 1; }
echo "ok: $(grep -c '^test .* ok$' "$lab/unit") unit tests without a network and without root"
