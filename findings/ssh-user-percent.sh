#!/bin/sh
# Expected: `User a%hb` means the same login for every release of OpenSSH, and `%%` in it is one sign.
# Seen: 9.2 takes every percent sign as a letter of the name (`a%%b` stays `a%%b`); 10.0 replaces
#       tokens (`a%hb` for host x is `axb`) and `a%%b` becomes `a%b`. A login with a percent sign
#       has no spelling in the configuration that both take as the same name.
# Versions: OpenSSH 9.2p1 (Debian 1:9.2p1-2+deb12u10), 10.0p1 (Debian 1:10.0p1-7+deb13u4)
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
mv "$work/root" "$work/old"; rm "$work"/*.deb
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$' | head -n 1)
[ -n "$mirror" ] || skip "no mirror of Debian is set up"
key=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$key] $mirror trixie main" >"$work/sources.list"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
# apt with lists of its own, so that the machine's sources stay as they are.
printf '%s\n' "Dir::Etc::sourcelist \"$work/sources.list\";" 'Dir::Etc::sourceparts "/dev/null";' \
    "Dir::State::lists \"$work/lists\";" "Dir::Cache \"$work/cache\";" 'APT::Sandbox::User "root";' \
    'Acquire::Languages "none";' 'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";' \
    >"$work/apt.conf"
export APT_CONFIG="$work/apt.conf"
apt-get -q update >"$work/update.log" 2>&1 || skip "the lists of trixie do not come"
get openssh-client=1:10.0p1-7+deb13u4 libssl3t64 libc6 zlib1g libselinux1 libpcre2-8-0 \
    libedit2 libtinfo6 libbsd0 libmd0 libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0 \
    libcom-err2 libkeyutils1
cd "$work" || exit 77
lib=$work/root/usr/lib/x86_64-linux-gnu
old() { "$work/old/usr/bin/ssh" "$@"; }
new() { "$work/root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$lib" "$work/root/usr/bin/ssh" "$@"; }
old -V 2>&1 && new -V 2>&1 || skip "not this machine's kind of program"

login() { printf 'Host x\n    User %s\n' "$2" >config; "$1" -G -F config x </dev/null 2>/dev/null | sed -n 's/^user //p'; }
# What is used in the end: -G might show it before tokens are replaced.
used() {
    printf "Host x\n    User %s\n    ProxyCommand sh -c 'echo \"%%r\" >used; true'\n" "$2" >config
    rm -f used; "$1" -F config x true </dev/null >/dev/null 2>&1; cat used
}
for word in 'a%%b' 'a%hb'; do
    for ssh in old new; do
        echo "$ssh: User $word is shown as $(login $ssh "$word"), used as $(used $ssh "$word")"
    done
done
[ "$(used old 'a%%b')" = 'a%%b' ] || changed "9.2 does not take %% as two letters"
[ "$(used old 'a%hb')" = 'a%hb' ] || changed "9.2 replaces a token"
[ "$(used new 'a%%b')" = 'a%b' ] || changed "10.0 does not take %% as one sign"
[ "$(used new 'a%hb')" = 'axb' ] || changed "10.0 does not replace %h"
