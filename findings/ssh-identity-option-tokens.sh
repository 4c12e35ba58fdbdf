#!/bin/sh
# Expected: a percent sign in the file of `ssh -i` is either a letter or begins a token; and `%%`, as
#           in IdentityFile, stands for the sign itself.
# Seen: -i looks for the file by its letters (`k%%h` is "not accessible" and dropped without end of
#       ssh), then loads it by its tokens (`k%h`, which exists, loads kx.example instead). A file with a
#       percent sign in its name cannot be named by -i; `-o IdentityFile=k%%h` can.
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
"$work/root/usr/bin/ssh-keygen" -q -t ed25519 -N '' -f './k%h' || skip "no key can be made"
cp './k%h' kx.example
tried() {
    "$ssh" -F none -v -o ProxyCommand=false "$@" x.example true </dev/null 2>&1 |
        sed -n 's/^debug1: identity file \(\.[^ ]*\) .*/loads \1/p; s/^Warning: .* not accessible.*/not accessible/p' |
        grep -v -- -cert | head -n 1
}
letters=$(tried -i './k%h') doubled=$(tried -i './k%%h') option=$(tried -o 'IdentityFile=./k%%h')
echo "the file's name is k%h. -i k%h: $letters; -i k%%h: $doubled; -o IdentityFile=k%%h: $option"
[ "$letters" = 'loads ./kx.example' ] || changed "-i k%h: $letters"
[ "$doubled" = 'not accessible' ] || changed "-i k%%h: $doubled"
[ "$option" = 'loads ./k%h' ] || changed "-o IdentityFile: $option"
mv './k%h' gone
letters=$(tried -i './k%h')
echo "without that file, -i k%h: $letters"
[ "$letters" = 'not accessible' ] || changed "without the file -i k%h: $letters"
