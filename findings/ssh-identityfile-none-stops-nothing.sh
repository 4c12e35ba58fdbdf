#!/bin/sh
# Expected: `IdentityFile none` in a host's block ("no identity files should be loaded", says the manual)
#           ends the list, as `none` does for ProxyCommand, RemoteCommand and PermitRemoteOpen: first one wins.
# Seen: it keeps the default keys away and is one entry among others: a later `Host *` adds its files and
#       they are offered. CertificateFile is the same. Only -F with another file keeps them out.
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
"$work/root/usr/bin/ssh-keygen" -q -t ed25519 -N '' -f later || skip "no key can be made"
printf 'Host box\n    IdentityFile none\n    PermitRemoteOpen none\n' >alone
{ cat alone; printf 'Host *\n    IdentityFile ./later\n    PermitRemoteOpen far:1\n'; } >both
loads() {
    "$ssh" -F "$1" -v -o ProxyCommand=false box true </dev/null 2>&1 |
        sed -n 's/^debug1: identity file \([^ ]*\) .*/\1/p' | grep -v -- -cert | paste -s -d ' '
}
open=$("$ssh" -G -F both box </dev/null 2>/dev/null | sed -n 's/^permitremoteopen //p')
echo "alone: '$(loads alone)', with a later block: '$(loads both)'; PermitRemoteOpen: $open"
[ "$open" = none ] || changed "PermitRemoteOpen is $open"
[ -z "$(loads alone)" ] || changed "alone it loads $(loads alone)"
[ "$(loads both)" = ./later ] || changed "with a later block it loads $(loads both)"
