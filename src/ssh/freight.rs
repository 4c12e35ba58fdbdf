//! Programs on their way to a server: a file, its hash, its journey, and the hash after arrival.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::time::Duration;

use blake2::{Blake2b512, Digest};

use super::fail;
use super::room::{Refused, STORE};
use super::run::{Connection, Feed};

/// The home is mounted noexec: not even a script runs there.
const NOEXEC: i32 = 77;
/// A slow line has this long for each program.
const SEND_LIMIT: Duration = Duration::from_secs(1800);
const SHORT_LIMIT: Duration = Duration::from_secs(30);
/// Where an ELF file names its machine, and the numbers of those we build for.
const ELF_MACHINE: std::ops::Range<usize> = 18..20;
const MACHINES: [(&str, [u8; 2]); 2] = [("x86_64", [0x3e, 0]), ("aarch64", [0xb7, 0])];

/// A program to be sent.
pub struct Freight {
    /// Its name at its destination.
    pub name: &'static str,
    pub path: PathBuf,
    file: File,
    pub bytes: u64,
    /// BLAKE2b in hexadecimal, as b2sum(1) prints it.
    pub hash: String,
    machine: [u8; 2],
}

impl Freight {
    pub fn load(name: &'static str, path: &Path) -> io::Result<Freight> {
        let mut file = File::open(path)?;
        let mut hash = Blake2b512::new();
        let mut head = Vec::new();
        let mut piece = vec![0; 256 * 1024];
        let mut bytes = 0;
        loop {
            let count = file.read(&mut piece)?;
            let Some(read) = piece.get(..count).filter(|read| !read.is_empty()) else { break };
            if head.is_empty() {
                head = read.iter().take(64).copied().collect();
            }
            hash.update(read);
            bytes += count as u64;
        }
        let machine = head.get(ELF_MACHINE).filter(|_| head.starts_with(b"\x7fELF"));
        let machine = machine.and_then(|two| two.try_into().ok()).unwrap_or_default();
        let hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Freight { name, path: path.to_owned(), file, bytes, hash, machine })
    }

    /// Whether it is a program for that machine, in the words of `uname -m`.
    pub fn runs_on(&self, machine: &str) -> bool {
        MACHINES.iter().any(|(name, number)| *name == machine && *number == self.machine)
    }

    /// Under its hash, for a run after this one.
    fn stored(&self) -> String {
        format!("{STORE}/{}-{}", self.name, self.hash.get(..16).unwrap_or_default())
    }

    /// Whether an earlier run sent it; then it lies in the connection's room now.
    pub fn was_sent(&self, connection: &Connection) -> Result<bool, Refused> {
        let (room, name, stored) = (connection.room()?, self.name, self.stored());
        let script =
            format!("sh -c 'ln -f {stored} {room}/{name} 2>/dev/null && b2sum <{room}/{name}'");
        let done = connection.run(&script, b"", SHORT_LIMIT).map_err(Err)?;
        Ok(done.text().split_whitespace().any(|word| word == self.hash))
    }

    /// Sends it into the connection's room under its name. `told` hears the bytes under way.
    /// `Err(Ok(done))`: the other side could not keep it, or keeps something else.
    pub fn send(
        &mut self,
        connection: &Connection,
        told: &mut dyn FnMut(u64),
    ) -> Result<(), Refused> {
        self.file.rewind().map_err(|error| Err(fail::program(&error)))?;
        let (room, name, stored) = (connection.room()?, self.name, self.stored());
        let script = format!(
            "sh -c 'umask 077; cd {room} && rm -f {name} && cat >{name} && chmod 700 {name} && \
             b2sum <{name}'"
        );
        let feed = Feed::File(&self.file, told);
        let mut done = connection.stream(&script, feed, &mut |_| {}, SEND_LIMIT).map_err(Err)?;
        if !done.status.success() {
            return Err(Ok(done));
        }
        if !done.text().split_whitespace().any(|word| word == self.hash) {
            done.stderr = b"what arrived is not what was sent".to_vec();
            return Err(Ok(done));
        }
        let script = format!("ln -f {room}/{name} {stored}");
        connection.run(&script, b"", SHORT_LIMIT).map_err(Err).map(drop)
    }

    /// The version that what lies in the room says it has; none where nothing can be run in the
    /// room. `Err(Ok(done))`: it does not run there.
    pub fn try_out(&self, connection: &Connection) -> Result<Option<String>, Refused> {
        let script = format!(
            "sh -c 'cd {} && echo : >try && chmod 700 try && {{ ./try || exit {NOEXEC}; }} && \
             ./{} --version'",
            connection.room()?,
            self.name
        );
        let done = connection.run(&script, b"", SHORT_LIMIT).map_err(Err)?;
        if done.status.code() == Some(NOEXEC) {
            return Ok(None);
        }
        let text = done.text();
        let mut words = text.split_whitespace();
        match (words.next() == Some(self.name), words.next()) {
            (true, Some(version)) if done.status.success() => Ok(Some(version.to_owned())),
            _ => Err(Ok(done)),
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
        let freight = Freight::load("self", &own).unwrap();
        assert_eq!(freight.bytes, own.metadata().unwrap().len());
        assert_eq!(freight.runs_on(std::env::consts::ARCH), cfg!(target_os = "linux"));
        assert!(!freight.runs_on("riscv64"));

        let path = std::env::temp_dir().join(format!("hopbox-freight-{}", std::process::id()));
        std::fs::write(&path, b"abc").unwrap();
        let text = Freight::load("text", &path).unwrap();
        std::fs::remove_file(&path).unwrap();
        // RFC 7693, appendix A.
        assert!(text.hash.starts_with("ba80a53f981c4d0d6a2797b69f12f6e9"), "{}", text.hash);
        assert_eq!(text.hash.len(), 128);
        assert!(!text.runs_on("x86_64") && !text.runs_on("aarch64"));
    }
}
