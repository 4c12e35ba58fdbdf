//! What the kernel tells of any process: /proc/PID/stat, proc_pid_stat(5). Elsewhere than on Linux
//! it tells nothing.

use super::bounded;

/// More than a line of it has.
const STAT_BYTES: u64 = 4096;
/// What the kernel counts a process's time in, for everybody outside of it.
const TICK_MS: u64 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub parent: u32,
    pub session: u32,
    /// Processor time that it took itself.
    pub cpu_ms: u64,
    /// Clock ticks since the machine started.
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
        let session = words.nth(1)?.parse().ok()?;
        let (user, system): (u64, u64) = (words.nth(7)?.parse().ok()?, words.next()?.parse().ok()?);
        let cpu_ms = user.saturating_add(system).saturating_mul(TICK_MS);
        let start = words.nth(6)?.parse().ok()?;
        Some(Stat { parent, session, cpu_ms, start, is_over })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_moves_no_field() {
        let rest = "S 7 1 3 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        for name in ["x", "a) R 1 2", ") Z", "a b"] {
            let read = Stat::read(&format!("12 ({name}) {rest}")).unwrap();
            let stat = Stat { parent: 7, session: 3, cpu_ms: 110, start: 4711, is_over: false };
            assert_eq!(read, stat, "{name}");
        }
        assert_eq!(Stat::read("12 (x"), None);
        assert_eq!(Stat::read("12 (x) S 1 2"), None);
    }
}
