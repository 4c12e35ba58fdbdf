//! What the kernel tells of any process: /proc/PID/stat, proc_pid_stat(5). Elsewhere than on Linux
//! it tells nothing.

use super::bounded;

/// More than a line of it has.
const STAT_BYTES: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub parent: u32,
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
        let start = words.nth(17)?.parse().ok()?;
        Some(Stat { parent, start, is_over })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
