#!/bin/sh
# Expected: a package whose pre_install ends with an error is not installed, and pacman ends with an error; so
#           with pre_upgrade and pre_remove, as with dpkg's preinst and prerm and with rpm's %pre and
#           %preun.
# Seen: pacman says "command failed to execute correctly", goes on, and ends with 0: the package is
#       installed, upgraded or removed. The same with a syntax error in .INSTALL, after which none of
#       its functions runs, and with a hook. What may stop a transaction is a hook before it, with
#       AbortOnFail, and nothing that the package says itself; so a package cannot refuse to be
#       removed while it is in use, and whoever installs by a script does not learn of a failure.
# Versions: pacman 6.0.2 (Debian pacman-package-manager 6.0.2-3)
# Date: 2026-12-01
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
[ "$(id -u)" = 0 ] || skip "pacman wants root"
# Unpacks Debian packages of exactly these versions into the temporary folder; installs nothing.
get() {
    (cd "$work" && apt-get -q download "$@" && for deb in *.deb; do dpkg -x "$deb" root; done) \
        >"$work/get.log" 2>&1 || skip "no package $*: $(tail -n 1 "$work/get.log")"
}

get pacman-package-manager=6.0.2-3 libalpm13=13.0.2-3
export LD_LIBRARY_PATH="$work/root/usr/lib/x86_64-linux-gnu"
"$work/root/usr/bin/pacman" --version | sed -n 2p
"$work/root/usr/bin/pacman" --version >/dev/null 2>&1 || skip "this machine lacks libraries of pacman"
cd "$work" || exit 77
mkdir -p system/var/lib/pacman system/tmp system/dev hooks cache
printf '[options]\nArchitecture = auto\nSigLevel = Never\n' >pacman.conf
# In a mount namespace that ends with it: the scripts' shell is this machine's.
cat >act.sh <<'END'
for dir in bin lib lib64 usr; do
    [ -e "/$dir" ] && mkdir -p "system/$dir" && mount --bind "/$dir" "system/$dir"
done
mount --bind /dev system/dev
root/usr/bin/pacman --config pacman.conf --root "$PWD/system" --dbpath "$PWD/system/var/lib/pacman" \
    --hookdir "$PWD/hooks" --cachedir "$PWD/cache" --logfile "$PWD/log" --noconfirm "$@" >said 2>&1
echo $? >status
END
act() { unshare -m --propagation private sh act.sh "$@" || skip "no mount namespace"; }
# A package of one file, whose script is what standard input has.
package() {
    rm -rf made; mkdir -p made/opt; echo "$2" >"made/opt/$1"
    printf '%s\n' "pkgname = $1" "pkgver = $2-1" 'pkgdesc = x' 'builddate = 1' 'size = 1' 'arch = any' >made/.PKGINFO
    cat >made/.INSTALL
    (cd made && tar cf "../$1-$2.pkg.tar" .PKGINFO .INSTALL opt)
}
seen() {
    told="exit $(cat status), errors $(grep -c 'command failed' said), file $(cat "system/opt/$2" 2>/dev/null)"
    echo "$1: $told"
    [ "$told" = "$3" ] || { cat said; changed "expected: $3"; }
}
echo 'pre_install() { exit 3; }' | package a 1
act -U a-1.pkg.tar; seen "pre_install says no" a "exit 0, errors 1, file 1"
echo 'pre_upgrade() { exit 3; }; pre_remove() { exit 4; }' | package a 2
act -U a-2.pkg.tar; seen "pre_upgrade says no" a "exit 0, errors 1, file 2"
act -R a; seen "pre_remove says no" a "exit 0, errors 1, file "
echo 'post_install() { if then; }; pre_remove() { exit 4; }' | package b 1
act -U b-1.pkg.tar; seen "no shell understands it" b "exit 0, errors 1, file 1"
hook() { printf '[Trigger]\nOperation = Install\nType = Package\nTarget = *\n[Action]\nWhen = PreTransaction\nExec = /bin/false\n'; }
hook >hooks/no.hook; : | package c 1
act -U c-1.pkg.tar; seen "a hook before it fails" c "exit 0, errors 1, file 1"
{ hook; echo AbortOnFail; } >hooks/no.hook; : | package d 1
act -U d-1.pkg.tar; seen "the hook has AbortOnFail" d "exit 1, errors 1, file "
