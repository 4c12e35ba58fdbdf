#!/bin/sh
# ct.sh BUILD COMMAND...: constant time of src/simd. Which instructions run, and which addresses they
# read and write, recorded under valgrind for several keys and texts of one length, must be the same
# to the last one. valgrind knows no AVX-512; for that tests/simd/trace.rs steps through the
# instructions. CT_LENGTHS names other lengths. Of a release build:
#   CT_LENGTHS="0 64 100 448 700 1420 2000" sh tests/ct.sh cargo build --release --bench aead
set -eu
cd "$(dirname "$0")/.."
case $(uname -m) in
    x86_64) backend=avx2 ;;
    *) echo "SKIP ct.sh: only for x86_64" && exit 0 ;;
esac
grep -qw avx2 /proc/cpuinfo || { echo "SKIP ct.sh: this processor has no AVX2" && exit 0; }
bench=$("$@" --message-format json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*aead[^"]*\)".*/\1/p' | tail -1)
[ -x "$bench" ] || { echo "ct.sh: the benchmark was not built" >&2; exit 1; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for len in ${CT_LENGTHS:-0 100 1420}; do
    for seed in 10000001 20000003 30000005; do
        setarch -R valgrind --tool=lackey --trace-mem=yes --log-file="$dir/log" \
            "$bench" once $backend $len $seed
        # Without valgrind's own lines, and without the loader (at 0x4000000 under valgrind), which
        # reads by the random bytes that a process gets from the kernel.
        awk '/^==/ { next } $1 == "I" { loader = $2 ~ /^0*40[0-3]....,/ } !loader' \
            "$dir/log" >"$dir/trace"
        sha256sum <"$dir/trace" >"$dir/$seed"
        count=$(wc -l <"$dir/trace")
        [ "$count" -gt 10000 ] || { echo "ct.sh: no trace in $dir/log" >&2; exit 1; }
        cmp -s "$dir/10000001" "$dir/$seed" || {
            echo "FAIL: $len bytes: the traces of two keys differ"
            exit 1
        }
    done
    echo "ok: $len bytes: $count instructions and accesses, the same for 3 keys and texts"
done
