//! `hop-helper --install` and `--uninstall`: go on as the program `hop-install`, which lies beside
//! it, before anything else. Must not know: what that does.

use crate::core::say::tell;
use crate::core::start::as_root;
use crate::sys;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

pub const INSTALLER: &str = "hop-install";

/// How that ended, if it was what the program was asked for; `of` says to hop-install which it is.
pub fn asked(of: &str) -> Option<ExitCode> {
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let mut words: Vec<String> = words.collect();
    let (verb, rest) = words.split_first()?;
    let help = words.iter().any(|word| matches!(word.as_str(), "--help" | "-h"));
    if help || !matches!(verb.as_str(), "--install" | "--uninstall") {
        return None;
    }
    if !matches!(rest, []) && rest != ["--dry-run"] {
        tell(&format!("{verb} takes --dry-run and nothing else"));
        return Some(ExitCode::from(2));
    }
    words.first_mut()?.push_str(of);
    let done = sys::undumpable().map_err(|e| e.to_string()).and_then(|()| as_root());
    tell(&done.err().unwrap_or_else(|| become_installer(&words)));
    Some(ExitCode::FAILURE)
}

/// Returns only if that is not possible. It gets the running image of this program as its standard
/// input, so that what is installed is what was started, and of our environment who called it.
fn become_installer(arguments: &[String]) -> String {
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(e) => return format!("the running program: {e}"),
    };
    let program = own.with_file_name(INSTALLER);
    let image =
        File::open(if cfg!(target_os = "linux") { Path::new("/proc/self/exe") } else { &own });
    let begun = image.map_err(|e| e.to_string()).and_then(|image| {
        is_as_trusted(&program, &image)?;
        let mut command = Command::new(&program);
        command.args(arguments).stdin(image).env_clear();
        let callers = ["SUDO_UID", "PKEXEC_UID", "DOAS_USER"];
        command.envs(callers.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        Err::<(), String>(command.exec().to_string())
    });
    format!("{}: {}", program.display(), begun.err().unwrap_or_default())
}

/// Where everybody may add files it could be anybody's: it has to be of whom this one is.
fn is_as_trusted(program: &PathBuf, image: &File) -> Result<(), String> {
    let own = image.metadata().map_err(|e| e.to_string())?;
    let meta = fs::symlink_metadata(program).map_err(|e| e.to_string())?;
    let owner = meta.uid() == 0 || meta.uid() == own.uid();
    if meta.is_file() && owner && meta.mode() & 0o022 & !own.mode() == 0 {
        return Ok(());
    }
    Err("belongs to another than hop-helper, or others may write it".to_string())
}
