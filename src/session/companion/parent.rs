//! The session's side: starts its companions, hears them, starts them again.
//!
//! Bounds: a pause of 250 ms before the next start, twice as long each time up to 5 s, until one
//! has lived for 10 s; a line of 1 KiB, 64 KiB of them a turn; for their end as long as
//! their kind may take.

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use super::kind::Kind;
use crate::host::paths::Paths;
use crate::session::daemon::command_line;
use crate::session::limits;
use crate::session::log::log;
use crate::sys::poll::{self, Interest};
use crate::sys::process::{self, REAPED_WITHIN};
use crate::sys::signal::{self, Kind as Signal};
use crate::sys::{child, line};

const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MOST: Duration = Duration::from_secs(5);
/// One that lived so long was well.
const WELL: Duration = Duration::from_secs(10);
const LINE_BYTES: usize = 1024;
const PIECE: usize = 16 * 1024;
const PIECES: usize = 4;

pub struct Companions(Vec<Companion>);

struct Companion {
    kind: Kind,
    command: Box<dyn Fn() -> Command>,
    alive: Option<Alive>,
    /// When it is to be started, on the boot clock.
    due: Duration,
    pause: Duration,
}

struct Alive {
    child: Child,
    /// Its standard input, which ends with the session.
    life: ChildStdin,
    /// What it says; ends with it.
    voice: std::fs::File,
    bytes: Vec<u8>,
    began: Duration,
}

impl Companions {
    /// All that a session has. They are started by [`Companions::look`].
    pub fn of(paths: &Paths, host: &str) -> Companions {
        let one = |kind: Kind| {
            let (paths, host) = (paths.clone(), host.to_owned());
            let argument = kind.argument();
            Companion::new(kind, move || command_line::companion(&paths, &host, argument))
        };
        Companions(Kind::all().map(one).collect())
    }

    pub fn due(&self) -> Option<Duration> {
        self.0.iter().filter(|one| one.alive.is_none()).map(|one| one.due).min()
    }

    pub fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Interest)> {
        let alive = self.0.iter().filter_map(|one| one.alive.as_ref());
        alive.map(|alive| (alive.voice.as_fd(), Interest::READ))
    }

    /// Hears what they say, and starts those whose time it is; `now` on the boot clock.
    pub fn look(&mut self, now: Duration) {
        self.0.iter_mut().for_each(|one| one.look(now));
    }

    /// All of them, at once, also those that somebody has stopped.
    pub fn end(&mut self) {
        let alive = self.0.iter_mut().filter_map(|one| Some((one.kind, one.alive.take()?)));
        let (mut children, lives): (Vec<(Kind, Child)>, Vec<ChildStdin>) =
            alive.map(|(kind, alive)| ((kind, alive.child), alive.life)).unzip();
        drop(lives);
        for (_, child) in &children {
            // It leads its session's only group, and has not been waited for.
            let _ = signal::send_group(child.id(), Signal::Continue);
        }
        let began = Instant::now();
        children.retain_mut(|(kind, child)| {
            let left = kind.end_limit().saturating_sub(began.elapsed());
            !matches!(child::wait_for(child, left), Ok(Some(_)))
        });
        children.iter_mut().for_each(|(_, child)| drop(child.kill()));
        let killed = Instant::now();
        for (_, child) in &mut children {
            let _ = child::wait_for(child, REAPED_WITHIN.saturating_sub(killed.elapsed()));
        }
    }
}

impl Drop for Companions {
    fn drop(&mut self) {
        self.end();
    }
}

impl Companion {
    fn new(kind: Kind, command: impl Fn() -> Command + 'static) -> Companion {
        let (alive, due) = (None, Duration::ZERO);
        Companion { kind, command: Box::new(command), alive, due, pause: PAUSE }
    }

    fn look(&mut self, now: Duration) {
        let name = self.kind.name();
        if let Some(mut alive) = self.alive.take_if(|alive| !alive.hear(name)) {
            if now.saturating_sub(alive.began) >= WELL {
                self.pause = PAUSE;
            }
            let how = alive.reap();
            log(&format!("{name} ended ({how}); again in {} ms", self.pause.as_millis()));
            self.later(now);
        }
        if self.alive.is_none() && self.due <= now {
            match Alive::start(&mut (self.command)(), now) {
                Ok(alive) => self.alive = Some(alive),
                Err(error) => {
                    log(&format!("cannot start {name}: {error}"));
                    self.later(now);
                }
            }
        }
    }

    fn later(&mut self, now: Duration) {
        self.due = now + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MOST);
    }
}

impl Alive {
    fn start(command: &mut Command, now: Duration) -> io::Result<Alive> {
        let (read, write) = poll::pipe()?;
        command.stdin(Stdio::piped()).stdout(Stdio::from(write));
        let mut child = process::dying_with_parent(process::in_new_session(command)).spawn()?;
        let life = child.stdin.take().ok_or(ErrorKind::BrokenPipe)?;
        Ok(Alive { child, life, voice: read.into(), bytes: Vec::new(), began: now })
    }

    /// Puts what it says into the log. False when it says no more.
    fn hear(&mut self, name: &str) -> bool {
        let mut piece = [0; PIECE];
        for _ in 0..PIECES {
            match self.voice.read(&mut piece) {
                Ok(0) => return false,
                Ok(read) => self.take(name, piece.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }

    fn take(&mut self, name: &str, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        while let Some(line) = line::take(&mut self.bytes, 0) {
            let line = line.get(..LINE_BYTES.min(line.len())).unwrap_or_default();
            log(&format!("{name}: {}", String::from_utf8_lossy(line)));
        }
        if self.bytes.len() > LINE_BYTES {
            self.bytes.clear();
        }
    }

    /// How it ended. One that only says no more does not stay.
    fn reap(&mut self) -> String {
        match child::wait_for(&mut self.child, limits::COMPANION_SILENT) {
            Ok(Some(status)) => status.to_string(),
            _ => {
                let killed = process::kill_and_reap(self.child.id());
                killed.map_or_else(|error| error.to_string(), |()| "it was silent".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::monitor::Moment;

    fn shell(script: &'static str) -> Companions {
        Companions(vec![Companion::new(Kind::Ports, move || {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        })])
    }

    /// Until `so`, as the session's loop does it.
    fn turn(all: &mut Companions, mut so: impl FnMut(&Companions) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !so(all) {
            assert!(Instant::now() < end);
            all.look(Moment::now().boot);
            let due = all.due().map(|due| due.saturating_sub(Moment::now().boot));
            let limit = due.unwrap_or(Duration::from_millis(100)).min(Duration::from_millis(100));
            let fds: Vec<_> = all.fds().collect();
            poll::wait(&fds, &mut Vec::new(), Some(limit)).unwrap();
        }
    }

    fn pid(all: &Companions) -> Option<u32> {
        all.0[0].alive.as_ref().map(|alive| alive.child.id())
    }

    #[test]
    fn one_that_ends_is_started_again_after_a_pause_that_grows() {
        let mut all = shell("exit 3");
        let (mut pids, mut pauses) = (Vec::new(), Vec::new());
        turn(&mut all, |all| {
            if let Some(pid) = pid(all).filter(|pid| !pids.contains(pid)) {
                pids.push(pid);
                pauses.push(all.0[0].pause);
            }
            pids.len() == 3
        });
        assert_eq!(pauses, [PAUSE, PAUSE * 2, PAUSE * 4]);
        all.0[0].pause = PAUSE_MOST;
        all.0[0].later(Duration::ZERO);
        assert_eq!(all.0[0].pause, PAUSE_MOST, "no further");
    }

    #[test]
    fn one_that_is_killed_is_back_within_a_second() {
        let mut all = shell("echo one; exec cat");
        turn(&mut all, |all| pid(all).is_some());
        let first = pid(&all).unwrap();
        let killed = Instant::now();
        crate::sys::signal::send(first, crate::sys::signal::Kind::Kill).unwrap();
        turn(&mut all, |all| pid(all).is_some_and(|pid| pid != first));
        assert!(killed.elapsed() >= PAUSE, "not at once");
        let second = pid(&all).unwrap();
        // It ends by itself: its standard input does.
        let began = Instant::now();
        all.end();
        assert!(began.elapsed() < Kind::Ports.end_limit(), "{:?}", began.elapsed());
        assert!(!process::is_alive(second));
    }

    #[test]
    fn one_that_somebody_has_stopped_ends_by_itself_all_the_same() {
        let left = std::env::temp_dir().join(format!("hopbox-ends-{}", std::process::id()));
        let file = left.clone();
        let mut all = Companions(vec![Companion::new(Kind::Bridges, move || {
            let mut command = Command::new("sh");
            // Its own child is stopped with it, as by Ctrl-Z.
            command.args(["-c", "cat >/dev/null; echo ends >\"$0\""]).arg(&file);
            command
        })]);
        turn(&mut all, |all| pid(all).is_some());
        let it = pid(&all).unwrap();
        let stop = format!("kill -STOP -{it}");
        assert!(Command::new("sh").args(["-c", &stop]).status().unwrap().success());
        all.end();
        assert!(!process::is_alive(it));
        // Whoever is killed instead writes nothing.
        assert_eq!(std::fs::read_to_string(&left).unwrap(), "ends\n");
        std::fs::remove_file(left).unwrap();
    }

    #[test]
    fn one_that_stays_all_the_same_is_killed() {
        let mut all = shell("trap '' TERM; while :; do sleep 1; done");
        turn(&mut all, |all| pid(all).is_some());
        let it = pid(&all).unwrap();
        drop(all);
        assert!(!process::is_alive(it));
    }

    #[test]
    fn a_flood_of_what_is_no_line_is_not_kept() {
        let mut all = shell("head -c 1000000 /dev/zero; echo; exec cat");
        turn(&mut all, |all| pid(all).is_some());
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(10));
            all.look(Moment::now().boot);
            let kept = all.0[0].alive.as_ref().map_or(0, |alive| alive.bytes.len());
            assert!(kept <= LINE_BYTES, "{kept}");
        }
    }
}
