#!/bin/sh
# Expected: what is not set before can be set under `Match final all`, HostName like Port and User.
# Seen: Port and User apply; HostName there does nothing, without a word: the name is settled
#       before the last pass over the configuration.
# Versions: OpenSSH 9.2p1 (Debian 1:9.2p1-2+deb12u10)
# Date: 2026-11-29
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
# Unpacks Debian packages of exactly these versions into the temporary folder; installs nothing.
get() {
    (cd "$work" && apt-get -q download "$@" && for deb in *.deb; do dpkg -x "$deb" root; done) \
        >"$work/get.log" 2>&1 || skip "no package $*: $(tail -n 1 "$work/get.log")"
}

get openssh-client=1:9.2p1-2+deb12u10
ssh=$work/root/usr/bin/ssh
"$ssh" -V 2>&1 || skip "this machine lacks libraries of ssh"
cd "$work" || exit 77
printf 'Match final all\n    HostName changed.example\n    Port 77\n    User zoe\n' >final
printf 'Match all\n    HostName changed.example\n    Port 77\n    User zoe\n' >plain
settings() { "$ssh" -G -F "$1" box </dev/null 2>/dev/null | grep -E '^(hostname|port|user) ' | sort | paste -s -d ' '; }
echo "Match final all: $(settings final)"
echo "Match all:       $(settings plain)"
[ "$(settings plain)" = 'hostname changed.example port 77 user zoe' ] || changed "Match all"
[ "$(settings final)" = 'hostname box port 77 user zoe' ] || changed "Match final all"
