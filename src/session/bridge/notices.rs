//! Notices on this desktop. What a server says is text in them: no option, no markup, no escape of
//! a program's or a terminal's, and before it the host that says it.
//!
//! Bounds: 120 characters of a title, 1,000 of a text, 40 of an answer; 2 s for the program.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::programs::Programs;
#[cfg(not(target_os = "macos"))]
use crate::sys::child::{self, Limits};
use crate::sys::process;
use crate::text::shown;

const TITLE_CHARS: usize = 120;
const BODY_CHARS: usize = 1000;
const LABEL_CHARS: usize = 40;
const TIME: Duration = Duration::from_secs(2);
const ANSWER_BYTES: u64 = 64;

/// For the user: `title` and `body` are anybody's.
pub fn show(programs: &Programs, host: &str, title: &str, body: &str) -> Result<(), String> {
    let mut command = command(programs, &[], host, title, body)?;
    let name = command.get_program().to_string_lossy().into_owned();
    match programs.run(&mut command, b"", TIME) {
        Ok(None) => Ok(()),
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(format!("{name}: {status}")),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

/// A notice with answers to press, where this desktop has those. Its output is the place of the one
/// that was pressed; it lasts until then, and as long as the thread that shows it.
pub fn ask(programs: &Programs, host: &str, question: &str, options: &[String]) -> Option<Child> {
    if !has_actions(programs) {
        return None;
    }
    let label = |(at, text): (usize, &String)| {
        format!("--action={at}={}", without_markup(&line(text, LABEL_CHARS)))
    };
    let actions: Vec<String> = options.iter().enumerate().map(label).collect();
    let mut command = command(programs, &actions, host, "asks", question).ok()?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    process::dying_with_parent(&mut command).spawn().ok()
}

/// What was pressed.
pub fn pressed(output: impl Read) -> Option<usize> {
    let mut said = String::new();
    output.take(ANSWER_BYTES).read_to_string(&mut said).ok()?;
    said.trim().parse().ok()
}

#[cfg(not(target_os = "macos"))]
fn has_actions(programs: &Programs) -> bool {
    let Some(mut program) = programs.find("notify-send") else { return false };
    let help = child::run(program.arg("--help"), Limits::brief(2));
    help.is_ok_and(|done| done.text().contains("--action"))
}

#[cfg(target_os = "macos")]
fn has_actions(_: &Programs) -> bool {
    false
}

#[cfg(not(target_os = "macos"))]
fn command(
    programs: &Programs,
    more: &[String],
    host: &str,
    title: &str,
    body: &str,
) -> Result<Command, String> {
    let mut command = programs.find("notify-send").ok_or("there is no notify-send here")?;
    command.arg("--app-name=hopbox").args(more).arg("--");
    command.args([headline(host, title), markup(&lines(body))]);
    Ok(command)
}

#[cfg(target_os = "macos")]
fn command(
    programs: &Programs,
    _: &[String],
    host: &str,
    title: &str,
    body: &str,
) -> Result<Command, String> {
    const SHOW: &str = "display notification (item 2 of argv) with title (item 1 of argv)";
    let mut command = programs.find("osascript").ok_or("there is no osascript here")?;
    command.args(["-e", "on run argv", "-e", SHOW, "-e", "end run"]);
    command.args([headline(host, title), lines(body)]);
    Ok(command)
}

/// Where some desktops read markup, and others show what stands for a character of it.
fn without_markup(text: &str) -> String {
    text.replace('<', "‹").replace('>', "›")
}

/// It begins with a bracket, and so is no option.
fn headline(host: &str, title: &str) -> String {
    let title = without_markup(&line(title, TITLE_CHARS));
    format!("[{host}] {title}").trim_end().to_owned()
}

fn line(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.chars().map(plain).take(most).collect();
    shown(&text).into_owned()
}

fn lines(text: &str) -> String {
    let all: Vec<String> = text.lines().map(|part| line(part, BODY_CHARS)).collect();
    all.join("\n").chars().take(BODY_CHARS).collect()
}

/// Text as the body of a notice: notify-send(1) reads it as a string of C, too.
#[cfg(not(target_os = "macos"))]
fn markup(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('\\', "\\\\")
}

#[cfg(all(test, not(target_os = "macos")))]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_text() {
        assert_eq!(headline("mybox", "-i/etc/x"), "[mybox] -i/etc/x");
        assert_eq!(headline("mybox", "<b>\u{1b}[2Jx\n"), "[mybox] ‹b› [2Jx");
        assert_eq!(headline("mybox", ""), "[mybox]");
        let body = markup(&lines("<a href=\"x\">&amp;</a>\\033[2J\u{1b}]0;x\u{7}\r\nnext"));
        let same = "&lt;a href=\"x\"&gt;&amp;amp;&lt;/a&gt;\\\\033[2J ]0;x \nnext";
        assert_eq!(body, same);
        // What turns a line around is seen, and turns nothing.
        assert!(!headline("mybox", "\u{202e}evil").contains('\u{202e}'));
        assert!(lines(&"x\n".repeat(10_000)).len() <= BODY_CHARS);
        assert!(headline("mybox", &"é".repeat(10_000)).chars().count() < TITLE_CHARS + 12);
    }

    #[test]
    fn what_was_pressed_is_a_number_or_nothing() {
        for (said, place) in [("1\n", Some(1)), ("", None), ("default\n", None), ("-1", None)] {
            assert_eq!(pressed(said.as_bytes()), place, "{said:?}");
        }
        assert_eq!(pressed(std::io::repeat(b'1')), None);
    }
}
