#!/bin/sh
# Expected: `makepkg --printsrcinfo`, which only reads a PKGBUILD, works where makepkg is installed.
# Seen: without pacman(8) in PATH, which Debian has in another package that makepkg does not depend
#       on, it says "An unknown error has occurred", not what is missing, and ends itself by SIGUSR1
#       (a shell sees 138). With any program of that name that succeeds it prints what was asked.
# Versions: makepkg 6.0.2 (Debian 6.0.2-3)
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

get makepkg=6.0.2-3
cd "$work" || exit 77
mkdir bin sample
for tool in /usr/bin/* /bin/*; do
    case ${tool##*/} in pacman* | makepkg*) ;; *) [ -e "bin/${tool##*/}" ] || ln -s "$tool" bin/ ;; esac
done
printf '%s\n' pkgname=sample pkgver=1 pkgrel=1 'arch=(any)' 'package() { :; }' >sample/PKGBUILD
# It refuses to run as root.
as=
if [ "$(id -u)" = 0 ]; then
    as='setpriv --reuid nobody --clear-groups'
    chmod -R a+rX . && chown -R nobody sample || skip "no other user"
fi
ask() {
    (cd sample && $as env -i PATH="$work/bin" HOME="$work/sample" LIBRARY="$work/root/usr/share/makepkg" \
        MAKEPKG_CONF="$work/root/etc/makepkg.conf" bash "$work/root/usr/bin/makepkg" --printsrcinfo) 2>&1
    echo "exit $?"
}
ask >without 2>/dev/null
printf '#!/bin/sh\nexit 0\n' >bin/pacman && chmod 755 bin/pacman
ask >with
echo "without pacman:"; cat without; echo "with one that does nothing:"; cat with
grep -q 'unknown error' without && grep -qx 'exit 138' without || changed "$(cat without)"
! grep -qi pacman without || changed "it names what is missing"
grep -qx 'pkgbase = sample' with && grep -qx 'exit 0' with || changed "$(cat with)"
