//! Checkouts of several processes, looked for by a thread of their own: a directory may be on a
//! file system whose server is gone, and whoever looks there does not come back.
//!
//! Bounds: 4096 that are asked for; 20 ms until one is there, and none once one has been waited for
//! that long. The thread waits for nothing but questions.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use super::checkout::{self, Checkout};

const MOST: usize = 4096;
const WAIT: Duration = Duration::from_millis(20);

/// A process, and where it is.
type Place = (u32, PathBuf);

#[derive(Default)]
pub struct Checkouts {
    looker: Option<Looker>,
    /// The last answer for each process, and where it was then.
    known: BTreeMap<u32, (PathBuf, Option<Checkout>)>,
    /// Questions without an answer.
    open: usize,
    is_late: bool,
}

struct Looker {
    ask: SyncSender<Place>,
    told: Receiver<(Place, Option<Checkout>)>,
}

impl Looker {
    fn start() -> Option<Looker> {
        let (ask, asked) = mpsc::sync_channel::<Place>(MOST);
        let (tell, told) = mpsc::channel();
        let look = move || {
            for (pid, dir) in asked {
                let way = PathBuf::from(format!("/proc/{pid}/cwd"));
                let found = checkout::of(&dir, &way);
                if tell.send(((pid, dir), found)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("checkouts".to_owned()).spawn(look).ok()?;
        Some(Looker { ask, told })
    }
}

impl Checkouts {
    /// These are looked at now; others are forgotten.
    pub fn look<'a>(&mut self, places: impl Iterator<Item = (u32, &'a Path)>) {
        let places: BTreeMap<u32, &Path> = places.collect();
        self.known.retain(|pid, _| places.contains_key(pid));
        self.hear(Instant::now());
        // One that hangs is not asked for more.
        if self.open == 0 {
            self.is_late = false;
            places.iter().for_each(|(pid, dir)| self.ask((*pid, (*dir).to_owned())));
        }
        if !self.is_late {
            self.hear(Instant::now() + WAIT);
            self.is_late = self.open > 0;
        }
        self.known.retain(|pid, _| places.contains_key(pid));
    }

    fn ask(&mut self, place: Place) {
        if self.looker.is_none() {
            self.looker = Looker::start();
        }
        let sent = self.looker.as_ref().is_some_and(|looker| looker.ask.try_send(place).is_ok());
        self.open += usize::from(sent);
    }

    fn hear(&mut self, end: Instant) {
        while let Some(looker) = self.looker.as_ref().filter(|_| self.open > 0) {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(((pid, dir), found)) = looker.told.recv_timeout(left) else { return };
            self.open -= 1;
            self.known.insert(pid, (dir, found));
        }
    }

    pub fn of(&self, pid: u32, dir: &Path) -> Option<&Checkout> {
        let (known, checkout) = self.known.get(&pid)?;
        checkout.as_ref().filter(|_| known == dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_hangs_keeps_nobody_and_what_was_known_is_told() {
        let (own, dir) = (std::process::id(), std::env::current_dir().unwrap());
        let mut checkouts = Checkouts::default();
        let end = Instant::now() + Duration::from_secs(10);
        while checkouts.known.is_empty() {
            checkouts.look([(own, dir.as_path())].into_iter());
            assert!(Instant::now() < end);
        }
        let expected = checkout::of(&dir, &dir);
        assert_eq!(checkouts.of(own, &dir), expected.as_ref());
        assert_eq!(checkouts.of(own, Path::new("/elsewhere")), None);
        // As if its file system did not answer.
        let (ask, _asked) = mpsc::sync_channel(MOST);
        let (_tell, told) = mpsc::channel();
        checkouts.looker = Some(Looker { ask, told });
        checkouts.look([(own, dir.as_path())].into_iter());
        let began = Instant::now();
        (0..100).for_each(|_| checkouts.look([(own, dir.as_path())].into_iter()));
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!((checkouts.open, checkouts.of(own, &dir)), (1, expected.as_ref()));
        checkouts.look([].into_iter());
        assert_eq!(checkouts.of(own, &dir), None, "it has gone");
    }
}
