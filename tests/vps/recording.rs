//! The recording that README.md shows: a terminal of a laptop on which hop is typed, by a real run.
//! `make recording` says by HOP_RECORDING where it goes, and by HOP_BUILT where the programs are.

use std::time::Instant;

use serde_json::json;

use super::examples::greet;
use super::lab;
use super::machine::Machine;
use super::site::{admit, trusting};

const COLUMNS: u32 = 84;
const LINES: u32 = 38;
/// What is typed.
const TYPED: [&str; 5] = [
    "hop setup mybox -a gandalf@203.0.113.7",
    "hop up",
    "curl http://mybox.hop:8000",
    "hop status",
    "ping -c 2 mybox.hop",
];
/// A hand that types: `hand COMMAND`.
const HAND: &str = r#"
hand() {
    printf '\033[32m$\033[0m '
    sleep 0.8
    echo "$1" | fold -w 1 | while IFS= read -r key; do printf %s "$key"; sleep 0.04; done
    sleep 0.3
    echo
    eval "$1"
    echo
}
"#;

#[test]
fn a_first_minute() {
    let name = "recording::a_first_minute";
    if std::env::var_os("HOP_RECORDING").is_none() {
        return eprintln!("SKIP {name}: make recording");
    }
    lab::inside(name, || {
        let [laptop, mybox] = Machine::boot(["laptop", "mybox"]);
        laptop.cable("203.0.113.1/24", &mybox, "203.0.113.7/24");
        trusting(&laptop);
        let built = std::env::var("HOP_BUILT").unwrap();
        for (program, to) in [("hop", "bin"), ("hop-*[a-z]", "libexec/hopbox")] {
            let to = laptop.path(&format!("/usr/local/{to}"));
            lab::sh(&format!(
                "for file in {built}/{program}; do case $file in *.d) ;; *) \
                 install -D -m 755 -t {} $file ;; esac; done",
                to.display()
            ));
        }
        greet(&mybox);
        admit(&laptop);
        mybox.ok("echo 'Hello from mybox.' >/home/gandalf/index.html && systemd-run -q \
                  --uid gandalf python3 -m http.server 8000 -d /home/gandalf; sleep 1");

        let hands: String = TYPED.iter().map(|line| format!("hand '{line}'\n")).collect();
        let script =
            format!("export TERM=xterm-256color; stty cols {COLUMNS} rows {LINES}\n{HAND}{hands}");
        // What whoever built this machine's kernel has added to its number is nobody's business.
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let number = release.trim_end().split('-').next().unwrap();
        let (mut cast, begun) = (header(), Instant::now());
        let mut open = Vec::new();
        let answers = [("Let `ssh mybox.hop` know", "y")];
        let said = laptop.watched("dev", &script, &answers, |bytes| {
            open.extend_from_slice(bytes);
            let whole = open.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len());
            let text: Vec<u8> = open.drain(..whole).collect();
            let text = String::from_utf8_lossy(&text).replace(release.trim_end(), number);
            let at_s = (begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
            cast += &format!("{}\n", json!([at_s, "o", text]));
        });
        assert_eq!(said.code, 0, "{said}");
        for word in ["mybox is ready after", "mybox is up", "Hello from mybox.", "0% packet loss"] {
            assert!(said.out.contains(word), "{word}: {said}");
        }
        std::fs::write(std::env::var("HOP_RECORDING").unwrap(), cast).unwrap();
    });
}

/// The first line of an asciicast, version 2: https://docs.asciinema.org/manual/asciicast/v2/
fn header() -> String {
    let title = "hopbox: a server set up, up, and used";
    format!("{}\n", json!({"version": 2, "width": COLUMNS, "height": LINES, "title": title}))
}
