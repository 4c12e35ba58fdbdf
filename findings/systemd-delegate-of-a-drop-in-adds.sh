#!/bin/sh
# Expected: Delegate= of a drop-in replaces the unit's own, as a list of limits or a number does: after
#           `Delegate=pids memory cpu` a drop-in with `Delegate=pids memory` takes cpu away, and one with
#           `Delegate=yes` gives all.
# Seen: lists are a union, so that a drop-in never takes a controller away, and says nothing. Only an
#       empty Delegate= before it does. `yes` does give all, and a list after it takes none of them back;
#       `no` takes all, and a list after it gives its own.
# Versions: systemd 252 (Debian 252.39-1~deb12u2)
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

get systemd=252.39-1~deb12u2 libsystemd-shared=252.39-1~deb12u2
systemd=$work/root/lib/systemd/systemd
export LD_LIBRARY_PATH="$work/root/usr/lib/x86_64-linux-gnu/systemd:$work/root/lib/x86_64-linux-gnu/systemd"
"$systemd" --version | head -n 1
"$systemd" --version >/dev/null 2>&1 || skip "this machine lacks libraries of systemd"
# It only reads the units and tells what it would start; not as root, who might be taken for process 1.
mkdir -p "$work/units/x.service.d" "$work/run"
chmod 755 "$work"
if [ "$(id -u)" = 0 ]; then chown nobody "$work/run"; as='setpriv --reuid nobody --clear-groups'; fi
# The controllers after the unit's own list and the lines of a drop-in.
controllers() {
    printf '[Service]\nExecStart=/bin/sleep 9\nDelegate=%s\n' "$1" >"$work/units/x.service"
    printf '[Service]\n%b' "$2" >"$work/units/x.service.d/y.conf"
    ${as:-} env HOME="$work/run" XDG_RUNTIME_DIR="$work/run" SYSTEMD_UNIT_PATH="$work/units:" \
        timeout 30 "$systemd" --user --test --unit=x.service 2>&1 |
        awk '/-> Unit / { mine = /x.service/ } mine && sub(/.*DelegateControllers: */, "") { print; exit }'
}
own=$(controllers 'pids memory cpu' '')
[ "$own" = "cpu memory pids" ] || skip "it does not tell: $own"
is() {
    told=$(controllers "$1" "$2")
    printf 'Delegate=%s, then %s: %s\n' "$1" "$2" "$told"
    [ "$told" = "$3" ] || changed "expected: $3"
}
is 'pids memory cpu' 'Delegate=pids memory\n' 'cpu memory pids'
is 'pids memory cpu' 'Delegate=\nDelegate=pids memory\n' 'memory pids'
is 'pids' 'Delegate=memory\n' 'memory pids'
is 'no' 'Delegate=pids\n' 'pids'
all=$(controllers yes '')
is 'yes' 'Delegate=pids memory\n' "$all"
