//! Which process is meant: its number, when it started, and in which life of the machine. A number
//! alone is soon another's.

use serde_json::{Value, json};

use crate::base::json::{Fields, ReadError};
use crate::sys::bounded;
use crate::sys::children::{self, Ending};

const STAT_BYTES: u64 = 4096;
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    /// Clock ticks since the machine started.
    pub start: u64,
    pub boot: String,
}

impl Process {
    /// Of a process that is there.
    pub fn of(pid: u32) -> Option<Process> {
        Some(Process { pid, start: Stat::of(pid)?.start, boot: boot() })
    }

    /// Whether it is there still, also as one that nobody has reaped.
    pub fn is_there(&self) -> bool {
        let now = Stat::of(self.pid);
        now.is_some_and(|now| now.start == self.start) && self.boot == boot()
    }

    /// A signal for this process or nobody.
    pub fn end(&self, ending: Ending) -> bool {
        children::end(self.pid, ending, || self.is_there()).unwrap_or(false)
    }

    pub fn to_json(&self) -> Value {
        json!({"pid": self.pid, "start": self.start, "boot": self.boot})
    }

    pub fn read(fields: &mut Fields) -> Result<Process, ReadError> {
        Ok(Process {
            pid: fields.int("pid", 2..=u32::MAX)?,
            start: fields.int("start", 0..=u64::MAX)?,
            boot: fields.string("boot")?,
        })
    }
}

/// This life of the machine.
pub fn boot() -> String {
    bounded::text(BOOT_ID).unwrap_or_default().trim().to_owned()
}

/// What the kernel tells of any process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub parent: u32,
    pub start: u64,
    /// It has ended, and waits to be reaped.
    pub is_over: bool,
}

impl Stat {
    pub fn of(pid: u32) -> Option<Stat> {
        // The name of a process may be any bytes.
        let bytes = bounded::read(format!("/proc/{pid}/stat"), STAT_BYTES).ok()?;
        Stat::read(&String::from_utf8_lossy(&bytes))
    }

    /// The name stands in brackets and may hold brackets.
    fn read(text: &str) -> Option<Stat> {
        let (_, after) = text.rsplit_once(')')?;
        let mut words = after.split_ascii_whitespace();
        let is_over = matches!(words.next()?, "Z" | "X");
        let parent = words.next()?.parse().ok()?;
        let start = words.nth(17)?.parse().ok()?;
        Some(Stat { parent, start, is_over })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_name_with_brackets_moves_no_field() {
        let rest = "S 7 1 1 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        for name in ["x", "a) R 1 2", ") Z", "a b"] {
            let read = Stat::read(&format!("12 ({name}) {rest}")).unwrap();
            assert_eq!(read, Stat { parent: 7, start: 4711, is_over: false }, "{name}");
        }
        assert_eq!(Stat::read("12 (x"), None);
        assert_eq!(Stat::read("12 (x) S 1 2"), None);
    }

    #[test]
    fn another_process_of_the_same_number_is_not_meant() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let real = Process::of(child.id()).unwrap();
        let later = Process { start: real.start + 1, ..real.clone() };
        let before = Process { boot: "another life".to_owned(), ..real.clone() };
        for stranger in [&later, &before] {
            assert!(!stranger.is_there() && !stranger.end(Ending::Forced));
        }
        assert!(child.try_wait().unwrap().is_none(), "a stranger was ended");
        assert!(real.is_there() && real.end(Ending::Forced));
        child.wait().unwrap();
        assert!(!real.is_there() && Process::of(child.id()).is_none());
    }
}
