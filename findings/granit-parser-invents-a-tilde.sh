#!/bin/sh
# Expected: a parser that gives events tells `key:` (nothing written) from `key: ~`, at least by its
#           text: an empty scalar has the text "", as with libyaml and by YAML's own event model.
# Seen: both are Scalar("~", Plain); a reader that looks for an empty text never finds it, and a program
#       that takes plain scalars as text sees a tilde that nobody wrote. `key: ""` is told by its style.
# Versions: granit-parser 2.1.0
# Date: 2026-11-29
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }

command -v cargo >/dev/null || skip "needs cargo"
mkdir -p "$work/src" && cd "$work" || exit 77
printf '[package]\nname = "seen"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\n' >Cargo.toml
printf 'granit-parser = { version = "=2.1.0", default-features = false, features = ["std", "error_messages"] }\n' >>Cargo.toml
cat >src/main.rs <<'END'
use granit_parser::{Event, Parser};
fn main() {
    for text in ["key:\n", "key: ~\n", "key: \"\"\n", "- \n", "--- \n"] {
        let mut last = String::new();
        for event in Parser::new_from_str(text) {
            if let Ok((Event::Scalar(value, style, ..), _)) = event {
                last = format!("{:?} {:?}", value, style);
            }
        }
        println!("{}", last);
    }
}
END
CARGO_TARGET_DIR=$work/target cargo run -q -j 1 >seen 2>error
[ -s seen ] || skip "it is not built: $(head -n 1 error)"
grep -A 1 'name = "granit-parser"' Cargo.lock | tail -n 1
seen=$(paste -s -d ';' seen)
echo "'key:', 'key: ~', 'key: \"\"', '- ', '--- ': $seen"
want='"~" Plain;"~" Plain;"" DoubleQuoted;"~" Plain;"~" Plain'
[ "$seen" = "$want" ] || changed "$seen"
