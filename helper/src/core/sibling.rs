//! Goes on as the program `hop-install`, which lies beside this one. Must not know: what it does.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const INSTALLER: &str = "hop-install";

/// Returns only if that is not possible. It gets the running image of this program as its standard
/// input, so that what is installed is what was started, and of our environment who called sudo.
pub fn become_installer(arguments: &[String]) -> String {
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
        command.envs(std::env::var_os("SUDO_UID").map(|uid| ("SUDO_UID", uid)));
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
