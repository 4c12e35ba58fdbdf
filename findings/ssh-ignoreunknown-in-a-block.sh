#!/bin/sh
# Expected: `IgnoreUnknown X` beside `X` in a Host block keeps a client that does not know X quiet.
# Seen: for the block's own host it does. For every other host the block's lines are still parsed,
#       IgnoreUnknown is not applied there, and X ends ssh: one block breaks all other hosts.
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
printf 'Host mybox\n    IgnoreUnknown FutureWord\n    FutureWord yes\n' >inside
printf 'IgnoreUnknown FutureWord\nHost mybox\n    FutureWord yes\n' >before

"$ssh" -G -F inside mybox >/dev/null 2>&1 </dev/null; own=$?
"$ssh" -G -F inside other 2>error >/dev/null </dev/null; other=$?
"$ssh" -G -F before other >/dev/null 2>&1 </dev/null; outside=$?
echo "IgnoreUnknown in the block: its host $own, another host $other; ahead of all blocks: $outside"
grep -i 'bad configuration' error
[ "$own" = 0 ] || changed "the block's own host is refused"
[ "$outside" = 0 ] || changed "IgnoreUnknown ahead of all blocks does not help"
[ "$other" = 255 ] || changed "another host is taken (exit $other)"
