//! Programs on their way to a server: a file, its hash, its journey, and the hash after arrival.

use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::connection::{Connection, Feed};
use super::error;
use super::scratch_dir::{NotDone, STORE, ScratchDir};
use crate::base::b2sum;
use crate::base::failure::Failure;

/// The home is mounted noexec: not even a script runs there.
const NOEXEC: i32 = 77;
/// A slow line has this long for each program.
const SEND_LIMIT: Duration = Duration::from_secs(1800);
const SHORT_LIMIT: Duration = Duration::from_secs(30);
const HEAD_BYTES: usize = 64;
/// Where an ELF file names its machine, and the numbers of those we build for.
const ELF_MACHINE: std::ops::Range<usize> = 18..20;
const MACHINES: [(&str, [u8; 2]); 2] = [("x86_64", [0x3e, 0]), ("aarch64", [0xb7, 0])];

/// A program to be sent.
pub struct Upload {
    /// Its name at its destination.
    pub name: &'static str,
    pub path: PathBuf,
    file: File,
    pub bytes: u64,
    /// BLAKE2b in hexadecimal, as b2sum(1) prints it.
    pub hash: String,
    machine: [u8; 2],
}

impl Upload {
    pub fn load(name: &'static str, path: &Path) -> io::Result<Upload> {
        let mut file = File::open(path)?;
        let hash = b2sum::of(&file, b2sum::PROGRAM_BYTES)?;
        let bytes = file.stream_position()?;
        let mut head = [0; HEAD_BYTES];
        let count = file.read_at(&mut head, 0)?;
        let head = head.get(..count).unwrap_or_default();
        let machine = head.get(ELF_MACHINE).filter(|_| head.starts_with(b"\x7fELF"));
        let machine = machine.and_then(|two| two.try_into().ok()).unwrap_or_default();
        Ok(Upload { name, path: path.to_owned(), file, bytes, hash, machine })
    }

    /// Whether it is a program for that machine, in the words of `uname -m`.
    pub fn runs_on(&self, machine: &str) -> bool {
        MACHINES.iter().any(|(name, number)| *name == machine && *number == self.machine)
    }

    /// Under its hash, for a run after this one.
    fn stored(&self) -> String {
        format!("{STORE}/{}-{}", self.name, self.hash.get(..16).unwrap_or_default())
    }

    /// Whether an earlier run sent it; then it lies in `dir` now.
    pub fn was_sent(&self, connection: &Connection, dir: &ScratchDir) -> Result<bool, Failure> {
        let (dir, name, stored) = (dir.path(), self.name, self.stored());
        let script =
            format!("sh -c 'ln -f {stored} {dir}/{name} 2>/dev/null && b2sum <{dir}/{name}'");
        let done = connection.run(&script, b"", SHORT_LIMIT)?;
        Ok(done.text().split_whitespace().any(|word| word == self.hash))
    }

    /// Sends it into `dir` under its name. `told` hears the bytes under way. Not done there: the
    /// other side could not keep it, or keeps something else.
    pub fn send(
        &mut self,
        connection: &Connection,
        dir: &ScratchDir,
        told: &mut dyn FnMut(u64),
    ) -> Result<(), NotDone> {
        self.file.rewind().map_err(|error| error::program(&error))?;
        let (dir, name, stored) = (dir.path(), self.name, self.stored());
        let script = format!(
            "sh -c 'umask 077; cd {dir} && rm -f {name} && cat >{name} && chmod 700 {name} && \
             b2sum <{name}'"
        );
        let feed = Feed::File(&self.file, told);
        let mut done = connection.stream(&script, feed, &mut |_| {}, SEND_LIMIT)?;
        if !done.status.success() {
            return Err(NotDone::There(done));
        }
        if !done.text().split_whitespace().any(|word| word == self.hash) {
            done.stderr = b"what arrived is not what was sent".to_vec();
            return Err(NotDone::There(done));
        }
        let script = format!("ln -f {dir}/{name} {stored}");
        connection.run(&script, b"", SHORT_LIMIT).map(drop).map_err(NotDone::Here)
    }

    /// The version that what lies in `dir` says it has; none where nothing can be run there. Not
    /// done there: it does not run.
    pub fn try_out(
        &self,
        connection: &Connection,
        dir: &ScratchDir,
    ) -> Result<Option<String>, NotDone> {
        let script = format!(
            "sh -c 'cd {} && echo : >try && chmod 700 try && {{ ./try || exit {NOEXEC}; }} && \
             ./{} --version'",
            dir.path(),
            self.name
        );
        let done = connection.run(&script, b"", SHORT_LIMIT)?;
        if done.status.code() == Some(NOEXEC) {
            return Ok(None);
        }
        let text = done.text();
        let mut words = text.split_whitespace();
        match (words.next() == Some(self.name), words.next()) {
            (true, Some(version)) if done.status.success() => Ok(Some(version.to_owned())),
            _ => Err(NotDone::There(done)),
        }
    }

    /// It is in its place: nobody will ask for it any more.
    pub fn forget(&self, connection: &Connection) {
        let _ = connection.run(&format!("rm -f {}", self.stored()), b"", SHORT_LIMIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_hash_and_machine() {
        let own = std::env::current_exe().unwrap();
        let upload = Upload::load("self", &own).unwrap();
        assert_eq!(upload.bytes, own.metadata().unwrap().len());
        assert_eq!(upload.runs_on(std::env::consts::ARCH), cfg!(target_os = "linux"));
        assert!(!upload.runs_on("riscv64"));

        let path = std::env::temp_dir().join(format!("hopbox-upload-{}", std::process::id()));
        std::fs::write(&path, b"abc").unwrap();
        let text = Upload::load("text", &path).unwrap();
        std::fs::remove_file(&path).unwrap();
        // RFC 7693, appendix A.
        assert!(text.hash.starts_with("ba80a53f981c4d0d6a2797b69f12f6e9"), "{}", text.hash);
        assert_eq!(text.hash.len(), 128);
        assert!(!text.runs_on("x86_64") && !text.runs_on("aarch64"));
    }
}
