#!/bin/sh
# Expected: a restore into a directory where an earlier one was (after an interruption, or to take back
#           single changes) leaves what the snapshot has, and ends with 0; or says what it cannot.
# Seen: of files with several names one name is left, and the others are deleted, with exit 0; one more
#       restore brings them back, and one more takes them away. Onto files that were there it writes
#       in place: another name of such a file, outside of the target, has the snapshot's content
#       after it. And what the first restore made, symbolic links and FIFOs, stops the second, exit 1
#       ("file exists"). Restore into an empty directory, and rename. 0.19.1 keeps all names.
# Versions: restic 0.14.0 (Debian 0.14.0-1+b5)
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

get restic=0.14.0-1+b5
export HOME="$work" RESTIC_PASSWORD=x RESTIC_REPOSITORY="$work/repository"
restic="$work/root/usr/bin/restic"
"$restic" version || skip "restic does not run"
"$restic" -q init || skip "no repository"
cd "$work" || exit 77
mkdir tree
echo one >tree/a; ln tree/a tree/b; ln tree/a tree/c; echo two >tree/single
"$restic" -q backup tree >log 2>&1 || skip "no backup: $(cat log)"
restore() { "$restic" -q restore latest --target out >log 2>&1; status=$?; }
names() { echo "exit $status, $(ls out/tree | tr '\n' ' ')"; }
seen() {
    echo "$1: $2"
    [ "$2" = "$3" ] || changed "expected: $3"
}
restore; seen "into nothing" "$(names)" "exit 0, a b c single "
restore; seen "again" "$(names)" "exit 0, a single "
restore; seen "again" "$(names)" "exit 0, a b c single "
rm -r out; restore; rm out/tree/b
restore; seen "with one name missing" "$(names)" "exit 0, a b single "
rm -r out; restore
echo outside >elsewhere; ln -f elsewhere out/tree/single
restore; seen "a file that has a name elsewhere, which is then" "$(cat elsewhere)" two
ln -s a tree/link; mkfifo tree/fifo
"$restic" -q backup tree >log 2>&1 || skip "no backup: $(cat log)"
rm -r out; restore; [ $status = 0 ] || skip "the first restore fails"
restore; cat log
seen "again, with a link and a FIFO: errors" "exit $status, $(grep -c 'file exists' log)" "exit 1, 2"
