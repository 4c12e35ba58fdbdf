//! Whether restic goes on, or waits for a repository that is slow, or away: it tries again for a
//! quarter of an hour, and says so on its standard error at most, in the middle of a backup not
//! even there.

use std::time::{Duration, Instant};

use crate::rpc::types::snap::Far;

const AFTER: Duration = Duration::from_secs(15);
/// Of a line that is no JSON.
const LINE_BYTES: usize = 1024;

pub struct Waits {
    /// How far it is, and since when.
    far: Option<(u64, u64)>,
    since: Instant,
    is_told: bool,
    line: Vec<u8>,
    said: Option<String>,
}

impl Waits {
    pub fn new(now: Instant) -> Waits {
        Waits { far: None, since: now, is_told: false, line: Vec::new(), said: None }
    }

    pub fn far(&mut self, far: &Far, now: Instant) {
        if self.far != Some((far.files, far.bytes)) {
            self.far = Some((far.files, far.bytes));
            self.since = now;
            self.is_told = false;
            self.said = None;
        }
    }

    /// A piece of its standard error.
    pub fn complains(&mut self, piece: &[u8]) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES.saturating_sub(self.line.len());
            self.line.extend_from_slice(part.get(..room.min(part.len())).unwrap_or_default());
            if part.last() == Some(&b'\n') {
                let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
                let line = line.trim();
                if !line.is_empty() && !line.starts_with('{') {
                    self.said = Some(line.to_owned());
                }
            }
        }
    }

    /// A sentence, once for each time that it waits: where it tells how far it is, or complains.
    /// Others have nothing to say for long, and are at work.
    pub fn told(&mut self, now: Instant) -> Option<String> {
        let long = now.saturating_duration_since(self.since);
        if self.is_told || long < AFTER || (self.far.is_none() && self.said.is_none()) {
            return None;
        }
        self.is_told = true;
        let why = self.said.take().map(|said| format!(": {said}")).unwrap_or_default();
        Some(format!("for {} s restic has not gone on, and waits{why}", long.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_that_nothing_goes_on() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut waits = Waits::new(start);
        assert_eq!(waits.told(at(3600)), None, "it may have nothing to say");
        waits.complains(b"Stat() failed, retry");
        waits.complains(b"ing\n{\"message_type\":\"error\"}\n\n");
        let told = waits.told(at(20)).unwrap();
        assert!(told.contains("20 s") && told.ends_with("Stat() failed, retrying"), "{told}");
        assert_eq!(waits.told(at(40)), None);
        let far = |bytes| Far { bytes, ..Far::default() };
        waits.far(&far(1), at(50));
        waits.far(&far(1), at(60));
        assert_eq!(waits.told(at(64)), None);
        assert!(waits.told(at(65)).is_some_and(|told| told.ends_with("waits")));
        waits.far(&far(2), at(70));
        assert!(waits.told(at(71)).is_none() && waits.told(at(85)).is_some());
        (0..100).for_each(|_| waits.complains(&[b'x'; 512]));
        assert!(waits.line.len() <= LINE_BYTES);
    }
}
