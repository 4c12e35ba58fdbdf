#!/bin/sh
# Expected: a login that `User` in the configuration takes, `ssh -l` takes as well, and so the other
#           way; `CORP\bob` (a directory service's name) works by all ways or by none.
# Seen: OpenSSH 10.6 refuses it with -l, in user@host and with -o User= ("remote username contains
#       invalid characters"), and takes it from a file. 9.2 takes it everywhere.
# Versions: OpenSSH 9.2p1 (Debian 1:9.2p1-2+deb12u10), 10.6p1 (Debian 1:10.6p1-1)
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
echo "deb [signed-by=$key] $mirror sid main" >"$work/sources.list"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
# apt with lists of its own, so that the machine's sources stay as they are.
printf '%s\n' "Dir::Etc::sourcelist \"$work/sources.list\";" 'Dir::Etc::sourceparts "/dev/null";' \
    "Dir::State::lists \"$work/lists\";" "Dir::Cache \"$work/cache\";" 'APT::Sandbox::User "root";' \
    'Acquire::Languages "none";' 'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";' \
    >"$work/apt.conf"
export APT_CONFIG="$work/apt.conf"
apt-get -q update >"$work/update.log" 2>&1 || skip "the lists of sid do not come"
get openssh-client=1:10.6p1-1 libssl3t64 libc6 zlib1g libselinux1 libpcre2-8-0 libedit2 libtinfo6 \
    libbsd0 libmd0
cd "$work" || exit 77
lib=$work/root/usr/lib/x86_64-linux-gnu
old() { "$work/old/usr/bin/ssh" "$@"; }
new() { "$work/root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$lib" "$work/root/usr/bin/ssh" "$@"; }
old -V 2>&1 && new -V 2>&1 || skip "not this machine's kind of program"

printf 'Host x\n    User "CORP\\bob"\n' >config
login() { "$@" </dev/null 2>error | sed -n 's/^user //p'; sed -n '/invalid/p' error | head -n 1 | tr -d '\r'; }
for ssh in old new; do
    file=$(login $ssh -G -F config x)
    option=$(login $ssh -G -F none -l 'CORP\bob' x)
    at=$(login $ssh -G -F none 'CORP\bob@x')
    set_=$(login $ssh -G -F none -o 'User=CORP\bob' x)
    printf "%s: file: %s; -l: %s; user@host: %s; -o User=: %s\n" "$ssh" "$file" "$option" "$at" "$set_"
    [ "$file" = 'CORP\bob' ] || changed "$ssh refuses it in a file"
    case $ssh in
        old) want='CORP\bob' ;;
        new) want='remote username contains invalid characters' ;;
    esac
    for got in "$option" "$at" "$set_"; do
        [ "$got" = "$want" ] || changed "$ssh: $got"
    done
done
