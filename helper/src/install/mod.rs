//! hop-install: runs once, as root, and leaves the helper running where it lives, or nothing of it.
//!
//! People type `hop-helper --install`, which becomes this program. Must not know: requests.

mod files;
mod invite;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod server;
pub mod sibling;
#[cfg(target_os = "linux")]
mod sudoers;
#[cfg(target_os = "linux")]
mod systemd;
mod take_back;

#[cfg(target_os = "macos")]
use crate::macos::install as platform;
#[cfg(target_os = "macos")]
pub use files::Installer;
pub use files::Outcome;
pub(crate) use files::say;
#[cfg(target_os = "macos")]
pub use invite::path as invited;
#[cfg(target_os = "linux")]
use linux as platform;

use crate::core::say::tell;
use crate::core::start::as_root;
use crate::sys;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

/// The program to install is the standard input, already open: what was started, never a path.
pub fn main() -> ExitCode {
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|w| w.to_string_lossy().into()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let dry = words.get(1) == Some(&"--dry-run");
    let done = sys::undumpable().map_err(|e| e.to_string());
    let done = done.and_then(|()| match words.as_slice() {
        ["--install"] | ["--install", "--dry-run"] => {
            as_root().and_then(|()| platform::install(dry, image()?))
        }
        ["--uninstall"] | ["--uninstall", "--dry-run"] => {
            as_root().and_then(|()| {
                // Who may talk to it is said by what goes now.
                #[cfg(target_os = "linux")]
                server::uninstall(dry)?;
                platform::uninstall(dry)
            })
        }
        #[cfg(target_os = "linux")]
        ["--install-server"] | ["--install-server", "--dry-run"] => {
            as_root().and_then(|()| server::install(dry, image()?))
        }
        #[cfg(target_os = "linux")]
        ["--uninstall-server"] | ["--uninstall-server", "--dry-run"] => {
            as_root().and_then(|()| server::uninstall(dry))
        }
        ["--version"] => {
            say!("hop-install {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        _ => Err("it is run by `hop-helper --install` and `hop-helper --uninstall`".to_string()),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tell(&why);
            ExitCode::FAILURE
        }
    }
}

fn image() -> Outcome<File> {
    let image = io::stdin().as_fd().try_clone_to_owned().map(File::from);
    let image = image.map_err(|e| format!("the program to install: {e}"))?;
    match image.metadata() {
        Ok(meta) if meta.is_file() => Ok(image),
        _ => Err("there is no program to install: run `hop-helper --install`".to_string()),
    }
}
