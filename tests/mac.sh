#!/bin/sh
# mac.sh [--helper] [--server LOGIN@ADDRESS [--programs DIRECTORY]] [REPORT]
# For a person with a Mac: tries there what nobody of the project could, and writes REPORT
# (hopbox-mac.txt), one line a step and what each one said. Without options nothing but the sources'
# directory is touched, and no password is asked for.
#
#   --helper    installs the helper with sudo, looks at its job, and takes it away again
#   --server    beside that a host of its own, "mactest": set up over SSH, up, used, and gone again
#               on both machines. Its programs are those of `make agents`, or in DIRECTORY, which
#               has hop-agent, hop-helper and hop-install for Linux on the server's processor.
#
# Elsewhere it runs what is for every system, and says in the first line that this is no Mac. Names
# of this user, of this machine and of the server are not in the report.
set -u
cd "$(dirname "$0")/.." || exit 1
usage() { sed -n '2,3s/^# //p' tests/mac.sh >&2; exit 2; }
helper='' server='' programs='' report=hopbox-mac.txt
while [ $# -gt 0 ]; do
    case $1 in
    --helper) helper=yes ;;
    --server) server=${2:-} helper=yes; [ -n "$server" ] || usage; shift ;;
    --programs) programs=${2:-}; [ -d "$programs" ] || usage; shift ;;
    -*) usage ;;
    *) report=$1 ;;
    esac
    shift
done
# Short: a socket's path has 104 bytes there.
lab=$(mktemp -d /tmp/hopbox-mac.XXXXXX) || exit 1
trap 'rm -rf "$lab"' EXIT
mac=
[ "$(uname -s)" != Darwin ] || mac=yes
out=${CARGO_TARGET_DIR:-target}/release
failed=0
: >"$lab/rows"
: >"$lab/details"

row() { printf '%-5s %5s  %s\n' "$1" "$2" "$3" | tee -a "$lab/rows"; }

# step SECONDS NAME COMMAND...: whether it works, within that time (there is no timeout(1)).
step() {
    limit=$1 name=$2 is=ok began=$(date +%s)
    shift 2
    perl -e 'alarm shift; exec @ARGV or die "$ARGV[0]: $!\n"' "$limit" "$@" \
        >"$lab/said" 2>&1 </dev/null || is=FAIL failed=$((failed + 1))
    row $is "$(($(date +%s) - began)) s" "$name"
    {
        printf '\n--- %s: %s\n$ %s\n' "$name" $is "$*"
        tail -n 60 "$lab/said" | cut -c1-200
    } >>"$lab/details"
    [ $is = ok ]
}

skip() { row SKIP - "$1: $2"; }

everywhere() {
    step 60 'Rust is new enough' sh toolchain.sh cargo || return
    step 3600 'the programs are built' make build || return
    step 3600 'unit tests' make check-unit
    step 3600 'the engine under a virtual clock, vectors, vector code against the crate' \
        cargo test --locked --test wg --test vectors --test simd
    for program in hop hop-agent hop-helper; do
        step 10 "$program says what it is" "$out/$program" --version
    done
    step 10 'the manual of the program' "$out/hop" help setup
    step 60 'make install, into a directory' make install DESTDIR="$lab/root"
    step 60 'make uninstall, out of it' make uninstall DESTDIR="$lab/root"
    step 10 'nothing is left of it' sh -c '[ -z "$(find "$0" ! -type d)" ]' "$lab/root"
}

# What is asked of a Mac's own programs.
of_a_mac() {
    list=helper/unit/dev.hopbox.helper.plist
    step 10 "the job's list, by plutil" plutil -lint $list
    for program in hop hop-helper; do
        step 10 "$program is for this processor" sh -c 'file -b "$0" | grep "Mach-O.*$(uname -m)"' \
            "$out/$program"
        step 10 "$program needs libraries of the system alone" sh -c \
            'otool -L "$0" && ! otool -L "$0" | sed 1d | grep -Ev "^[[:space:]]+/(usr/lib|System)/"' \
            "$out/$program"
        step 10 "$program is signed, if only by the linker" codesign -dv "$out/$program"
    done
    step 10 'hop selftest says that it needs Linux' sh -c '! "$0" selftest 2>&1' "$out/hop"
}

of_the_helper() {
    if [ -e /Library/LaunchDaemons/dev.hopbox.helper.plist ]; then
        skip 'the helper' 'one is installed; sudo hop-helper --uninstall'
        return
    fi
    sudo -v || { skip 'the helper' 'no sudo'; return; }
    step 60 'the helper tells what it would do' sudo "$out/hop-helper" --install --dry-run
    if step 60 'the helper is installed' sudo "$out/hop-helper" --install; then
        step 10 'launchd has its job' launchctl print system/dev.hopbox.helper
        step 10 'its socket is for everybody' sh -c '[ "$(stat -f %Lp "$0")" = 666 ]' \
            /var/run/hopbox-helper.sock
        step 60 'hop doctor finds it' "$out/hop" doctor
        [ -z "$server" ] || of_a_server
        step 10 'its log' sudo tail -n 20 /var/log/hopbox/helper.log
    fi
    step 60 'the helper is gone' sudo "$out/hop-helper" --uninstall
    step 10 'nothing is left of it' sh -c '! ls -d /Library/LaunchDaemons/dev.hopbox* \
        /Library/PrivilegedHelperTools/dev.hopbox* /var/run/hopbox* /var/log/hopbox 2>/dev/null'
}

# The way of a user, with directories of its own in the place of the user's.
of_a_server() {
    for kind in CONFIG STATE RUNTIME; do
        mkdir -m 700 "$lab/$kind"
    done
    hop="env XDG_CONFIG_HOME=$lab/CONFIG XDG_STATE_HOME=$lab/STATE"
    hop="$hop XDG_RUNTIME_DIR=$lab/RUNTIME $out/hop"
    # shellcheck disable=SC2086 # several words
    if step 300 'hop setup' $hop --no-input setup mactest -a "$server" \
        ${programs:+--agent-dir "$programs"} && step 60 'hop up' $hop up mactest; then
        step 10 'the name is in the hosts file' grep -n 'mactest\.hop' /etc/hosts
        step 30 'ping by name' ping -c 5 mactest.hop
        step 30 'curl by name' curl -sS -m 20 http://mactest.hop:4200/health
        step 10 'its device' sh -c 'ifconfig -a | grep -B 3 "inet 10\.10\."'
        step 10 'its route' sh -c 'netstat -rnf inet | grep "^10\.10"'
        step 60 'hop status' $hop status
        step 60 'hop doctor' $hop doctor mactest
        step 60 'hop run' $hop -H mactest run -- uname -a
        step 60 'hop down' $hop down mactest
        step 10 'the name is gone' sh -c '! grep "mactest\.hop" /etc/hosts'
    fi
    # shellcheck disable=SC2086
    step 120 'hop uninstall, on both sides' $hop -y uninstall -H mactest --remote --purge
}

everywhere
if [ ! -x "$out/hop" ]; then
    skip 'what needs programs' 'none were built'
elif [ -n "$mac" ]; then
    of_a_mac
    if [ -n "$helper" ]; then of_the_helper; else skip 'the helper' 'not asked for (--helper)'; fi
    [ -n "$server" ] || skip 'a server' 'not asked for (--server LOGIN@ADDRESS)'
else
    skip 'programs, helper and a tunnel of a Mac' 'this is no Mac'
fi

# nameless: what names who ran it is replaced.
nameless() {
    sed -e "s|$HOME|~|g" -e "s/$(uname -n)/THIS-MACHINE/g" -e "s/$(id -un)/USER/g" |
        if [ -n "$server" ]; then sed "s/${server#*@}/SERVER/g"; else cat; fi
}
{
    if [ -n "$mac" ]; then
        echo "hopbox on macOS $(sw_vers -productVersion), $(sysctl -n machdep.cpu.brand_string)"
    else
        echo "THIS IS NO MAC but $(uname -sm): nothing here says anything about macOS"
    fi
    echo "$(sed -n 's/^version = /version /p' Cargo.toml), $(cargo --version)"
    echo "commit $(git rev-parse HEAD 2>/dev/null || echo unknown)"
    date -u '+%Y-%m-%d %H:%M UTC'
    echo "$failed of $(grep -vc '^SKIP' "$lab/rows") steps failed"
    echo
    cat "$lab/rows" "$lab/details"
} | nameless >"$report"
echo "the report is in $report: $failed of $(grep -vc '^SKIP' "$lab/rows") steps failed"
[ "$failed" = 0 ]
