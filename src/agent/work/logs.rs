//! What services have said and say, for somebody who looks on: several logs as one, in the order of
//! their times as far as that is known. Who looks slowly is waited for here, in a thread of theirs;
//! the services and their keepers know nothing of it, and what their logs had no more room for
//! meanwhile is told as skipped.

use std::io;
use std::mem;
use std::time::{Duration, Instant};

use super::services::{self, Unable};
use crate::agent::keeper::log;
use crate::agent::keeper::reader::{Line, Next, Reader, Start};
use crate::rpc::types::logs::{LogEvent, LogLine, OneLog, ReadLogs, Since, Voice};
use crate::rpc::types::services::ServiceName;
use crate::sys::clock;

/// Logs that had nothing are looked at again while others have.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// One service's.
struct Source {
    name: ServiceName,
    reader: Reader,
    /// Read, and not told yet.
    ahead: Option<Line>,
    is_idle: bool,
    /// What came before is not wanted.
    since_ms: u64,
    /// So many lines of that very moment are not, either.
    known: u32,
    /// What comes after is not wanted.
    until_ms: u64,
}

type Tell<'a> = &'a mut dyn FnMut(&LogEvent) -> io::Result<()>;

impl Source {
    fn open(log: &OneLog, asked: &ReadLogs, now: u64) -> Result<Source, Unable> {
        let since_ms = match (log.after, asked.since) {
            (Some(place), _) => place.unix_ms,
            (None, None) => 0,
            (None, Some(Since::UnixMs(ms))) => ms,
            (None, Some(Since::AgoMs(ms))) => now.saturating_sub(ms),
        };
        let start = match (log.after, asked.last) {
            (None, Some(last)) => Start::Last(last),
            (None, None) if since_ms == 0 => Start::Oldest,
            _ => Start::Time(since_ms),
        };
        Ok(Source {
            name: log.name.clone(),
            reader: Reader::open(&services::directory(&log.name)?, start),
            ahead: None,
            is_idle: false,
            since_ms,
            known: log.after.map_or(0, |place| place.lines),
            until_ms: if asked.follow { u64::MAX } else { now },
        })
    }

    /// The next line that is wanted, if there is one.
    fn look(&mut self, tell: Tell) -> io::Result<()> {
        if self.ahead.is_some() {
            return Ok(());
        }
        loop {
            match self.reader.next_line() {
                Ok(Next::Line(line)) if line.unix_ms < self.since_ms => {}
                Ok(Next::Line(line)) if line.unix_ms == self.since_ms && self.known > 0 => {
                    self.known -= 1;
                    if self.known == 0 {
                        self.since_ms = 0;
                    }
                }
                // Whoever says more than can be read has no end.
                Ok(Next::Line(line)) if self.is_late(line.unix_ms) => break,
                Ok(Next::Line(line)) => {
                    // From the first one on: a clock may be set back.
                    self.since_ms = 0;
                    self.ahead = Some(line);
                    // The place up to which it was read is gone, and who knows how much with it.
                    if mem::take(&mut self.known) > 0 {
                        tell(&LogEvent::Skipped(self.name.clone()))?;
                    }
                    return Ok(());
                }
                Ok(Next::Skipped) => tell(&LogEvent::Skipped(self.name.clone()))?,
                // What cannot be read now may be read later.
                Ok(Next::End) | Err(_) => break,
            }
        }
        self.is_idle = true;
        Ok(())
    }

    /// Whether it was said since this began. What has a time that is still to come was said before
    /// the clock was set back, and so may have been what follows it.
    fn is_late(&self, unix_ms: u64) -> bool {
        unix_ms > self.until_ms && unix_ms <= clock::wall_ms()
    }

    fn event(&self, line: Line) -> LogEvent {
        let voice = match line.voice {
            log::Voice::Out => Voice::Out,
            log::Voice::Err => Voice::Err,
            log::Voice::Keeper => Voice::Keeper,
        };
        let (name, unix_ms) = (self.name.clone(), line.unix_ms);
        LogEvent::Line(LogLine { name, unix_ms, voice, more: line.more, text: line.text })
    }
}

/// To the end of what is there, or until nobody wants it any more.
pub fn stream(
    asked: &ReadLogs,
    tell: Tell,
    rest: &mut dyn FnMut() -> io::Result<()>,
) -> Result<(), Unable> {
    let now = clock::wall_ms();
    let sources = asked.services.iter().map(|log| Source::open(log, asked, now));
    let mut sources = sources.collect::<Result<Vec<Source>, Unable>>()?;
    let told = tell(&LogEvent::Begin(now));
    // Whoever has gone has nothing to be told.
    let _ = told.and_then(|()| tell_all(&mut sources, asked.follow, tell, rest));
    Ok(())
}

fn tell_all(
    sources: &mut [Source],
    follow: bool,
    tell: Tell,
    rest: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<()> {
    let mut looked = Instant::now();
    loop {
        for source in sources.iter_mut().filter(|source| !source.is_idle) {
            source.look(tell)?;
        }
        let ahead = sources.iter_mut().filter(|source| source.ahead.is_some());
        let first = ahead.min_by_key(|source| source.ahead.as_ref().map(|line| line.unix_ms));
        let is_any = first.is_some();
        if let Some(source) = first {
            if let Some(line) = source.ahead.take() {
                tell(&source.event(line))?;
            }
        } else if follow {
            rest()?;
        } else {
            return Ok(());
        }
        if follow && (!is_any || looked.elapsed() > LOOK_EVERY) {
            sources.iter_mut().for_each(|source| source.is_idle = false);
            looked = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::fs;
    use std::io::ErrorKind;
    use std::path::Path;

    fn source(dir: &Path, since_ms: u64, until_ms: u64) -> Source {
        let service = dir.file_name().unwrap().to_str().unwrap().to_owned();
        Source {
            name: ServiceName { workspace: "app".to_owned(), service },
            reader: Reader::open(dir, Start::Oldest),
            ahead: None,
            is_idle: false,
            since_ms,
            known: 0,
            until_ms,
        }
    }

    fn said(event: &LogEvent) -> String {
        match event {
            LogEvent::Line(line) => {
                let text = String::from_utf8(line.text.clone()).unwrap();
                format!("{} {} {text}", line.unix_ms, line.name.service)
            }
            LogEvent::Skipped(name) => format!("skipped {}", name.service),
            LogEvent::Begin(_) => panic!("it is told before"),
        }
    }

    #[test]
    fn several_logs_are_told_as_one_in_the_order_of_their_times() {
        let dir = std::env::temp_dir().join(format!("hopbox-logs-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let dirs = ["a", "b"].map(|name| dir.join(name));
        let texts = ["1 o x\n4 o y\n2 o back\n9 o late\n", "2 e u\n3 k v\n8 o w\n"];
        for (dir, text) in dirs.iter().zip(texts) {
            fs::create_dir_all(dir).unwrap();
            fs::write(dir.join("log"), text).unwrap();
        }
        let look = |since, until, follow: bool| {
            let told = RefCell::new(Vec::new());
            let mut sources = dirs.each_ref().map(|dir| source(dir, since, until));
            let mut tell = |event: &LogEvent| {
                told.borrow_mut().push(said(event));
                Ok(())
            };
            let mut rests = 0;
            let mut rest = || {
                rests += 1;
                match rests {
                    1 => fs::write(dirs[1].join("log"), "2 e u\n3 k v\n8 o w\n7 o new\n"),
                    _ => Err(ErrorKind::BrokenPipe.into()),
                }
            };
            let done = tell_all(&mut sources, follow, &mut tell, &mut rest);
            assert_eq!(done.is_ok(), !follow, "only a view that follows waits");
            told.into_inner()
        };
        let all = ["1 a x", "2 b u", "3 b v", "4 a y", "2 a back", "8 b w", "9 a late"];
        assert_eq!(look(0, 100, false), all);
        assert_eq!(look(3, 8, false), ["3 b v", "4 a y", "2 a back", "8 b w"]);
        // The clock was ahead by centuries for a line.
        fs::write(dirs[0].join("log"), "1 o x\n9999999999999 o ahead\n2 o y\n9 o late\n").unwrap();
        let shown = look(0, 8, false);
        assert!(shown.contains(&"2 a y".to_owned()), "{shown:?}");
        assert!(!shown.contains(&"9 a late".to_owned()), "{shown:?}");
        fs::write(dirs[0].join("log"), texts[0]).unwrap();
        let mut followed = all.to_vec();
        followed.push("7 b new");
        assert_eq!(look(0, u64::MAX, true), followed);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_view_goes_on_behind_what_it_has_seen_and_tells_of_what_is_gone() {
        let dir = std::env::temp_dir().join(format!("hopbox-logs-on-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("log"), "3 o a\n4 o b\n4 o c\n4 o d\n2 o e\n").unwrap();
        let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
        let look = |unix_ms, lines| {
            let mut source = Source { known: lines, ..source(&dir, unix_ms, u64::MAX) };
            let mut told = Vec::new();
            let mut tell = |event: &LogEvent| {
                told.push(said(event).replace(&format!(" {name}"), ""));
                Ok(())
            };
            let mut rest = || Err(ErrorKind::BrokenPipe.into());
            let _ = tell_all(std::slice::from_mut(&mut source), true, &mut tell, &mut rest);
            told.join(", ")
        };
        assert_eq!(look(4, 0), "4 b, 4 c, 4 d, 2 e");
        assert_eq!(look(4, 2), "4 d, 2 e");
        assert_eq!(look(4, 3), "2 e");
        assert_eq!(look(2, 1), "skipped, 3 a, 4 b, 4 c, 4 d, 2 e", "a clock was set back");
        assert_eq!(look(1, 1), "skipped, 3 a, 4 b, 4 c, 4 d, 2 e");
        fs::remove_dir_all(dir).unwrap();
    }
}
