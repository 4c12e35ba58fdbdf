//! The three programs under test: where they are, their copies, and running them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::base::failure::{Failure, Fault};
use crate::sys::child;

/// Most that a program that stays may write to a file, its log included.
const FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Below a directory of programs, where those are that nobody calls by hand.
const LIBEXEC: &str = "../libexec/hopbox";

/// Paths of the programs.
#[derive(Clone, Debug)]
pub struct Programs {
    pub hop: PathBuf,
    pub agent: PathBuf,
    pub helper: PathBuf,
}

/// Finds the programs beside this one or in libexec.
pub fn find() -> Result<Programs, Failure> {
    let own = std::env::current_exe().map_err(|error| {
        Failure::new(
            Fault::Failed,
            "cannot find this program's file",
            error.to_string(),
            "ls /proc",
        )
    })?;
    let beside = own.parent().unwrap_or(Path::new("/")).to_owned();
    let find = |name: &str| {
        let places = [beside.join(name), beside.join(LIBEXEC).join(name)];
        places.into_iter().find(|path| path.is_file()).ok_or_else(|| {
            let why = format!("it is neither in {} nor in {LIBEXEC} beside it", beside.display());
            Failure::new(Fault::NotFound, format!("{name} is not installed"), why, "make install")
        })
    };
    Ok(Programs { agent: find("hop-agent")?, helper: find("hop-helper")?, hop: own })
}

/// The programs' files, open: they can be copied even when a mount has covered their paths.
pub struct Stash([(&'static str, File); 3]);

impl Stash {
    pub fn take(programs: &Programs) -> io::Result<Stash> {
        Ok(Stash([
            ("hop", File::open(&programs.hop)?),
            ("hop-agent", File::open(&programs.agent)?),
            ("hop-helper", File::open(&programs.helper)?),
        ]))
    }

    /// Makes copies that any user can run, in a new directory.
    pub fn put(self, dir: &Path) -> io::Result<Programs> {
        fs::create_dir(dir)?;
        for (name, mut from) in self.0 {
            let to = dir.join(name);
            io::copy(&mut from, &mut File::create(&to)?)?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
        }
        let path = |name| dir.join(name);
        Ok(Programs { hop: path("hop"), agent: path("hop-agent"), helper: path("hop-helper") })
    }
}

/// A command without the environment of whoever runs the self test, as `user` if given.
pub fn command(program: &Path, user: Option<u32>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8");
    command.current_dir("/").stdin(Stdio::null());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command
}

/// Starts a program that stays, with everything it says in a log file.
pub fn start(mut command: Command, log: &Path) -> io::Result<Child> {
    let file = File::create(log)?;
    child::limit_files(&mut command, FILE_BYTES);
    command.stdout(file.try_clone()?).stderr(file).spawn()
}
