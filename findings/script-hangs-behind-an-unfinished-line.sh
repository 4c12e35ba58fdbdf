#!/bin/sh
# Expected: `printf text | script -qc PROGRAM /dev/null`, by which scripts give a program a terminal, ends
#           when the pipe and the program's reading of it end, as without script.
# Seen: the end of the pipe becomes one character, Ctrl-D, of the terminal. Behind a line that has its
#       newline that is the end of the input; behind any other text it only hands the line over,
#       and the program waits for more for ever. One that has set the terminal raw reads a byte 4 and
#       waits, too. script goes on to wait with them. A newline at the end helps the first; the second
#       ends only by a limit of its own, or by timeout(1) around script.
# Versions: script of util-linux 2.38.1 (Debian bsdutils 1:2.38.1-5+deb12u3)
# Date: 2026-12-01
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

get bsdutils=1:2.38.1-5+deb12u3
cd "$work" || exit 77
script="$work/root/usr/bin/script"
"$script" --version || skip "not this machine's kind of program"
# What a program says of what a pipe gave it, where script ends by itself.
seen() {
    printf "$2" >text
    { sleep 1; cat text; } | timeout 8 "$script" -qec "$3" /dev/null >said 2>&1
    case $? in 0) end="ends" ;; 124) end="no end in 8 s" ;; *) end="another status" ;; esac
    told="$end$(grep -o ' read:.*' said | tr -d '\r')"
    echo "$1: $told"
    [ "$told" = "$4" ] || { cat said; changed "expected: $4"; }
}
count='echo " read: $(cat | od -An -tx1)"'
seen "a whole line" 'abc\n' "$count" "ends read:  61 62 63 0a"
seen "nothing" '' "$count" "ends read: "
seen "a line without its end" 'abc' "$count" "no end in 8 s"
seen "two, the last without its end" 'abc\nabc' "$count" "no end in 8 s"
raw='stty raw -echo; echo " read: $(head -c 4 | od -An -tx1)"'
seen "raw, that reads four bytes" 'abc' "$raw" "ends read:  61 62 63 04"
seen "raw, that reads to the end" 'abc' "stty raw -echo; $count" "no end in 8 s"
