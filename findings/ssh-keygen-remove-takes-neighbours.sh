#!/bin/sh
# Expected: `ssh-keygen -R a` forgets host a, and no other. In a line `a,b KEY` it takes out the name.
# Seen: the whole line goes, b's key with it; and so does a line whose pattern only covers the host:
#       `-R y.corp.example` deletes `*.corp.example KEY`, by which all hosts of that domain were known.
#       Exit 0, and the text says no more than "found: line N".
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
"$work/root/usr/bin/ssh" -V 2>&1 || skip "this machine lacks libraries of ssh"
keygen=$work/root/usr/bin/ssh-keygen
cd "$work" || exit 77
"$keygen" -q -t ed25519 -N '' -f key || skip "no key can be made"
key=$(cut -d ' ' -f 1,2 key.pub)
left() {
    printf '%s\n' "a,b $key" "[a]:2222,c $key" "*.corp.example $key" >known
    "$keygen" -R "$1" -f known >said 2>&1; echo "-R $1: exit $?, left: $(cut -d ' ' -f 1 known | paste -s -d ' ')"
}
one=$(left a) two=$(left '[a]:2222') three=$(left y.corp.example)
printf 'of a,b  [a]:2222,c  *.corp.example\n%s\n%s\n%s\n' "$one" "$two" "$three"
[ "$one" = '-R a: exit 0, left: [a]:2222,c *.corp.example' ] || changed "$one"
[ "$two" = '-R [a]:2222: exit 0, left: a,b *.corp.example' ] || changed "$two"
[ "$three" = '-R y.corp.example: exit 0, left: a,b [a]:2222,c' ] || changed "$three"
