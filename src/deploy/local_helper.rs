//! This machine's own helper, and the name by which a server knows this machine.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitStatus};
use std::time::Duration;

use super::console::Console;
use super::remote::{AGENT, HELPER};
use crate::base::failure::{Failure, Fault};
use crate::base::own_program;
use crate::base::terminal;
use crate::fix;
use crate::helper::{Helper, HelperError, install_command, root_command, socket_path};
use crate::sys::child::{self, Broken, Input, Limits, Stream};
use crate::text::fix::Fix;

/// With time for a password to be typed.
const ROOT_LIMITS: Limits = Limits { time: Duration::from_secs(300), bytes: 1024 * 1024 };

const INSTALL: &str = "Hopbox needs to install a system helper for tunnel networking. This \
                       requires sudo. Proceed?";
const ADMIT: &str = "This machine's helper does not admit you yet. To change that requires sudo. \
                     Proceed?";

/// Sees to it that a helper answers this user.
pub fn ensure(console: &mut dyn Console) -> Result<(), Failure> {
    console.begin("this machine's helper");
    let error = match Helper::connect(&socket_path()) {
        Ok(helper) => {
            console.done(&format!("version {} is there", helper.version()));
            return Ok(());
        }
        Err(error) => error,
    };
    let question = match error {
        HelperError::Missing { .. } => INSTALL,
        HelperError::Refused { .. } => ADMIT,
        _ => return Err(failed(&error)),
    };
    let program = own_program()?;
    console.hold();
    console.consent(question, install_command())?;
    install(console, &program)?;
    match Helper::connect(&socket_path()) {
        Ok(helper) => {
            console.done(&format!("version {} installed", helper.version()));
            Ok(())
        }
        Err(error) => Err(failed(&error)),
    }
}

/// Sees to it that this machine's helper is of this version; true when it was another.
pub fn same_version(console: &mut dyn Console) -> Result<bool, Failure> {
    console.begin("this machine's helper");
    let theirs = match Helper::connect(&socket_path()) {
        Ok(helper) => helper.version().to_owned(),
        Err(HelperError::Incompatible { message, .. }) => message,
        // Not there, or not for this login: no matter of versions.
        Err(error) => {
            console.done(&format!("left alone: {error}"));
            return Ok(false);
        }
    };
    if theirs == crate::rpc::VERSION {
        console.done(&format!("version {theirs} is there"));
        return Ok(false);
    }
    let program = own_program()?;
    console.consent("Upgrade this machine's helper with sudo?", install_command())?;
    install(console, &program)?;
    console.done(&format!("version {} installed", crate::rpc::VERSION));
    Ok(true)
}

/// The helper removes itself; only root can have it do so. It stays where an agent needs it.
pub fn remove(console: &mut dyn Console) -> Result<Option<String>, Failure> {
    if !Path::new(HELPER).exists() {
        return Ok(None);
    }
    if Path::new(AGENT).exists() {
        let text = "the helper stays: this machine is a server, too, and its agent needs it";
        console.warn("helper_kept", text);
        return Ok(None);
    }
    console.begin("removing the helper");
    let next = fix!("sudo {} --uninstall", HELPER);
    let mut command = root_command(Path::new(HELPER), console.may_ask());
    command.arg("--uninstall");
    let ended = by_root(console, &mut command, true);
    done_by_root(console, "the helper is still there", next, ended)?;
    console.done("");
    Ok(Some(HELPER.to_owned()))
}

fn failed(error: &HelperError) -> Failure {
    let what = "this machine's helper cannot be used";
    Failure::new(Fault::Helper, what, error.to_string(), error.remedy())
}

/// The helper that belongs to this hop. Looked for before anybody is asked whether it may be
/// installed.
fn own_program() -> Result<PathBuf, Failure> {
    let failed = |why: String| {
        Failure::new(Fault::Helper, "the helper could not be installed", why, install_command())
    };
    own_program::find("hop-helper").map_err(|lost| failed(lost.why))
}

/// `sudo hop-helper --install`; sudo asks at the terminal if it has to.
fn install(console: &mut dyn Console, program: &Path) -> Result<(), Failure> {
    let mut process = root_command(program, console.may_ask());
    process.arg("--install");
    let ended = by_root(console, &mut process, false);
    done_by_root(console, "the helper could not be installed", install_command(), ended)
}

/// Runs a command of root's on this machine, where sudo may ask. Standard output is for our own
/// answer: what it says there is shown beside that, or not at all.
fn by_root(
    console: &mut dyn Console,
    process: &mut Process,
    silent: bool,
) -> Result<ExitStatus, Broken> {
    console.hold();
    let mut aside = terminal::aside();
    let mut show = |stream, said: &[u8]| {
        if !silent || stream == Stream::Err {
            let _ = aside.write_all(said);
        }
    };
    let done = child::talk(process, Input::Terminal, &mut show, ROOT_LIMITS);
    drop(aside);
    console.resume();
    done.map(|done| done.status)
}

/// What became of a command of root's on this machine.
fn done_by_root(
    console: &dyn Console,
    what: &str,
    next: Fix,
    ended: Result<ExitStatus, Broken>,
) -> Result<(), Failure> {
    let why = match ended {
        Ok(status) if status.success() => return Ok(()),
        Ok(_) if !console.may_ask() && !may_become_root() => {
            let why = "sudo may have to ask for a password, and nobody can be asked";
            return Err(Failure::new(Fault::Input, what, why, next));
        }
        Ok(status) => format!("it ended with {status}"),
        Err(broken) => format!("sudo: {broken}"),
    };
    Err(Failure::new(Fault::Helper, what, why, next))
}

fn may_become_root() -> bool {
    let asked = child::run(&mut root_command(Path::new("true"), false), Limits::brief(10));
    asked.is_ok_and(|done| done.status.success())
}

/// This machine's name as a server's list of laptops shows it.
pub fn label() -> String {
    let said = child::run(Process::new("uname").arg("-n"), Limits::brief(5));
    let name = said.map(|said| said.text()).unwrap_or_default();
    let plain = |c: &char| c.is_ascii_alphanumeric() || "._-".contains(*c);
    let name: String = name.trim().chars().filter(plain).take(63).collect();
    if name.is_empty() { "laptop".to_owned() } else { name }
}
