#!/bin/sh
# Expected: a line of /etc/hosts that names a machine for programs of glibc does so for those of musl (Alpine,
#           static programs): in any case of letters, behind blanks, however long it is.
# Seen: musl finds a name only in the case that it is written in, so that http://BOX.hop, which glibc finds,
#       is unknown; a line that begins with a blank is none; names behind the 510th byte of a line are
#       lost. It takes what glibc refuses for an address: 10.10.1 (10.10.0.1), 0x0a0a0102, and 010 as 8.
#       Neither finds a name that is asked for with a dot at its end.
# Versions: musl 1.2.3 (Debian 1.2.3-1), glibc 2.36
# Date: 2026-11-30
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
[ "$(id -u)" = 0 ] && unshare -mn true 2>/dev/null || skip "no namespaces can be made"
command -v cc >/dev/null && [ "$(uname -m)" = x86_64 ] || skip "needs cc on x86_64"
cd "$work" || exit 77
(apt-get -q download musl-dev=1.2.3-1 && dpkg -x musl-dev_*.deb root) >get.log 2>&1 ||
    skip "$(tail -n 1 get.log)"
cat >look.c <<'END'
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
int main(int count, char **names)
{
    for (int at = 1; at < count; at++) {
        struct addrinfo hints, *found;
        char text[INET_ADDRSTRLEN] = "unknown";
        memset(&hints, 0, sizeof hints);
        hints.ai_socktype = SOCK_STREAM;
        hints.ai_family = AF_INET;
        if (getaddrinfo(names[at], 0, &hints, &found) == 0)
            inet_ntop(AF_INET, &((struct sockaddr_in *)found->ai_addr)->sin_addr, text, sizeof text);
        printf("%s %s\n", names[at], text);
    }
}
END
lib=root/usr/lib/x86_64-linux-musl
cc -o glibc look.c 2>cc.log &&
    cc -nostdinc -isystem root/usr/include/x86_64-linux-musl -static -nostdlib -o musl \
        $lib/crt1.o $lib/crti.o look.c $lib/libc.a -lgcc $lib/crtn.o 2>>cc.log || skip "$(tail -n 1 cc.log)"
long=$(printf 'alias%03d.example ' $(seq 40))
{
    echo 127.0.0.1 localhost
    echo 10.10.0.2 box.hop
    echo ' 10.10.0.3 blank.hop'
    echo "10.10.0.4 $long far.hop"
    echo 10.10.1 short.hop
    echo 0x0a0a0102 hex.hop
    echo 10.10.0.010 zero.hop
} >hosts
unshare -mn sh -c 'mount --bind hosts /etc/hosts && ip link set lo up || exit 77
    for libc in musl glibc; do
        echo $libc
        ./$libc box.hop BOX.hop box.hop. blank.hop far.hop short.hop hex.hop zero.hop
    done' >seen || skip "no mounts here"
cat seen
cat >known <<'END'
musl
box.hop 10.10.0.2
BOX.hop unknown
box.hop. unknown
blank.hop unknown
far.hop unknown
short.hop 10.10.0.1
hex.hop 10.10.1.2
zero.hop 10.10.0.8
glibc
box.hop 10.10.0.2
BOX.hop 10.10.0.2
box.hop. unknown
blank.hop 10.10.0.3
far.hop 10.10.0.4
short.hop unknown
hex.hop unknown
zero.hop unknown
END
cmp -s known seen || changed "see above"
