//! The programs for a server: where on this machine they are, and their way to it. Nothing is
//! downloaded.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::console::Console;
use super::remote::Remote;
use super::server_helper;
use crate::base::failure::{Failure, Fault};
use crate::base::own_program;
use crate::fix;
use crate::rpc::VERSION;
use crate::ssh::scratch_dir::NotDone;
use crate::ssh::upload::Upload;
use crate::text::fix::Fix;

/// Names the agent's program for tests and packagers; the helper is looked for beside it too.
const VARIABLE: &str = "HOP_AGENT_BINARY";
const AGENTS: &str = "agents";
/// Statically linked first: it runs on every distribution.
const SYSTEMS: [&str; 2] = ["unknown-linux-musl", "unknown-linux-gnu"];

/// What a server gets.
pub struct Programs {
    pub agent: Upload,
    pub helper: Upload,
    /// What installs the two helpers.
    pub installer: Upload,
    /// The helper for its firewall. The tunnel needs none, and those of an earlier release have
    /// none beside them.
    pub server: Option<Upload>,
}

impl Programs {
    /// Names and digests, of those that are here.
    pub fn digests(&self) -> BTreeSet<(String, String)> {
        let Programs { agent, helper, installer, server } = self;
        let all = [Some(agent), Some(helper), Some(installer), server.as_ref()];
        all.into_iter().flatten().map(|it| (it.name.to_owned(), it.hash.clone())).collect()
    }
}

/// All of it for a machine in the words of `uname -m`.
pub fn load(given: Option<&Path>, machine: &str) -> Result<Programs, Failure> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).unwrap_or(Path::new("/"));
    let variable = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    let dirs = dirs(given, variable.as_deref(), beside, machine);
    let agent = match variable.filter(|_| given.is_none()) {
        Some(path) => fit("hop-agent", &path, machine)?,
        None => search("hop-agent", &dirs, machine)?,
    };
    let with = |name| search(name, &dirs, machine);
    let (helper, installer) = (with("hop-helper")?, with("hop-install")?);
    let is_there = dirs.iter().any(|dir| dir.join(server_helper::NAME).is_file());
    let server = is_there.then(|| with(server_helper::NAME)).transpose()?;
    Ok(Programs { agent, helper, installer, server })
}

/// Where to look, the first match wins.
fn dirs(
    given: Option<&Path>,
    variable: Option<&Path>,
    beside: &Path,
    machine: &str,
) -> Vec<PathBuf> {
    let targets = SYSTEMS.map(|system| format!("{machine}-{system}"));
    if let Some(given) = given {
        let below = targets.iter().map(|target| given.join(target));
        return below.chain([given.to_owned()]).collect();
    }
    let libexec = own_program::libexec(beside);
    let mut dirs: Vec<PathBuf> =
        variable.and_then(Path::parent).map(PathBuf::from).into_iter().collect();
    dirs.extend(targets.iter().map(|target| libexec.join(AGENTS).join(target)));
    // This machine's own programs, for a server of its kind.
    if cfg!(target_os = "linux") && machine == std::env::consts::ARCH {
        dirs.extend([libexec, beside.to_owned()]);
    }
    dirs
}

/// Everywhere that programs lie which belong to the hop in `beside`.
pub fn all_dirs(beside: &Path) -> Vec<PathBuf> {
    let machines = ["x86_64", "aarch64"].map(|machine| dirs(None, None, beside, machine));
    [own_program::libexec(beside), beside.to_owned()]
        .into_iter()
        .chain(machines.into_iter().flatten())
        .collect()
}

fn search(name: &'static str, dirs: &[PathBuf], machine: &str) -> Result<Upload, Failure> {
    match dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file()) {
        Some(path) => fit(name, &path, machine),
        None => {
            let places: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
            let why = format!(
                "looked in {}; the command below, in hopbox's source directory, puts it there, \
                 or give --agent-dir target/agents after its first half",
                places.join(", ")
            );
            let what = format!("there is no {name} for {machine} servers on this machine");
            Err(Failure::new(Fault::NotFound, what, why, make(machine)))
        }
    }
}

/// Builds static programs and installs them where [`dirs`] looks.
fn make(machine: &str) -> Fix {
    let target = format!("AGENT_TARGETS={machine}-{}", SYSTEMS[0]);
    fix!("make agents {} && sudo make install", target)
}

/// What lies on the server, ready to be installed.
#[derive(Default)]
pub struct Sent {
    programs: Vec<Upload>,
    /// What went over the line for it.
    pub bytes: u64,
}

impl Sent {
    pub fn has(&self, name: &str) -> bool {
        self.programs.iter().any(|program| program.name == name)
    }

    /// They are in their places, or nobody will ask for them any more.
    pub fn forget(&self, remote: &Remote) {
        self.programs.iter().for_each(|program| program.forget(&remote.connection));
    }
}

/// Sends what an earlier run did not. Each says its version there before anything is installed.
pub fn send(
    console: &mut dyn Console,
    remote: &Remote,
    programs: Vec<Upload>,
) -> Result<Sent, Failure> {
    let (connection, dir) = (&remote.connection, remote.scratch_dir()?);
    let mut sent = Sent::default();
    for mut program in programs {
        let name = program.name;
        if !program.was_sent(connection, dir)? {
            let (total, mut shown) = (program.bytes, 0);
            let arrived = program.send(connection, dir, &mut |bytes| {
                let percent = bytes * 100 / total.max(1);
                if percent >= shown + 10 {
                    shown = percent;
                    console.detail(&format!("{name} {percent} %"));
                }
            });
            arrived.map_err(|not| match not {
                NotDone::Here(failure) => failure,
                NotDone::There(done) => remote.refused(&format!("{name} could not be sent"), &done),
            })?;
            sent.bytes += total;
        }
        let machine = remote.survey()?.machine();
        try_out(&program, remote, machine).inspect_err(|_| program.forget(connection))?;
        sent.programs.push(program);
    }
    Ok(sent)
}

/// Has a program that was sent say its version there, before anything is installed: it may be for
/// another processor than its header says, or want a newer libc.
fn try_out(sent: &Upload, remote: &Remote, machine: &str) -> Result<(), Failure> {
    let done = match sent.try_out(&remote.connection, remote.scratch_dir()?) {
        // Root tries it where it is to live.
        Ok(None) => return Ok(()),
        Ok(Some(version)) if version == VERSION => return Ok(()),
        Ok(Some(version)) => return Err(stale(sent, &version)),
        Err(NotDone::Here(failure)) => return Err(failure),
        Err(NotDone::There(done)) => done,
    };
    let what = format!("{} was sent, but does not run on the server", sent.name);
    let said = done.complaint().replace(char::is_control, " ");
    let why = format!("{}: {said}; nothing was installed", sent.path.display());
    // One that is static already would be the same again.
    let dir = sent.path.parent().map(|dir| dir.to_string_lossy()).unwrap_or_default();
    let next = match dir.ends_with(SYSTEMS[0]) {
        true => fix!("file {}", sent.path),
        false => make(machine),
    };
    Err(Failure::new(Fault::Remote, what, why, next))
}

/// Programs for servers are built apart from hop, and may be of another day.
fn stale(sent: &Upload, version: &str) -> Failure {
    let what = format!("{} is of version {version}, and this hop of {VERSION}", sent.name);
    let why = format!("{} was built at another time; nothing was installed", sent.path.display());
    Failure::new(Fault::Usage, what, why, "make agents && sudo make install")
}

fn fit(name: &'static str, path: &Path, machine: &str) -> Result<Upload, Failure> {
    let wrong = |why: String| {
        let what = format!("{} cannot be sent", path.display());
        Failure::new(Fault::Usage, what, why, fix!("file {}", path))
    };
    let upload = Upload::load(name, path).map_err(|error| wrong(error.to_string()))?;
    if upload.runs_on(machine) {
        return Ok(upload);
    }
    Err(wrong(format!("it is no program for {machine}, which the server is")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_of_our_kind_gets_our_own_programs() {
        let beside = Path::new("/opt/bin");
        let other = dirs(None, None, beside, "riscv64");
        assert!(other.iter().all(|dir| dir.to_string_lossy().contains("agents/riscv64-")));
        let own = dirs(None, None, beside, std::env::consts::ARCH);
        assert_eq!(own.contains(&beside.to_owned()), cfg!(target_os = "linux"));
        let given = dirs(Some(Path::new("/x")), None, beside, "aarch64");
        assert_eq!(given[0], Path::new("/x/aarch64-unknown-linux-musl"));
        assert_eq!(given.last().unwrap(), Path::new("/x"));
        let missing = search("hop-agent", &other, "riscv64").err().unwrap();
        assert_eq!(missing.fault, Fault::NotFound);
        assert!(missing.next.contains("TARGETS=riscv64-"), "{}", missing.next);
    }

    #[test]
    fn what_is_no_program_for_the_server_is_refused() {
        let failure = fit("hop-agent", Path::new(file!()), "x86_64").err().unwrap();
        assert_eq!(failure.fault, Fault::Usage);
        let own = std::env::current_exe().unwrap();
        let failure = fit("hop-agent", &own, "riscv64").err().unwrap();
        assert!(failure.why.contains("riscv64"), "{}", failure.why);
    }
}
