#!/bin/sh
# Expected: a program that opens pages with npm's `open` calls the xdg-open that is first on the search
#           path; and BROWSER=xdg-open does the same.
# Seen: the package brings an xdg-open of its own and runs that by its path. The script drops BROWSER where it
#       is "xdg-open" by name ("avoid calling ourselves"), then looks for text browsers and ends with
#       3. Only BROWSER with a whole path leads back to the one on the search path.
# Versions: open 10.2.0 from npm, node 18 and later
# Date: 2026-11-29
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
command -v npm >/dev/null || skip "needs npm"
cd "$work" || exit 77
timeout 120 npm pack --silent open@10.2.0 >/dev/null 2>&1 && tar xzf open-10.2.0.tgz || skip "no open@10.2.0"
mkdir bin
printf '#!/bin/sh\necho "$*" >>%s/called\n' "$work" >bin/xdg-open && chmod +x bin/xdg-open
opens() {
    rm -f called
    env -i HOME="$work" PATH="$work/bin:/usr/bin:/bin" "$@" \
        timeout 20 sh package/xdg-open http://localhost:1/ </dev/null >/dev/null 2>&1
    echo "$? $([ -s called ] && cat called || echo nobody)"
}
seen="nothing set: $(opens A=b); by name: $(opens BROWSER=xdg-open); by path: $(opens BROWSER="$work/bin/xdg-open")"
echo "$seen"
[ "$seen" = 'nothing set: 3 nobody; by name: 3 nobody; by path: 0 http://localhost:1/' ] || changed "$seen"
