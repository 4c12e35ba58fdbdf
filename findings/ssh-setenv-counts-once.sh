#!/bin/sh
# Expected: SetEnv of several matching blocks adds up, as SendEnv, IdentityFile and the forwardings do.
# Seen: the first SetEnv that matches is the only one; a `-o SetEnv=` of a program around ssh takes all of
#       the user's away. One line with several assignments is the way; SendEnv does add up.
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
printf 'Host box\n    SetEnv A=1\n    SendEnv X\nHost *\n    SetEnv B=2\n    SendEnv Y\n' >config
of() { "$ssh" -G -F config "$@" box </dev/null 2>/dev/null | grep -E '^(setenv|sendenv) ' | paste -s -d ' '; }
blocks=$(of) option=$(of -o SetEnv=C=3) line=$(of -o 'SetEnv=C=3 D=4')
echo "two blocks: $blocks; with an option: $option; one line of two: $line"
[ "$blocks" = 'sendenv X sendenv Y setenv A=1' ] || changed "two blocks: $blocks"
[ "$option" = 'sendenv X sendenv Y setenv C=3' ] || changed "with an option: $option"
[ "$line" = 'sendenv X sendenv Y setenv C=3 setenv D=4' ] || changed "one line: $line"
