#!/bin/sh
# Expected: mkhomedir_helper(8), which pam_mkhomedir runs for a first login, makes a home directory
#           and ends with 0, or ends with another status and leaves none.
# Seen: without /etc/skel it ends with 6 (PAM_PERM_DENIED) and has made the directory, of the right
#       owner and mode, empty. So a login is refused once and let in the next time, and whoever made
#       homes by hand and looked at the status believes that there is none.
# Versions: libpam-modules-bin 1.5.2-6+deb12u2 (Debian 12)
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

[ "$(id -u)" = 0 ] || skip "needs root, to have an /etc of its own"
get libpam-modules-bin=1.5.2-6+deb12u2
chmod 0755 "$work"
# Everything below happens in a mount namespace that ends with it.
unshare --mount sh -euc '
    mount -t tmpfs -o mode=0755 none /mnt && cp -a /etc/. /mnt/ && mount --bind /mnt /etc
    echo "newcomer:x:4711:4711::$0/home/newcomer:/bin/sh" >>/etc/passwd
    for skel in with without; do
        mkdir -p "$0/home" /etc/skel
        [ $skel = with ] || rm -r /etc/skel
        status=0
        "$0/root/sbin/mkhomedir_helper" newcomer || status=$?
        made=$(stat -c "%u %F" "$0/home/newcomer" 2>/dev/null || echo none)
        echo "$skel /etc/skel: status $status, $made"
        rm -rf "$0/home"
    done
' "$work" >"$work/told" 2>&1 || skip "no namespaces: $(tail -n 1 "$work/told")"
cat "$work/told"
grep -qx 'with /etc/skel: status 0, 4711 directory' "$work/told" || skip "it makes none at all"
grep -qx 'without /etc/skel: status 6, 4711 directory' "$work/told" || changed "see above"
