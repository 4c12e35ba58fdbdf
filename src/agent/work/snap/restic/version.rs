//! Which restic is installed, and what that one cannot promise.
//!
//! | since | what | source |
//! |---|---|---|
//! | 0.15 | holes of files are restored as holes (`--sparse`) | tests/agent/snap.rs |
//! | 0.16 | what a restore has done, as JSON | its CHANGELOG |
//! | 0.17 | exit statuses 10, 11 and 12; errors as JSON | its CHANGELOG; 0.14.0 and 0.19.1 tried |
//! | 0.17 | lets its lock go at SIGTERM | findings/restic-sigterm-leaves-its-lock.sh |
//! | 0.20 | owners and trees that nobody should follow are not followed by root | its CHANGELOG |

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

/// The oldest with all that is used here.
pub const OLDEST: Version = Version(0, 14, 0);

impl Version {
    /// As `restic version` says it: `restic 0.14.0 compiled with …`.
    pub fn read(said: &str) -> Option<Version> {
        let word = said.lines().next()?.strip_prefix("restic ")?.split(' ').next()?;
        // What follows a release, as in 0.14.0-dev, makes it no other one.
        let plain = word.split(['-', '+', '(']).next()?;
        let mut numbers = plain.split('.').map(|part| part.parse::<u32>().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        Some(Version(major, minor, numbers.next().flatten().unwrap_or(0)))
    }

    /// Exit statuses tell a repository that is not there, one that is locked and a wrong password
    /// from everything else.
    pub fn tells_by_status(self) -> bool {
        self >= Version(0, 17, 0)
    }

    fn restores_holes(self) -> bool {
        self >= Version(0, 15, 0)
    }

    fn tells_of_restores(self) -> bool {
        self >= Version(0, 16, 0)
    }

    /// What it is told of a restore, as far as it knows it.
    pub fn restore_options(self) -> impl Iterator<Item = &'static str> {
        let all = [("--json", self.tells_of_restores()), ("--sparse", self.restores_holes())];
        all.into_iter().filter(|(_, is_known)| *is_known).map(|(option, _)| option)
    }

    pub fn restores_safely_as_root(self) -> bool {
        self >= Version(0, 20, 0)
    }

    /// What this one does not promise to root, or to a login that is not; each a sentence.
    pub fn notes(self, is_root: bool) -> Vec<String> {
        let notes = [
            (
                !self.tells_by_status(),
                "its exit status does not tell a wrong password from a lock: hopbox looks itself",
            ),
            (!self.restores_holes(), "it restores the holes of sparse files as zeros"),
            (!self.tells_of_restores(), "it does not tell how far a restore is"),
            (
                is_root && !self.restores_safely_as_root(),
                "as root it restores a damaged or foreign repository unsafely: restic 0.20 does not",
            ),
        ];
        let said = notes.into_iter().filter(|(is_so, _)| *is_so);
        said.map(|(_, note)| format!("restic {self}: {note}")).collect()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_and_says_what_it_promises() {
        let read = |text: &str| Version::read(text).map(|version| version.to_string());
        let told = |text: &str| Some(text.to_owned());
        assert_eq!(read("restic 0.14.0 compiled with go1.19.8 on linux/amd64\n"), told("0.14.0"));
        assert_eq!(read("restic 0.19.1-dev (v0.19) compiled"), told("0.19.1"));
        assert_eq!(read("restic 1.0\n"), told("1.0.0"));
        for bad in ["", "restic", "restic x.y", "borg 1.2.3", "restic 0", "restic 99999999999.1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let notes = |minor| Version(0, minor, 0).notes(true).len();
        assert_eq!([14, 15, 16, 17, 19, 20].map(notes), [4, 3, 2, 1, 1, 0]);
        assert_eq!([14, 19].map(|minor| Version(0, minor, 0).notes(false).len()), [3, 0]);
    }
}
