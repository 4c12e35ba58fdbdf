//! Every example of README.md and the manual is typed as it stands: on a laptop and two servers, in
//! the order of a day. One that no step types, and no other test, is a failure.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::lab;
use super::machine::{Machine, Said};
use super::site::equip;
use super::trouble::source_directory;

mod day;
mod pages;

use day::{AFTER, DAY, Dev, ELSEWHERE, FILLED, Gandalf, Root, Shown, Source, Step, There, Who};
use day::{Ask, Do, Put, Type};

/// The example that begins so.
fn example<'a>(all: &'a [String], begins: &str) -> &'a str {
    let mut found = all.iter().filter(|text| text.starts_with(begins));
    let exact = all.iter().find(|text| *text == begins);
    let it = exact.or_else(|| found.next());
    it.unwrap_or_else(|| panic!("no page has it: {begins}"))
}

#[test]
fn no_example_is_without_a_test() {
    let all = pages::examples();
    let named = DAY.iter().filter_map(|step| match step {
        Do(..) => None,
        Type(_, it, _) | Ask(_, it, ..) | Put(_, it, _) | Shown(it) => Some(*it),
    });
    let elsewhere = ELSEWHERE.iter().map(|(it, place)| {
        let (file, line) = place.split_once("::").unwrap();
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        assert!(text.contains(line), "{it} is not in {file}");
        *it
    });
    let homes: BTreeSet<&str> = named.chain(elsewhere).map(|it| example(&all, it)).collect();
    let without: Vec<_> = all.iter().filter(|text| !homes.contains(text.as_str())).collect();
    assert!(without.is_empty(), "no test types {without:#?}");
}

#[test]
fn every_example_is_typed() {
    lab::inside("examples::every_example_is_typed", || {
        let [laptop, mybox, newbox] = Machine::boot(["laptop", "mybox", "newbox"]);
        laptop.cable("203.0.113.1/24", &mybox, "203.0.113.7/24");
        laptop.cable("198.51.100.1/24", &newbox, "198.51.100.9/24");
        equip(&laptop);
        // As what is released is; every setup sends them.
        laptop.ok("strip /usr/local/bin/hop /usr/local/libexec/hopbox/hop-*");
        laptop.ok_as("dev", "mkdir app");
        [&mybox, &newbox].into_iter().for_each(greet);
        source_directory(&laptop);
        built(&laptop);
        let mut day = Day { laptop, mybox, all: pages::examples(), shown: String::new() };
        // One that fails hides no other; what follows it may fail for its sake.
        let faults: Vec<String> = DAY.iter().filter_map(|step| day.fault(step)).collect();
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    });
}

struct Day {
    laptop: Machine,
    mybox: Machine,
    all: Vec<String>,
    /// What terminals have shown.
    shown: String,
}

impl Day {
    fn fault(&mut self, step: &Step) -> Option<String> {
        let text = |begins| filled(example(&self.all, begins));
        let (said, word) = match *step {
            Do(who, script) => (self.run(who, script), ""),
            Type(who, begins, word) => (self.run(who, &text(begins)), word),
            Ask(who, begins, answers, word) => {
                let line = format!("cd app; {}", text(begins));
                let said = self.of(who).dialogue("dev", &line, answers);
                self.shown += &said.out;
                (said, word)
            }
            Put(who, begins, file) => {
                let line = format!("cat >{file} <<'END'\n{}\nEND", text(begins));
                (self.run(who, &line), "")
            }
            Shown(begins) => return has_the_shape(example(&self.all, begins), &self.shown),
        };
        let is_good = said.code == 0 && (said.out.contains(word) || said.err.contains(word));
        (!is_good).then(|| format!("{step:?}: {said}"))
    }

    fn of(&self, who: Who) -> &Machine {
        if matches!(who, Gandalf | There) { &self.mybox } else { &self.laptop }
    }

    fn run(&self, who: Who, script: &str) -> Said {
        let (user, dir) = match who {
            Dev => ("dev", "app"),
            Source => ("dev", "hopbox"),
            Root | There => ("root", "."),
            Gandalf => ("gandalf", "."),
        };
        // As in a login whose profile adds what is the user's own.
        let path = "PATH=$HOME/.local/bin:/usr/local/sbin:$PATH; export PATH; ";
        self.of(who).sh_as(user, &format!("{path}cd {dir} && {script}"))
    }
}

/// A user of the pages, whom a key of the laptop's lets in, and root.
pub fn greet(server: &Machine) {
    server.ok("useradd -m -p '*' -s /bin/sh gandalf && \
               echo 'gandalf ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/gandalf && \
               for home in /root /home/gandalf; do \
               rm -rf $home/.ssh && cp -r /home/dev/.ssh $home/; done && \
               chown -R root:root /root/.ssh && chown -R gandalf:gandalf /home/gandalf/.ssh");
}

/// What compilers would make of the sources for other servers, and the self test.
fn built(laptop: &Machine) {
    let selftest = Path::new(env!("CARGO_BIN_EXE_hop")).with_file_name("hop-selftest");
    laptop.install(&selftest, "/home/dev/hopbox/target/release/hop-selftest");
    laptop.ok(&format!(
        "install -D {}/tests/needs.sh /home/dev/hopbox/tests/needs.sh",
        env!("CARGO_MANIFEST_DIR")
    ));
    laptop.ok("cd /usr/local && printf '#!/bin/sh\\necho \"$@\"\\n' >bin/rustup && \
               chmod 755 bin/rustup && \
               for arch in x86_64 aarch64; do \
               to=/opt/built/$arch-unknown-linux-musl; \
               mkdir -p $to && cp libexec/hopbox/hop-[ahi]* $to; done; \
               rm -rf bin/hop libexec/hopbox");
}

fn filled(text: &str) -> String {
    let more = AFTER.iter().find(|(begins, _)| text.starts_with(begins)).map_or("", |it| it.1);
    FILLED.iter().fold(text.to_owned(), |text, (gap, word)| text.replacen(gap, word, 1)) + more
}

/// Figures, times and the kernel differ; lines of a narrower terminal go on in the next.
fn has_the_shape(example: &str, seen: &str) -> Option<String> {
    let shape = |text: &str| {
        let mut words: Vec<&str> = Vec::new();
        for word in text.split_whitespace() {
            let is_figure = word.starts_with(|c: char| c.is_ascii_digit());
            let is_name = word.contains('/') || word.matches('.').count() > 1;
            let before = words.last().copied().unwrap_or_default();
            words.push(match word {
                _ if before == "Linux" || is_figure && !is_name => "#",
                "ms" if before == "#" => "s",
                "KiB" => "B",
                word => word,
            });
        }
        words.join(" ")
    };
    let seen = shape(seen);
    let lines = example.replace("\n  ", " ");
    let lost: Vec<String> =
        lines.lines().map(shape).filter(|line| !seen.contains(line.as_str())).collect();
    (!lost.is_empty()).then(|| format!("no terminal shows {lost:#?}: {seen}"))
}
