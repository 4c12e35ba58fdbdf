#!/bin/sh
# prove.sh CARGO: are the programs that B2SUMS lists what these sources make? Builds them anew, without a
# network and without what the caller's environment says of compiling, and says of each whether it
# is the same. Ends with 0 if all are, with 1 if one differs, and with 77 if none does, but not all
# could be compared, because what builds here is not what built them: its bytes are in what it makes.
# prove.sh CARGO list PROFILE PROGRAMS SERVER_PROGRAMS: makes that list, for dist.sh. Nothing that is
# built reads it.
set -eu
cd "$(dirname "$0")"
cargo=$1
LC_ALL=C
export LC_ALL
# "cargo +1.95.0" chooses the compiler, too.
case $cargo in *' +'*) RUSTUP_TOOLCHAIN=${cargo#* +} cargo=${cargo%% *} && export RUSTUP_TOOLCHAIN ;; esac
scratch=${CARGO_TARGET_DIR:-target}/prove

compiler() {
    rustc -vV | awk -F ': ' '{ is[$1] = $2 } END { printf "%s (commit %s, LLVM %s) on %s\n",
        is["release"], is["commit-hash"], is["LLVM version"], is["host"] }'
}
host=$(rustc -vV | sed -n 's/^host: //p')

# What links for a target, in its own words; with glibc, parts of that are linked in, too.
linker() {
    name=$(sh agents.sh --linker "$1")
    [ "$1" != "$host" ] || name=cc
    case $name in rust-lld) echo "$name" && return ;; esac
    "$name" --version | head -n 1
    "$("$name" -print-prog-name=ld)" --version | head -n 1
    [ "$1" != "$host" ] || ldd --version 2>&1 | head -n 1
}
linkers() { linker "$1" | paste -s -d ';' | sed 's/;/; /g'; }

# Of this toolchain, without what agents.sh makes from source.
is_known() { [ -d "$(rustc --print target-libdir --target "$1" 2>/dev/null)" ]; }

# make in an environment of which nothing but the toolchain's places is the caller's: flags, linkers
# and the settings in his cargo's home change what is made.
clean() {
    env -i PATH="$PATH" HOME="$HOME" CARGO_HOME="$home" MAKEFLAGS="${MAKEFLAGS:-}" \
        ${RUSTUP_HOME:+"RUSTUP_HOME=$RUSTUP_HOME"} ${TMPDIR:+"TMPDIR=$TMPDIR"} \
        ${RUSTUP_TOOLCHAIN:+"RUSTUP_TOOLCHAIN=$RUSTUP_TOOLCHAIN"} \
        "${MAKE:-make}" -s CARGO="$cargo" CARGO_FLAGS= CARGO_TARGET_DIR="$scratch" \
        PROFILE="$profile" TARGET= SIMD=auto DEBUGINFO=no "$@" >&2
}

# Programs of this machine's kind if $1 says so, and of these kinds of servers, below
# $scratch/programs. From nothing: cargo takes a source that is no younger for unchanged.
build() {
    own=$1 servers=$2
    rm -rf "$scratch"
    mkdir -p "$scratch/cargo"
    scratch=$(cd "$scratch" && pwd) && home=$scratch/cargo
    case $profile in dev) dir=debug ;; *) dir=$profile ;; esac
    if [ -n "$own" ]; then
        clean build
        mkdir -p "$scratch/programs/$host"
        for program in "$scratch/$dir"/hop*; do
            case ${program##*/} in *.*) ;; *) cp "$program" "$scratch/programs/$host/" ;; esac
        done
    fi
    [ -n "$servers" ] || return 0
    clean agents AGENT_TARGETS="$servers"
    for target in $servers; do
        mkdir -p "$scratch/programs/$target"
        cp "$scratch/agents/$target"/hop-* "$scratch/programs/$target/"
    done
}

if [ "${2:-}" = list ]; then
    profile=$3 programs=$4 for_servers=$5 targets=
    for target in x86_64-unknown-linux-musl aarch64-unknown-linux-musl; do
        if is_known "$target"; then targets="$targets $target"; fi
    done
    build yes "$targets"
    echo "# The programs that these sources make, and what made them: see make prove. b2sum -c reads it."
    echo "# rustc: $(compiler)"
    echo "# profile: $profile"
    for target in $host $targets; do echo "# linker of $target: $(linkers "$target")"; done
    cd "$scratch/programs"
    for program in $programs; do b2sum "$host/$program"; done
    for target in $targets; do
        for program in $for_servers; do b2sum "$target/$program"; done
    done
    exit
fi

if [ ! -f B2SUMS ]; then
    echo "there is no B2SUMS here to compare with: a release has it" >&2
    echo "fix: make dist, and make prove in what it makes" >&2
    exit 77
fi
noted() { sed -n "s/^# $1: //p" B2SUMS; }
listed() { sed -n 's|^[0-9a-f]\{128\}  \([a-z0-9_-]*/[a-z-]*\)$|\1|p' B2SUMS; }
profile=$(noted profile) theirs=$(noted rustc) ours=$(compiler)
if [ "$theirs" != "$ours" ]; then
    echo "nothing can be proven here: the programs were made by another compiler" >&2
    echo "  theirs: rustc $theirs" >&2
    echo "  this:   rustc $ours" >&2
    version=${theirs%% *}
    echo "fix: rustup toolchain install $version && RUSTUP_TOOLCHAIN=$version make prove" >&2
    exit 77
fi
own='' servers='' missing=''
for target in $(listed | sed 's|/.*||' | uniq); do
    theirs=$(noted "linker of $target") ours=
    if is_known "$target"; then ours=$(linkers "$target"); fi
    if [ -z "$ours" ]; then
        echo "$target cannot be compared: this toolchain has no standard library for it" >&2
        echo "fix: rustup target add $target" >&2
        missing="$missing $target"
    elif [ "$theirs" != "$ours" ]; then
        echo "$target cannot be compared: another linker made it" >&2
        echo "  theirs: $theirs" >&2
        echo "  this:   $ours" >&2
        missing="$missing $target"
    elif [ "$target" = "$host" ]; then
        own=yes
    else
        servers="$servers $target"
    fi
done
[ -n "$own$servers" ] || exit 77
build "$own" "$servers"
all=0 differ=0 skipped=0
for program in $(listed); do
    all=$((all + 1))
    case "$missing " in *" ${program%/*} "*)
        skipped=$((skipped + 1))
        echo "not compared  $program"
        continue ;;
    esac
    theirs=$(sed -n "s|^\([0-9a-f]*\)  $program\$|\1|p" B2SUMS)
    ours=$(b2sum "$scratch/programs/$program" 2>/dev/null | sed 's/ .*//') || ours=
    if [ "$theirs" = "$ours" ]; then
        echo "same          $program"
    else
        differ=$((differ + 1))
        echo "differs       $program: $(echo "$theirs" | cut -c 1-16) is listed," \
            "$(echo "${ours:-nothing}" | cut -c 1-16) is made"
    fi
done
if [ "$differ" != 0 ]; then
    echo "$differ of $all programs are not what these sources make; what they make is in $scratch/programs" >&2
    exit 1
fi
[ "$all" != 0 ] || { echo "B2SUMS lists no program" >&2; exit 1; }
if [ "$skipped" != 0 ]; then
    echo "$skipped of $all programs could not be compared; the others are what these sources make" >&2
    exit 77
fi
echo "all $all programs are what these sources make"
