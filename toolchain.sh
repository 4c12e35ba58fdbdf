#!/bin/sh
# toolchain.sh CARGO [--install GOAL]
# Is there a Rust toolchain that takes this source? If not: two lines, what is missing and what brings
# it. With --install, root on Debian gets it from there where there is none, as needs.sh gets the rest.
# It replaces nothing: a toolchain that is there and too old is named, and what becomes of it is
# its owner's business.
set -eu
cd "$(dirname "$0")"
cargo=$1 install=${2:-} goal=${3:-}
least=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

# Of a program's version (1.63.0) or a package's (1.63.0+dfsg1-2).
new_enough() {
    awk -v is="$1" -v least="$least" 'BEGIN { split(is, i, "."); split(least, l, ".")
        exit !(i[1] + 0 > l[1] + 0 || i[1] == l[1] && i[2] + 0 >= l[2] + 0) }'
}

# The first of Debian's two pairs of packages that is new enough; before the lists of packages are
# there, the one that is in every release.
packages() {
    command -v apt-cache >/dev/null 2>&1 || return 0
    for pair in 'rustc cargo' 'rustc-web cargo-web'; do
        is=$(LC_ALL=C apt-cache policy "${pair#* }" | sed -n 's/^ *Candidate: //p')
        # Debian 12 counts cargo's packages in a way of their own: 0.66.0 is that of 1.65.
        if [ -n "$is" ] && new_enough "$is"; then echo "$pair" && return; fi
    done
    if [ -z "$(LC_ALL=C apt-cache policy cargo)" ] && grep -q '^ID=debian' /etc/os-release; then
        echo rustc-web cargo-web
    fi
}

# Under sudo, which has a PATH and a home of its own: does the login that called it have a cargo?
of_sudo() {
    [ "$(id -u)" = 0 ] && [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ] || return 1
    home=$(awk -F: -v name="$SUDO_USER" '$1 == name { print $6 }' /etc/passwd)
    [ -x "$home/.cargo/bin/cargo" ]
}

fix() {
    echo "fix: $*" >&2
    exit 1
}

how() {
    if command -v rustup >/dev/null 2>&1; then
        fix "rustup update stable && rustup default stable"
    elif [ -z "$said" ] && [ -x "${HOME:-}/.cargo/bin/cargo" ]; then
        fix ". \"$HOME/.cargo/env\"    # it is there, but this shell does not know it yet"
    elif [ -z "$said" ] && of_sudo; then
        fix "sudo env PATH=\"\$PATH\" RUSTUP_HOME=\"\$HOME/.rustup\" make $goal"
    fi
    if [ "$install" = --install ] && [ -z "$said" ] && [ "$(id -u)" = 0 ] &&
        command -v apt-get >/dev/null 2>&1; then
        # The package lists of a fresh image are empty or old.
        apt-get -qq update >/dev/null 2>&1 </dev/null || :
        pair=$(packages)
        [ -z "$pair" ] ||
            exec sh tests/needs.sh "rustc:${pair% *}" "$cargo:${pair#* }"
    fi
    pair=$(packages)
    sudo=$([ "$(id -u)" = 0 ] || echo 'sudo ')
    [ -z "$pair" ] || fix "${sudo}apt-get update && ${sudo}apt-get install $pair"
    fix "install Rust with rustup: https://rustup.rs"
}

# "cargo 1.65.0"; nothing where there is none, or rustup has no toolchain to call. Of
# CARGO="cargo auditable" the first word is the one that builds, and in "cargo +nightly" both are.
set -- $cargo
case ${2:-} in +*) cargo="$1 $2" ;; *) cargo=$1 ;; esac
said=$($cargo --version 2>/dev/null) || said=
if [ -z "$said" ]; then
    what="there is no $cargo"
else
    is=${said#* }
    if new_enough "$is"; then exit 0; fi
    what="this is $said"
fi
echo "hopbox is built by Rust $least or newer, and $what" >&2
how
