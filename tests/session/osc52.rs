//! Copies by OSC 52 of programs that `hop run` gives a terminal here: they are in the clipboard, as
//! the policy says, and what asks for it reaches no terminal unasked. Real tmux and vim, script(1)
//! as the terminal, and a clipboard of Xvfb.

use std::path::Path;
use std::process::Stdio;

use hopbox_selftest::machine::SOON;

use super::desk::{Desk, screen};
use super::shared;
use super::world::*;

const MANIFEST: &str = "name: app\nbridges: [{type: clipboard}]\n";
/// `hello`, as base64.
const HELLO: &str = "aGVsbG8=";

/// What the terminal was written by these lines of a shell, `$hop` among them.
fn terminal(desk: &Desk, lines: &str) -> String {
    let mut command = desk.world.command(Path::new("script"), &["-qec", lines, "/dev/null"]);
    command.env("TERM", "xterm-256color").env("hop", &desk.world.programs.hop);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let start = move || command.spawn().map_err(|error| error.to_string());
    let output = finish(desk.world.laptop.run(SOON, start).unwrap(), LIMIT);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What printf(1) there writes to it.
fn written(desk: &Desk, format: &str) -> String {
    terminal(desk, &format!("$hop run -- printf '{format}'"))
}

fn copied(desk: &Desk) -> String {
    String::from_utf8_lossy(&desk.clipboard("UTF8_STRING")).into_owned()
}

fn count(desk: &Desk, end: &str) -> u64 {
    desk.state()["counts"]["copy"][end].as_u64().unwrap()
}

/// Whether there is one; `vim` itself is a link that not every machine of ours has.
fn has(program: &str) -> bool {
    let is_there = Path::new("/usr/bin").join(program).exists();
    if !is_there {
        println!("SKIP {program} in osc52.rs: there is none");
    }
    is_there
}

/// By programs as they are, with what people set for it.
fn by_real_programs(desk: &Desk) {
    let tmux = "$hop run -t -- tmux -L osc52 -f /dev/null new-session \
                'tmux -L osc52 set-option -s set-clipboard on; \
                 printf %s from-tmux | tmux -L osc52 load-buffer -w -; sleep 1'";
    if has("tmux") {
        let shown = terminal(desk, tmux);
        assert_eq!(copied(desk), "from-tmux", "{shown:?}{}", desk.world.log());
        assert!(!shown.contains("]52;"), "{shown:?}");
    }
    // As plugins for OSC 52 do.
    let vim = concat!(
        "$hop run -t -- vim.basic -u NONE -i NONE -es --not-a-term ",
        r#"-c 'call writefile(["\x1b]52;c;ZnJvbS12aW0=\x07"], "/dev/tty", "b")' -c 'qa!'"#
    );
    if has("vim.basic") {
        let shown = terminal(desk, vim);
        assert_eq!(copied(desk), "from-vim", "{shown:?}{}", desk.world.log());
    }
}

/// Of what asks for the clipboard, nothing reaches the terminal; of what has no sense, nothing is
/// copied, and the rest is there.
fn hostile(desk: &Desk) {
    for asks in [
        r"a\033]52;c;?\007b",
        r"a\033]52;;?\033\\b",
        r"a\033]0052;c;?\007b",
        r"a\302\23552;c;?\007b",
        r"a\033\000]52;c;?\007b",
    ] {
        assert_eq!(written(desk, asks), "ab", "{asks}");
    }
    let wrapped = written(desk, r"\033Ptmux;\033\033]52;c;?\007\033\\b");
    assert_eq!(wrapped, "\u{1b}Ptmux;\u{1b}\\b");
    let before = (copied(desk), count(desk, "done"));
    for nothing in [r"a\033]52;c;%%%%%%\007b", r"a\033]52;c;\007b", r"ab\033]52;c;aGk="] {
        assert_eq!(written(desk, nothing), "ab", "{nothing}");
    }
    let endless = r#"$hop run -- sh -c 'printf "a\033]52;c;"
                   head -c 3000000 /dev/zero | tr "\000" A; printf "\007b"'"#;
    assert_eq!(terminal(desk, endless), "ab");
    assert_eq!((copied(desk), count(desk, "done")), before);
}

#[test]
fn what_a_program_copies_by_its_terminal_is_in_the_clipboard_here() {
    let _machine = shared();
    let Some(world) = World::start("what_a_program_copies_by_its_terminal") else { return };
    let mut desk = Desk::start(world, MANIFEST);
    // Nobody has a clipboard here: the terminal may.
    let one = format!(r"a\033]52;c;{HELLO}\007b");
    let whole = format!("a\u{1b}]52;c;{HELLO}\u{7}b");
    assert_eq!(written(&desk, &one), whole);
    assert_eq!(count(&desk, "failed"), 1);
    desk.screen = screen();
    if desk.screen.is_none() {
        return;
    }
    assert_eq!(written(&desk, &one), "ab");
    assert_eq!(copied(&desk), "hello");
    // Into a pipe its bytes go as they are.
    let piped = desk.hop(&["run", "--", "printf", &one]);
    assert_eq!(String::from_utf8_lossy(&piped.stdout), whole);
    assert_eq!(count(&desk, "done"), 1);
    by_real_programs(&desk);
    hostile(&desk);
    assert!(desk.hop(&["bridge", "allow", "paste"]).status.success());
    assert_eq!(written(&desk, r"a\033]52;c;?\007b"), "a\u{1b}]52;c;?\u{7}b");
    assert!(desk.hop(&["bridge", "deny", "copy"]).status.success());
    assert_eq!(written(&desk, r"a\033]52;c;bm8=\007b"), "ab");
    assert_ne!(copied(&desk), "no");
    assert_eq!(count(&desk, "denied"), 1);
    let log = said(&desk.hop(&["bridge", "log"]));
    assert!(log.contains("copy") && !log.contains("hello"), "{log}");
}
