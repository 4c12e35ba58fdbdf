#!/bin/sh
# dist.sh CARGO [PROFILE]: the release is the same bytes whoever makes it, and so are its programs.
# Twice: in two directories (one with a space in its name), by two users, with two umasks, -j1 and
# -j8; the programs with the network cut, by the second user through make prove, which has to find
# a changed source and to admit another toolchain. Needs root, for the second user and the cut.
set -eu
cargo=$1 profile=${2:-release}
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
    (umask "$3" && cd "$lab/$1/source" && sh dist.sh "$cargo" "$lab/$1" "$profile" >/dev/null)
    chown -R "$2:$2" "$lab/$1"
}

# unpacked NAME USER UMASK
unpacked() {
    as "$2" "$3" "$lab/$1" tar -xf "hopbox-$version.tar.xz"
}

# installed NAME USER UMASK SETTINGS...: what was built.
installed() {
    name=$1 user=$2 mask=$3
    shift 3
    as "$user" "$mask" "$lab/$name/hopbox-$version" \
        make -s install DESTDIR="$lab/$name/root" PREFIX=/usr PROFILE="$profile" "$@"
}

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

# The way of the second user to prove.sh, whose code is not one of make's.
prove() {
    as 65534 077 "$other" sh prove.sh cargo 2>&1
}

mkdir -p "$lab/one" "$lab/the other"
release one 0 022
release 'the other' 65534 077
cmp "$lab/one/hopbox-$version.tar.xz" "$lab/the other/hopbox-$version.tar.xz"
echo "ok: two tarballs, the same bytes: $(wc -c <"$lab/one/hopbox-$version.tar.xz")"
other="$lab/the other/hopbox-$version"
unpacked one 0 022
unpacked 'the other' 65534 077
sums=$lab/one/hopbox-$version/B2SUMS
as 0 022 "${sums%/*}" make -s -j1 PROFILE="$profile"
installed one 0 022
cmp "$sums" "$lab/one/root/usr/share/hopbox/B2SUMS"
as 65534 077 "$other" make -s -j8 prove >"$lab/proven" || fail "$(cat "$lab/proven")"
[ "$(grep -c '^same ' "$lab/proven")" = "$(grep -vc '^#' "$sums")" ] || fail "$(cat "$lab/proven")"
tail -n 1 "$lab/proven"
installed 'the other' 65534 077 CARGO_TARGET_DIR=target/prove AGENTS=none
diff -r --no-dereference "$lab/one/root" "$lab/the other/root"
echo "ok: two builds without a network, the same programs:"
(cd "$lab/one/root/usr" && ls -l bin/hop libexec/hopbox/* | awk '{ print $5, $9 }')
if strings -a "$lab/one/root/usr/bin/hop" "$lab"/one/root/usr/libexec/hopbox/* | grep -F "$lab"; then
    fail "the builder's directories are in the programs"
fi
# By b2sum alone, as whoever has them installed would.
for program in bin/hop libexec/hopbox/hop-agent libexec/hopbox/hop-helper; do
    sum=$(b2sum "$lab/one/root/usr/$program" | cut -d ' ' -f 1)
    grep -q "^$sum  .*/${program##*/}\$" "$sums" || fail "$program is not in B2SUMS"
done
as 65534 022 "$lab/the other/hopbox-$version" make -s check-unit >"$lab/unit" 2>&1 ||
    { tail -n 30 "$lab/unit"; exit 1; }
echo "ok: $(grep -c '^test .* ok$' "$lab/unit") unit tests without a network and without root"

# Another compiler, another linker; both lists are made by nobody.
as 65534 077 "$other" cp B2SUMS kept
as 65534 077 "$other" sed -i 's/^# rustc: [^ ]*/# rustc: 1.0.0/' B2SUMS
code=0
prove >"$lab/proven" || code=$?
[ "$code" = 77 ] && grep -q '^  theirs: rustc 1.0.0 (commit' "$lab/proven" || fail "$code: $(cat "$lab/proven")"
as 65534 077 "$other" sed -i 's/^\(# linker of [^:]*\): .*/\1: another/' kept
as 65534 077 "$other" cp kept B2SUMS
code=0
prove >"$lab/proven" || code=$?
[ "$code" = 77 ] && grep -q '^  theirs: another' "$lab/proven" || fail "$code: $(cat "$lab/proven")"
echo "ok: another toolchain proves nothing, and says so"

# One byte of a source, as old as it was. hop-helper has nothing of it.
as 65534 077 "$other" sh -euc 'cp "$1" B2SUMS
    touch -r src/agent/command_line.rs age
    sed -i "s/memory is not private/memory is not prixate/" src/agent/command_line.rs
    touch -r age src/agent/command_line.rs' sh "$sums"
cmp -s "$lab/one/hopbox-$version/src/agent/command_line.rs" "$other/src/agent/command_line.rs" &&
    fail "nothing was changed"
code=0
prove >"$lab/proven" || code=$?
[ "$code" = 1 ] && grep -q '^differs .*/hop-agent: ' "$lab/proven" &&
    grep -q '^same .*/hop-helper$' "$lab/proven" || fail "$code: $(cat "$lab/proven")"
echo "ok: a byte of a source is found: $(tail -n 1 "$lab/proven" | cut -d ';' -f 1)"
