#!/bin/sh
# Expected: fish of a distribution finds completions below /usr/local (make install's default prefix)
#           without any set-up, as zsh (/usr/local/share/zsh/site-functions) and bash-completion do.
# Seen: without XDG_DATA_DIRS, as over ssh and on the console, it looks below /usr/share,
#       /etc/fish and the home directory, and nowhere below /usr/local; with XDG_DATA_DIRS it does.
# Versions: fish 3.6.0 (Debian 3.6.0-3.1+deb12u1)
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

get fish=3.6.0-3.1+deb12u1
command -v fish >/dev/null || skip "fish-common's files are not in /usr/share"
cd "$work" && mkdir home || exit 77
ask() {
    env -i HOME="$work/home" PATH=/usr/bin:/bin "$@" "$work/root/usr/bin/fish" \
        -c 'string join \n $fish_complete_path' 2>error || skip "$(tail -n 1 error)"
}
ask >plain
ask XDG_DATA_DIRS=/usr/local/share:/usr/share >told
echo "plain:"; cat plain; echo "told:"; cat told
grep -qx /usr/share/fish/vendor_completions.d plain || changed "$(cat plain)"
! grep -q /usr/local plain || changed "it looks below /usr/local by itself"
grep -qx /usr/local/share/fish/vendor_completions.d told || changed "$(cat told)"
