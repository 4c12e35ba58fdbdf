//! The connection to the other agent, on which both say what they have to say in their turn. While
//! one of them says nothing, or is not heard, a thread of its own says that it is there.
//!
//! Bounds: a beat every 5 s; without any word, or beat, 2 min, and 30 s while services rest: then
//! the other side has gone; with nothing but beats 10 min, which is more than a disk needs to write
//! what it was given; 256 KiB that are read ahead; 64 MiB, and 5 s of silence, of what the other
//! side says after the last word.

use std::io::{self, BufRead, BufReader, BufWriter, Cursor, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use super::wire::{Answer, Said};
use crate::agent::joint::BEAT;
use crate::base::time_text::took;
use crate::rpc::types::migration::{Side, silence};
use crate::sys::{tcp, threads};

/// With beats alone.
const STUCK: Duration = Duration::from_secs(600);
/// For the last words.
const LAST: Duration = Duration::from_secs(5);
const LAST_BYTES: u64 = 64 * 1024 * 1024;
const AHEAD_BYTES: usize = 256 * 1024;

/// How often this side says that it is there, and how long the other may say nothing.
#[derive(Clone, Copy)]
pub struct Patience {
    pub beat: Duration,
    pub silence: Duration,
}

impl Patience {
    pub fn of(is_last: bool) -> Patience {
        Patience { beat: BEAT, silence: silence(is_last) }
    }
}

pub struct Line {
    from: BufReader<io::Chain<Cursor<Vec<u8>>, Hearing>>,
    to: Arc<Mutex<BufWriter<Saying>>>,
    socket: TcpStream,
    /// Dropped, the beats end.
    beats: Sender<()>,
    /// The last word that was no beat.
    heard: Instant,
}

impl Line {
    /// A socket of any kind, what was read of it before, and which side this is.
    pub fn of(socket: OwnedFd, first: Vec<u8>, side: Side, patience: Patience) -> io::Result<Line> {
        let (socket, Patience { beat, silence }) = (TcpStream::from(socket), patience);
        // As `front` has it.
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(silence))?;
        socket.set_write_timeout(Some(beat))?;
        let hearing = Hearing { socket: socket.try_clone()?, silence };
        let from = BufReader::with_capacity(AHEAD_BYTES, Cursor::new(first).chain(hearing));
        let saying = Saying { socket: socket.try_clone()?, silence };
        let to = Arc::new(Mutex::new(BufWriter::with_capacity(AHEAD_BYTES, saying)));
        let beats = beats(to.clone(), side, beat)?;
        Ok(Line { from, to, socket, beats, heard: Instant::now() })
    }

    /// The same connection, for who ends it from elsewhere.
    pub fn socket(&self) -> io::Result<TcpStream> {
        self.socket.try_clone()
    }

    fn to(&self) -> MutexGuard<'_, BufWriter<Saying>> {
        self.to.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn say(&mut self, said: &Said) -> io::Result<()> {
        said.put(&mut *self.to())
    }

    pub fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        answer.put(&mut *self.to())
    }

    /// What was said before is sent, since the other side may wait for it.
    pub fn hear(&mut self) -> io::Result<Said> {
        loop {
            self.before_reading()?;
            match Said::read(&mut self.from).map_err(cut)? {
                Said::Beat => self.is_still_there()?,
                said => {
                    self.heard = Instant::now();
                    return Ok(said);
                }
            }
        }
    }

    pub fn hear_answer(&mut self) -> io::Result<Answer> {
        loop {
            self.before_reading()?;
            match Answer::read(&mut self.from).map_err(cut)? {
                Answer::Beat => self.is_still_there()?,
                answer => {
                    self.heard = Instant::now();
                    return Ok(answer);
                }
            }
        }
    }

    /// A beat is no word.
    fn is_still_there(&self) -> io::Result<()> {
        match self.heard.elapsed() < STUCK {
            true => Ok(()),
            false => Err(stuck()),
        }
    }

    /// What the target said last, if it is why it has ended.
    pub fn hear_failure(&mut self) -> Option<String> {
        loop {
            if let Answer::Failed(why) = Answer::read(&mut self.from).ok()? {
                return Some(why);
            }
        }
    }

    /// Nothing more is said. What the other side is still saying is heard for a moment: a socket
    /// that is closed before takes back what was said on it.
    pub fn end(self) {
        drop(self.beats);
        let _ = self.socket.set_read_timeout(Some(LAST));
        let flushed = self.to.lock().unwrap_or_else(PoisonError::into_inner).flush();
        let ended = flushed.and_then(|()| self.socket.shutdown(Shutdown::Write));
        if ended.is_ok() {
            let _ = io::copy(&mut self.from.take(LAST_BYTES), &mut io::sink());
        }
    }

    fn before_reading(&mut self) -> io::Result<()> {
        if self.from.buffer().is_empty() {
            self.to().flush()?;
        }
        // The end of a connection in the middle of something is told as what it is.
        match self.from.fill_buf()?.is_empty() {
            true => Err(ended(ErrorKind::UnexpectedEof)),
            false => Ok(()),
        }
    }
}

/// Begins the thread that says that this side is there. It ends with what is returned.
fn beats(to: Arc<Mutex<BufWriter<Saying>>>, side: Side, every: Duration) -> io::Result<Sender<()>> {
    let (over, is_over) = mpsc::channel::<()>();
    let beats = move || {
        while is_over.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            let mut to = match to.try_lock() {
                Ok(to) => to,
                Err(TryLockError::Poisoned(to)) => to.into_inner(),
                // Something is just being said, or waits to be taken.
                Err(TryLockError::WouldBlock) => continue,
            };
            let put = match side {
                Side::Source => Said::Beat.put(&mut *to),
                Side::Target => Answer::Beat.put(&mut *to),
            };
            // Whoever says more hears of it.
            let _ = put.and_then(|()| to.flush());
        }
    };
    threads::start("beat", beats)?;
    Ok(over)
}

fn silent(limit: Duration) -> io::Error {
    let why = format!("the other server has said nothing for {}", took(limit));
    io::Error::new(ErrorKind::TimedOut, why)
}

fn ended(kind: ErrorKind) -> io::Error {
    io::Error::new(kind, "the connection to the other server ended")
}

/// In the middle of a frame.
fn cut(error: io::Error) -> io::Error {
    match error.kind() {
        kind @ ErrorKind::UnexpectedEof => ended(kind),
        _ => error,
    }
}

/// Whoever is told of a cut needs no number of the system's.
fn plain(error: io::Error) -> io::Error {
    match error.kind() {
        kind @ (ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => ended(kind),
        _ => error,
    }
}

fn stuck() -> io::Error {
    let why = format!("the other server is there, and has done nothing for {}", took(STUCK));
    io::Error::new(ErrorKind::TimedOut, why)
}

struct Hearing {
    socket: TcpStream,
    silence: Duration,
}

impl Read for Hearing {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.socket.read(into) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(silent(self.silence)),
            done => done.map_err(plain),
        }
    }
}

/// Waits as long as the other side, which takes nothing, says that it is there.
struct Saying {
    socket: TcpStream,
    silence: Duration,
}

impl Write for Saying {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let began = Instant::now();
        let (mut unread, mut since) = (tcp::unread(&self.socket), began);
        loop {
            match self.socket.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                done => return done.map_err(plain),
            }
            // Nobody reads it meanwhile but who waits for this.
            let now = tcp::unread(&self.socket);
            if now != unread {
                (unread, since) = (now, Instant::now());
            }
            if since.elapsed() >= self.silence {
                return Err(silent(self.silence));
            }
            if began.elapsed() >= STUCK {
                return Err(stuck());
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
