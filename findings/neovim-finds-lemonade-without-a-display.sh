#!/bin/sh
# Expected: neovim on a server without DISPLAY uses no clipboard program, or the xclip, xsel and wl-copy
#           that it finds on the search path: all of them are programs like any other.
# Seen: xclip, xsel and wl-copy are used only where DISPLAY or WAYLAND_DISPLAY has a value, whatever is on the
#       path; with DISPLAY=:99, where nobody listens, xclip is called. `lemonade`, a program of others for
#       the clipboard over TCP, is called as soon as it is found, and so is one of any maker that
#       has this name.
# Versions: neovim 0.7.2 (Debian 0.7.2-7)
# Date: 2026-11-29
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
command -v nvim >/dev/null || skip "needs neovim"
nvim --version | head -n 1 | grep -q 'v0\.7\.2' || skip "another neovim: $(nvim --version | head -n 1)"
cd "$work" || exit 77
mkdir bin
shim() { printf '#!/bin/sh\necho "${0##*/}" >>%s/called\ncat >/dev/null\n' "$work" >"bin/$1" && chmod +x "bin/$1"; }
for name in xclip xsel wl-copy wl-paste; do shim "$name"; done
copies() {
    rm -f called
    env -i HOME="$work" PATH="$work/bin:/usr/bin:/bin" "$@" timeout 20 nvim --headless -u NONE \
        -c 'call setreg("+", "text")' -c 'q!' </dev/null >/dev/null 2>&1
    [ -s called ] && paste -s -d ' ' called || echo nobody
}
seen="without: $(copies A=b)"
seen="$seen; with a DISPLAY of nobody's: $(copies DISPLAY=:99)"
shim lemonade
seen="$seen; with lemonade: $(copies A=b)"
echo "$seen"
[ "$seen" = "without: nobody; with a DISPLAY of nobody's: xclip; with lemonade: lemonade" ] || changed "$seen"
