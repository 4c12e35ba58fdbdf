#!/bin/sh
# Expected: strace -P FILE shows, and with -e inject= breaks, every system call that names FILE: also
#           the rename that puts a new file in its place, which is how most programs save.
# Seen: of rename(2) it looks at the old name alone. Both names count in renameat, renameat2 and
#       link, so `mv` is seen, while a program that uses rename(2), as C, Perl, Python and Rust do,
#       goes by unseen: nothing is injected, the program ends with 0, and a test of kills at each
#       save passes without one.
# Versions: strace 6.1 (Debian 6.1-0.1)
# Date: 2026-11-30
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
command -v perl >/dev/null || skip "no perl"

get strace=6.1-0.1 libunwind8=1.6.2-3
LD_LIBRARY_PATH=$(echo "$work"/root/usr/lib/*-linux-gnu*)
export LD_LIBRARY_PATH
strace="$work/root/usr/bin/strace"
"$strace" -V | head -n 1
[ "$("$strace" -V | head -n 1)" = "strace -- version 6.1" ] || skip "strace does not run"
cd "$work" || skip "no folder"

# Which of its names a call is seen by: what it is called with is OLD and NEW.
seen_by() {
    seen=
    for name in old new; do
        rm -f old new
        echo x >old
        "$strace" -qq -o told -P "$work/$name" "$@" "$work/old" "$work/new" || skip "$* fails"
        grep -Eq "^(rename|link)[a-z0-9]*\(.*\) += 0" told && seen="$seen $name"
    done
    echo "${seen# }"
}
renames=$(seen_by perl -e 'rename $ARGV[0], $ARGV[1] or die')
links=$(seen_by perl -e 'link $ARGV[0], $ARGV[1] or die')
moves=$(seen_by mv -T)
echo "rename(2) is seen by: $renames"
echo "link(2) is seen by: $links"
echo "renameat2(2) of mv is seen by: $moves"

echo x >old
"$strace" -qq -o told -P "$work/new" -e inject=rename:error=EIO \
    perl -e 'rename $ARGV[0], $ARGV[1] or die' "$work/old" "$work/new"
code=$?
echo "with an error injected into the rename to it, the program ends with $code"
[ "$links" = "old new" ] && [ "$moves" = "old new" ] || skip "the others are not as expected"
[ "$renames" = old ] && [ $code = 0 ] || changed "rename(2) is seen by: $renames, and ends with $code"
