#!/bin/sh
# needs.sh THING:PACKAGE...
# Installs the Debian packages whose THING (a command, or an absolute path) is missing, when run as
# root on a system with apt-get; otherwise names them and fails.
set -eu
missing=
for need in "$@"; do
    thing=${need%%:*} package=${need##*:}
    case $thing in
        /*) [ -e "$thing" ] && continue ;;
        *) command -v "$thing" >/dev/null 2>&1 && continue
           [ -x "/usr/sbin/$thing" ] && continue
           [ -x "/sbin/$thing" ] && continue ;;
    esac
    case " $missing " in *" $package "*) ;; *) missing="$missing $package" ;; esac
done
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing:$missing"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    # The package lists of a fresh image are empty or old.
    if ! { apt-get -qq update && apt-get -qq -y install --no-install-recommends $missing; } \
        >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        echo "could not install:$missing" >&2
        exit 1
    fi
else
    echo "missing here, by the names of Debian's packages:$missing" >&2
    ! command -v apt-get >/dev/null 2>&1 || echo "fix: sudo apt-get install$missing" >&2
    exit 1
fi
