//! What root's commands stand on: who runs them, what they are told, and other programs.

use std::io::Read;
use std::process::Command;
use std::time::Duration;

use zeroize::Zeroizing;

use super::tell;
use crate::base::failure::{Failure, Fault};
use crate::sys::child::{self, Limits};
use crate::sys::process;

/// Longest request on standard input, in bytes.
const REQUEST_BYTES: u64 = 64 * 1024;
/// What one call of another program may take.
const RUN_LIMITS: Limits = Limits { time: Duration::from_secs(30), bytes: 1024 * 1024 };
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The text on standard input.
pub fn read_stdin() -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::with_capacity(4096));
    let read = std::io::stdin().lock().take(REQUEST_BYTES).read_to_string(&mut text);
    read.map_err(|error| bad(error.to_string()))?;
    Ok(text)
}

pub fn bad(why: impl Into<String>) -> Failure {
    Failure::new(Fault::Usage, "the request on standard input is not valid", why, "man hop-agent")
}

pub fn need_root() -> Result<(), Failure> {
    if process::is_root() {
        return Ok(());
    }
    Err(Failure::new(
        Fault::Usage,
        "this needs root",
        "it changes the system",
        "sudo /usr/libexec/hopbox/hop-agent --help",
    ))
}

/// User and group number of a login.
pub fn user(name: &str) -> Result<(u32, u32), Failure> {
    let number = |what: &str| run("id", &[what, "--", name]).ok()?.trim().parse::<u32>().ok();
    match (number("-u"), number("-g")) {
        (Some(uid), Some(gid)) => Ok((uid, gid)),
        _ => {
            let what = format!("no user {name:?} on this machine");
            Err(Failure::new(Fault::Usage, &what, "id(1) does not know it", "getent passwd"))
        }
    }
}

pub fn user_name(uid: u32) -> Result<String, Failure> {
    let name = run("id", &["-nu", "--", &uid.to_string()])?;
    crate::base::field::login(name.trim()).map_err(|why| {
        let what = format!("user {uid}, who has the agent's files, has no name to use");
        Failure::new(Fault::Usage, &what, why, "ls -l /var/lib/hopbox-agent")
    })
}

pub fn systemctl(words: &[&str]) -> Result<String, Failure> {
    run("systemctl", words)
}

/// The output of another program, which gets nothing of our environment but a search path.
pub fn run(program: &str, words: &[&str]) -> Result<String, Failure> {
    let told = || format!("{program} {}", words.join(" "));
    let fail = |why: String| {
        Failure::new(Fault::Failed, format!("{} failed", told()), why, "sudo journalctl -n 50")
    };
    let mut command = Command::new(program);
    command.args(words).env_clear().env("PATH", PATH).env("LC_ALL", "C");
    let done = child::run(&mut command, RUN_LIMITS).map_err(|broken| fail(broken.to_string()))?;
    if done.status.success() {
        return Ok(done.text());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    Err(fail(lines.collect::<Vec<_>>().join("; ")))
}

/// For callers that only tell.
pub fn warn(failure: &Failure) {
    tell(failure);
}
