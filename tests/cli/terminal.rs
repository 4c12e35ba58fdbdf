//! What is shown on a terminal and what elsewhere: colour, live lines, questions. The terminal is
//! a real one (a pseudo-terminal); the program on it is `hop`, or this test binary again where no
//! command is quick enough to be watched.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use hopbox::base::command_line::parse;
use hopbox::base::exit::Code;
use hopbox::base::failure::{Failure, Fault};
use hopbox::cli::TABLE;
use hopbox::cli::command::Call;
use hopbox::session::report::Report;
use nix::pty::{Winsize, openpty};

/// Which act the binary plays, and the command line it plays it with.
const ACT: &str = "HOP_TEST_ACT";
const LINE: &str = "HOP_TEST_LINE";

/// Runs `command` with standard input and standard error on a terminal, types `input`, and returns
/// what the terminal showed, standard output, and the exit code.
pub fn on_terminal(command: Command, input: &str) -> (String, String, Option<i32>) {
    on_terminal_of(None, command, input)
}

/// The same on one of so many columns; 0 does not say.
fn on_terminal_of(
    columns: impl Into<Option<u16>>,
    mut command: Command,
    input: &str,
) -> (String, String, Option<i32>) {
    let ws_col = columns.into().unwrap_or(0);
    let size = Winsize { ws_row: 24, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None).unwrap();
    let slave = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
    command.stdin(slave(&pty.slave)).stderr(slave(&pty.slave)).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Ours and the command's copies: without them the end of the child is the end of the terminal.
    drop(command);
    drop(pty.slave);
    let mut master = File::from(pty.master);
    master.write_all(input.as_bytes()).unwrap();
    let mut reader = master.try_clone().unwrap();
    let shown = thread::spawn(move || {
        let mut shown = Vec::new();
        let mut buf = [0; 4096];
        // The end of a terminal is an error on Linux.
        while let Ok(count @ 1..) = reader.read(&mut buf) {
            shown.extend_from_slice(&buf[..count]);
        }
        String::from_utf8_lossy(&shown).into_owned()
    });
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    let code = child.wait().unwrap().code();
    drop(master);
    (shown.join().unwrap(), stdout, code)
}

fn act(name: &str, line: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "terminal::player", "--nocapture"]);
    command.env(ACT, name).env(LINE, line).env("TERM", "xterm").env_remove("NO_COLOR");
    command
}

/// No test of its own: the acts that the tests below watch.
#[test]
fn player() {
    let Ok(name) = std::env::var(ACT) else { return };
    let line = std::env::var(LINE).unwrap();
    let (args, _) = parse(&TABLE, line.split_whitespace().map(Into::into));
    let mut call = Call::new(&TABLE, "host rm", args);
    let code = match name.as_str() {
        "steps" => steps(&mut call),
        "wait" => wait(&mut call),
        "long" => long(&mut call),
        "confirm" => call.consent("Remove mybox?", "hop host rm mybox").map(|()| Code::Done),
        "by_name" => call.consent_by_name("mybox and its data go.", "mybox").map(|()| Code::Done),
        _ => panic!("no act {name}"),
    };
    let code = code.unwrap_or_else(|failure| call.out.fail(&failure));
    drop(call);
    std::process::exit(code as i32);
}

fn steps(call: &mut Call) -> Result<Code, Failure> {
    call.out.plan(2);
    call.out.begin("reaching the VPS");
    thread::sleep(Duration::from_millis(700));
    call.out.warn("slow", "it is slow");
    thread::sleep(Duration::from_millis(400));
    call.out.done("ok");
    call.out.begin("installing agent");
    let failure = Failure::new(Fault::Failed, "no disk", "it is full", "df -h");
    Err(failure)
}

fn wait(call: &mut Call) -> Result<Code, Failure> {
    call.out.wait("bringing mybox up");
    thread::sleep(Duration::from_millis(300));
    call.out.step("helper 1.2.3", Duration::from_millis(300));
    thread::sleep(Duration::from_millis(400));
    call.out.done("");
    call.out.answer("up", serde_json::Value::Null, "mybox is up")?;
    Ok(Code::Done)
}

/// Longer than a line, and longer than the terminal becomes meanwhile.
fn long(call: &mut Call) -> Result<Code, Failure> {
    let narrower = |columns: &str| {
        let mut stty = Command::new("stty");
        assert!(stty.args(["cols", columns]).stdin(Stdio::inherit()).status().unwrap().success());
    };
    call.out.wait("looking for something that takes a while and has a name of many words");
    thread::sleep(Duration::from_millis(400));
    narrower("20");
    thread::sleep(Duration::from_millis(600));
    call.out.done("");
    narrower("50");
    call.out
        .warn("long", "the first thing to say is long and the second word of it is fix: rm -rf");
    let why = "fix: said the server, and went on for so long that it was 1/7 of what it had to say";
    let next = "hop setup mybox -a 203.0.113.7 -u somebody -k ~/.ssh/id_ed25519";
    Err(Failure::new(Fault::Failed, "a failure with a good many words in it", why, next))
}

fn plainly(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn steps_are_live_lines_on_a_terminal() {
    let (shown, _, code) = on_terminal(act("steps", ""), "");
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.matches("\r\x1b[?7l1/2 reaching the VPS").count() >= 3, "{shown:?}");
    // Wiped before the warning, drawn again after it, and one line stays.
    assert!(shown.contains("\r\x1b[K\x1b[33mwarning:\x1b[0m it is slow\r\n"), "{shown:?}");
    let (_, after) = shown.split_once("it is slow").unwrap();
    assert!(after.contains("\r\x1b[?7l1/2 reaching the VPS"), "{shown:?}");
    assert!(after.contains("\r\x1b[K1/2 reaching the VPS  ok  \x1b[2m"), "{shown:?}");
    assert!(after.contains("2/2 installing agent  failed"), "{shown:?}");
    assert!(shown.ends_with("fix: df -h\r\n"), "{shown:?}");
}

#[test]
fn steps_are_plain_lines_elsewhere() {
    let check = |said: &str| {
        let lines: Vec<&str> = said.lines().filter(|line| line.contains("/2 ")).collect();
        assert_eq!(lines.len(), 4, "{said}");
        assert_eq!((lines[0], lines[2]), ("1/2 reaching the VPS", "2/2 installing agent"));
        assert!(lines[1].starts_with("1/2 reaching the VPS: ok  1."), "{said}");
        assert!(lines[3].starts_with("2/2 installing agent: failed"), "{said}");
        assert!(!said.contains('\x1b'), "{said:?}");
    };
    check(&String::from_utf8(plainly(act("steps", "")).stderr).unwrap());
    let ways = [("TERM", "dumb", ""), ("NO_COLOR", "1", ""), ("TERM", "xterm", "--no-color")];
    for (name, value, line) in ways {
        let mut command = act("steps", line);
        command.env(name, value);
        check(&on_terminal(command, "").0.replace('\r', ""));
    }
    let quiet = String::from_utf8(plainly(act("steps", "--quiet")).stderr).unwrap();
    assert!(!quiet.contains("reaching") && quiet.ends_with("fix: df -h\n"), "{quiet}");
}

#[test]
fn nothing_stays_of_what_was_only_waited_for() {
    let (shown, stdout, code) = on_terminal(act("wait", ""), "");
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("\r\x1b[?7lbringing mybox up  "), "{shown:?}");
    assert!(shown.contains("\r\x1b[?7lbringing mybox up: helper 1.2.3  "), "{shown:?}");
    assert!(shown.ends_with("\r\x1b[K") && !shown.contains('\n'), "it leaves nothing: {shown:?}");
    assert_eq!(stdout.lines().last(), Some("mybox is up"), "{stdout}");
    let plain = String::from_utf8(plainly(act("wait", "")).stderr).unwrap();
    assert_eq!(plain, "", "elsewhere the answer is all");
    let verbose = String::from_utf8(plainly(act("wait", "-v")).stderr).unwrap();
    assert!(verbose.starts_with("helper 1.2.3  "), "{verbose}");
    let (shown, ..) = on_terminal(act("wait", "-v"), "");
    assert!(shown.contains("\r\x1b[Khelper 1.2.3  "), "{shown:?}");
}

#[test]
fn a_terminal_is_as_wide_as_it_is_now() {
    let (shown, _, code) = on_terminal_of(60, act("long", ""), "");
    assert_eq!(code, Some(1), "{shown}");
    let drawn: Vec<&str> = shown.split("\x1b[?7l").skip(1).collect();
    let text = |drawn: &str| {
        drawn.split("\x1b[K").next().unwrap().replace("\x1b[2m", "").replace("\x1b[0m", "")
    };
    let widths: Vec<usize> = drawn.iter().map(|drawn| text(drawn).len()).collect();
    assert!(widths.contains(&59) && widths.contains(&19), "{widths:?} {shown:?}");
    assert!(widths.iter().all(|width| [59, 19].contains(width)), "{widths:?}");
    // 59 columns are three lines of 20.
    assert_eq!(shown.matches("\r\x1b[2A\x1b[J").count(), 1, "{shown:?}");
    let (_, after) = shown.rsplit_once("\x1b[K").unwrap();
    let plain = after.replace("\x1b[33m", "").replace("\x1b[1;31m", "").replace("\x1b[0m", "");
    let lines: Vec<&str> = plain.split("\r\n").collect();
    let expected = [
        "warning: the first thing to say is long and the",
        "  second word of it is fix: rm -rf",
        "error: a failure with a good many words in it",
        "  | fix: said the server, and went on for so long",
        "  that it was 1/7 of what it had to say",
        "fix: hop setup mybox -a 203.0.113.7 -u somebody -k ~/.ssh/id_ed25519",
        "",
    ];
    assert_eq!(lines, expected, "{shown:?}");
}

#[test]
fn questions_are_asked_on_a_terminal_alone() {
    let ask = |act_name: &str, line: &str, input: &str| {
        let (shown, stdout, code) = on_terminal(act(act_name, line), input);
        assert!(!stdout.contains("Remove"), "a question on standard output: {stdout}");
        (shown, code)
    };
    for yes in ["y\n", "YES\n", " yes \n"] {
        assert_eq!(ask("confirm", "", yes).1, Some(0), "{yes:?}");
    }
    for no in ["\n", "n\n", "maybe\n"] {
        let (shown, code) = ask("confirm", "", no);
        assert_eq!(code, Some(10), "{no:?}");
        assert!(shown.contains("Remove mybox? [y/N] "), "{shown}");
        assert!(shown.contains("fix: hop host rm mybox"), "{shown}");
    }
    // The end of the input, typed as Ctrl-D.
    assert_eq!(ask("confirm", "", "\x04").1, Some(13));
    assert_eq!(ask("by_name", "", "mybox\n").1, Some(0));
    assert_eq!(ask("by_name", "-y", "mybx\n").1, Some(10), "-y does not answer this");

    let (shown, code) = ask("confirm", "--no-input", "y\n");
    assert_eq!(code, Some(13));
    assert!(shown.contains("--no-input forbids asking"), "{shown}");
    // What was typed is echoed at any moment, also at the end.
    assert!(shown.contains("fix: hop host rm --yes\r\n"), "{shown}");
    assert_eq!(ask("confirm", "--no-input -y", "").1, Some(0));
    assert_eq!(ask("by_name", "--no-input -y", "").1, Some(13));
}

/// Ctrl-C is no answer: a command that is stopped says how it goes on.
#[test]
fn a_question_can_be_stopped() {
    for (name, question) in [("confirm", "[y/N]"), ("by_name", "to go on:")] {
        let (inner, pty) = (act(name, ""), openpty(None, None).unwrap());
        let on = || Stdio::from(pty.slave.try_clone().unwrap());
        // The terminal is its own, so that keys become signals.
        let mut command = Command::new("setsid");
        // Whoever runs the tests in the background may have keys ignored.
        command.args(["--ctty", "--wait", "env", "--default-signal"]);
        command.arg(inner.get_program()).args(inner.get_args());
        command.env(ACT, name).env(LINE, "").env("TERM", "xterm").env_remove("NO_COLOR");
        let mut child = command.stdin(on()).stdout(on()).stderr(on()).spawn().unwrap();
        drop(command);
        let mut master = File::from(pty.master.try_clone().unwrap());
        drop(pty);
        let (mut shown, mut buf, mut typed) = (String::new(), [0; 4096], false);
        while let Ok(count @ 1..) = master.read(&mut buf) {
            shown.push_str(&String::from_utf8_lossy(&buf[..count]));
            if !typed && shown.contains(question) {
                master.write_all(b"\x03").unwrap();
                typed = true;
            }
        }
        assert_eq!(child.wait().unwrap().code(), Some(130), "{name}: {shown}");
        let said = "stopped;\x1b[0m `hop host rm` goes on where it was\r\n";
        assert!(shown.ends_with(said) && !shown.contains("error:"), "{name}: {shown:?}");
    }
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let output = plainly(act("confirm", ""));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(13), "{said}");
    assert!(said.contains("standard input is no terminal") && said.contains("--yes"), "{said}");
    assert_eq!(plainly(act("confirm", "-y")).status.code(), Some(0));
    let output = plainly(act("by_name", "-y"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(13), "{said}");
    assert!(said.trim_end().ends_with("--confirm=mybox"), "{said}");
}

/// A server that takes the connection and then says nothing, as far as ssh(1) can tell. While it is
/// waited for that is shown; when it is over the reason is said once.
#[test]
fn who_is_waited_for_is_shown_and_a_reason_is_said_once() {
    for columns in [60, 80, 100] {
        let mute = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = mute.local_addr().unwrap().port().to_string();
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let slave = || Stdio::from(pty.slave.try_clone().unwrap());
        let home = super::Home::new();
        let mut setup = home.hop();
        setup.args(["setup", "mybox", "-a", "127.0.0.1", "-p", &port]);
        setup.env("TERM", "xterm").env("PATH", std::env::var_os("PATH").unwrap());
        let mut child = setup.stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap();
        drop((setup, pty.slave));
        let mut master = File::from(pty.master);
        let (mut shown, mut piece) = (String::new(), [0; 4096]);
        // ssh gives up after fifteen seconds, and would say so.
        while !shown.contains("reaching 127.0.0.1  ") {
            let count = master.read(&mut piece).unwrap_or(0);
            assert!(count > 0 && !shown.contains("failed"), "{shown:?}");
            shown += &String::from_utf8_lossy(&piece[..count]);
        }
        drop(mute.accept().unwrap());
        drop(mute);
        while let Ok(count @ 1..) = master.read(&mut piece) {
            shown += &String::from_utf8_lossy(&piece[..count]);
        }
        assert_eq!(child.wait().unwrap().code(), Some(Code::Unreachable as i32), "{shown}");
        let reason = ["closed by ", "reset by "];
        let said: usize = reason.iter().map(|words| shown.matches(words).count()).sum();
        assert_eq!(said, 1, "{shown:?}");
        assert!(!shown.replace("\r\n", "").contains('\n'), "a staircase: {shown:?}");
    }
}
