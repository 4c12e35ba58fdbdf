#!/bin/sh
# Expected: `RefuseConnection none` in a host's block takes back a refusal of a later `Host *`, as `none`
#           does for ProxyJump, ProxyCommand, RemoteCommand and others.
# Seen: no value means "do not refuse". `none` refuses, with the word as the reason it prints; and as the
#       directive acts where it is read, a client asked with -G for its settings ends, too.
# Versions: OpenSSH 10.6p1 (Debian 1:10.6p1-1)
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
new() { "$work/root/usr/lib64/ld-linux-x86-64.so.2" --library-path "$lib" "$work/root/usr/bin/ssh" "$@"; }
new -V 2>&1 || skip "not this machine's kind of program"

printf 'Host box\n    RefuseConnection none\n    ProxyCommand none\nHost *\n    ProxyCommand false\n' >config
new -G -F config box >shown 2>error </dev/null; refused=$?
new -G -F config other >/dev/null 2>&1 </dev/null; other=$?
reason=$(tr -d '\r' <error | sed -n 's/.*RefuseConnection: *//p')
echo "with none: exit $refused, reason '$reason', $(wc -l <shown) settings; another host: exit $other"
[ "$other" = 0 ] || changed "another host: exit $other"
[ "$refused" = 255 ] && [ "$reason" = none ] || changed "with none: exit $refused, '$reason'"
