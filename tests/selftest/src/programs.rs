//! The three programs under test: where they are, their copies, and running them.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::base::failure::Failure;
use hopbox::base::own_program;
use hopbox::sys::child;

/// Most that a program that stays may write to a file, its log included.
const FILE_BYTES: u64 = 16 * 1024 * 1024;
/// What another thread starts holds a copy that was just written open until its own program runs,
/// and until then the copy cannot be started.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);

/// Paths of the programs.
#[derive(Clone, Debug)]
pub struct Programs {
    pub hop: PathBuf,
    pub agent: PathBuf,
    pub helper: PathBuf,
}

const AGENT: &str = "hop-agent";
const HELPER: &str = "hop-helper";

/// That the programs which belong to this `hop` are there and may be run. Asked outside of a user
/// namespace, in which owners have no names.
pub fn check(hop: &Path) -> Result<(), Failure> {
    [AGENT, HELPER].iter().try_for_each(|name| own_program::find_for(hop, name).map(|_| ()))
}

/// They were checked.
pub fn find(hop: &Path) -> Result<Programs, Failure> {
    let find = |name| own_program::locate(hop, name);
    Ok(Programs { agent: find(AGENT)?, helper: find(HELPER)?, hop: hop.to_owned() })
}

/// The programs' files, open: they can be copied even when a mount has covered their paths.
pub struct Stash([(&'static str, File); 3]);

impl Stash {
    pub fn take(programs: &Programs) -> io::Result<Stash> {
        Ok(Stash([
            ("hop", File::open(&programs.hop)?),
            (AGENT, File::open(&programs.agent)?),
            (HELPER, File::open(&programs.helper)?),
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
        Ok(Programs { hop: path("hop"), agent: path(AGENT), helper: path(HELPER) })
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
    command.stdout(file.try_clone()?).stderr(file);
    let end = Instant::now() + WRITTEN_WITHIN;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && Instant::now() < end => {
                thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}
