//! Which process is meant: its number, when it started, and in which life of the machine. A number
//! alone is soon another's.

use serde_json::{Value, json};

use crate::base::json::{Fields, ReadError};
use crate::sys::bounded;
use crate::sys::children::{self, Ending};
use crate::sys::process_stat::Stat;

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

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
