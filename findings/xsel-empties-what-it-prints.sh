#!/bin/sh
# Expected: `text=$(xsel -b)` in a script reads the clipboard and changes nothing.
# Seen: without -o or -i xsel does both where neither end is a terminal: it prints the selection and then
#       takes what is on standard input in its place. A service, a job of cron, an editor's child with
#       /dev/null there has emptied the clipboard by looking at it.
# Versions: xsel 1.2.0 (Debian 1.2.0+git9bfc13d.20180109-4), Xvfb 21.1.7
# Date: 2026-11-29
set -u
work=$(mktemp -d) || exit 77
trap 'kill $server 2>/dev/null; rm -rf "$work"' EXIT
server=
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
# Unpacks Debian packages of exactly these versions into the temporary folder; installs nothing.
get() {
    (cd "$work" && apt-get -q download "$@" && for deb in *.deb; do dpkg -x "$deb" root; done) \
        >"$work/get.log" 2>&1 || skip "no package $*: $(tail -n 1 "$work/get.log")"
}
command -v Xvfb >/dev/null || skip "needs Xvfb"
get xsel=1.2.0+git9bfc13d.20180109-4
PATH=$work/root/usr/bin:$PATH
cd "$work" || exit 77
mkfifo ready
Xvfb -displayfd 3 -screen 0 320x240x8 3>ready >/dev/null 2>&1 & server=$!
read -r number <ready || skip "Xvfb does not start here"
export DISPLAY=":$number"
printf 'precious' | xsel -b -i >/dev/null 2>&1
sleep 1
seen="was [$(xsel -b -o </dev/null)]"
seen="$seen, looked at [$(xsel -b </dev/null)]"
sleep 1
seen="$seen, and is [$(xsel -b -o </dev/null)]"
echo "$seen"
[ "$seen" = 'was [precious], looked at [precious], and is []' ] || changed "$seen"
