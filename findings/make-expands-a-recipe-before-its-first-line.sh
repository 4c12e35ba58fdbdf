#!/bin/sh
# Expected: the lines of a recipe are expanded one after the other, as they run: what the first line
#           installs or writes can be asked for by a $(shell ...) or $(wildcard ...) in the second.
# Seen: all lines are expanded before the first one runs. $(shell cat made) in the second line reads
#       the file as it was before the first line wrote it, and $(wildcard made) finds nothing.
#       Variables that a sub-make, a $$ or the shell itself expand are not concerned.
# Versions: GNU make 4.3 (Debian 4.3-4.1)
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

get make=4.3-4.1
cd "$work" || exit 77
printf '%s\n' all: '	@echo new >made' '	@echo "shell: $(shell cat made)"' \
    '	@echo "wildcard: $(wildcard m?de)"' '	@echo "the shell itself: $$(cat made)"' >Makefile
echo old >made
"$work/root/usr/bin/make" --version | head -n 1 || skip "make does not run"
"$work/root/usr/bin/make" -s >first || skip "make ends with $?"
rm made
"$work/root/usr/bin/make" -s >second 2>/dev/null || skip "make ends with $?"
cat first
echo "-- without the file before:"
cat second
grep -qx 'the shell itself: new' first && grep -qx 'the shell itself: new' second ||
    skip "the first line does not write"
grep -qx 'shell: old' first && grep -qx 'shell: ' second && grep -qx 'wildcard: ' second ||
    changed "a line sees what the one before it made"
