#!/bin/sh
# Expected: `dh_auto_test -- GOAL` runs that goal of the Makefile in the place of its own, as
#           `dh_auto_build -- GOAL` is used.
# Seen: its own goal stays: it runs `make check GOAL`, both of them, so that a package build runs the
#       whole of the tests, too.
# Versions: debhelper 13.11.4 (Debian 12)
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

get debhelper=13.11.4 libdebhelper-perl=13.11.4
mkdir -p "$work/sample/debian" && cd "$work/sample" || exit 77
printf 'check:\n\t@echo whole\ncheck-unit:\n\t@echo unit\n' >Makefile
echo 13 >debian/compat
printf '%s\n' 'Source: sample' 'Maintainer: Sample <sample@example.org>' '' 'Package: sample' \
    'Architecture: all' 'Description: sample' >debian/control
printf '%s\n' 'sample (1) unstable; urgency=low' '' '  * First.' '' \
    ' -- Sample <sample@example.org>  Sun, 29 Nov 2026 00:00:00 +0000' >debian/changelog
PERL5LIB=$work/root/usr/share/perl5 perl "$work/root/usr/bin/dh_auto_test" -- check-unit >../said 2>../error ||
    skip "$(tail -n 1 ../error)"
cat ../said
[ "$(grep -xE 'whole|unit' ../said | paste -s -d ' ')" = 'whole unit' ] || changed "$(cat ../said)"
