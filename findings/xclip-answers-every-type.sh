#!/bin/sh
# Expected: a clipboard that holds text has no image: whoever asks its owner for image/png is refused, and
#           xclip ends with 1, as it does when xsel owns the selection.
# Seen: a selection that xclip owns is handed out under any type that is asked for: `xclip -o -t image/png`
#       writes the text and ends with 0. TARGETS is the truth (it lists UTF8_STRING alone), so whoever
#       wants an image has to ask for that first, and look at the bytes.
# Versions: xclip 0.13 (Debian 0.13-2), xsel 1.2.0 (1.2.0+git9bfc13d.20180109-4), Xvfb 21.1.7
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
get xclip=0.13-2 xsel=1.2.0+git9bfc13d.20180109-4
PATH=$work/root/usr/bin:$PATH
cd "$work" || exit 77
mkfifo ready
Xvfb -displayfd 3 -screen 0 320x240x8 3>ready >/dev/null 2>&1 & server=$!
read -r number <ready || skip "Xvfb does not start here"
export DISPLAY=":$number"
asks() { xclip -o -selection clipboard -t "$1" 2>/dev/null | paste -s -d ' '; }
printf 'some text' | xclip -selection clipboard >/dev/null 2>&1
seen="xclip has $(asks TARGETS); image/png is [$(asks image/png)]"
printf 'some text' | xsel -b -i >/dev/null 2>&1
sleep 1
seen="$seen; of xsel it is [$(asks image/png)]"
echo "$seen"
want='xclip has TARGETS UTF8_STRING; image/png is [some text]; of xsel it is []'
[ "$seen" = "$want" ] || changed "$seen"
