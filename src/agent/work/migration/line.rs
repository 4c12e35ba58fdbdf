//! The connection to the other agent, on which both say what they have to say in their turn.
//!
//! Bounds: 10 min without a byte either way, which is more than a disk needs to write what it was
//! given; 256 KiB that are read ahead;
//! 64 MiB, and 5 s of silence, of what the other side says after the last word.

use std::io::{self, BufRead, BufReader, BufWriter, Cursor, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::wire::{Answer, Said};

/// Until the other agent says anything at all.
const FIRST: Duration = Duration::from_secs(60);
const SILENCE: Duration = Duration::from_secs(600);
/// For the last words.
const LAST: Duration = Duration::from_secs(5);
const LAST_BYTES: u64 = 64 * 1024 * 1024;
const AHEAD_BYTES: usize = 256 * 1024;

pub struct Line {
    from: BufReader<io::Chain<Cursor<Vec<u8>>, TcpStream>>,
    to: BufWriter<TcpStream>,
    is_heard: bool,
}

impl Line {
    /// A socket of any kind, and what was read of it before.
    pub fn of(socket: OwnedFd, first: Vec<u8>) -> io::Result<Line> {
        let socket = TcpStream::from(socket);
        // As `front` has it.
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(FIRST))?;
        socket.set_write_timeout(Some(SILENCE))?;
        let from = Cursor::new(first).chain(socket.try_clone()?);
        let from = BufReader::with_capacity(AHEAD_BYTES, from);
        let to = BufWriter::with_capacity(AHEAD_BYTES, socket);
        Ok(Line { from, to, is_heard: false })
    }

    /// The same connection, for who ends it from elsewhere.
    pub fn socket(&self) -> io::Result<TcpStream> {
        self.to.get_ref().try_clone()
    }

    pub fn say(&mut self, said: &Said) -> io::Result<()> {
        said.put(&mut self.to)
    }

    pub fn answer(&mut self, answer: &Answer) -> io::Result<()> {
        answer.put(&mut self.to)
    }

    /// What was said before is sent, since the other side may wait for it.
    pub fn hear(&mut self) -> io::Result<Said> {
        self.before_reading()?;
        Said::read(&mut self.from)
    }

    pub fn hear_answer(&mut self) -> io::Result<Answer> {
        self.before_reading()?;
        Answer::read(&mut self.from)
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
    pub fn end(mut self) {
        let socket = self.to.get_ref();
        let _ = socket.set_read_timeout(Some(LAST));
        let ended = self.to.flush().and_then(|()| self.to.get_ref().shutdown(Shutdown::Write));
        if ended.is_ok() {
            let _ = io::copy(&mut self.from.take(LAST_BYTES), &mut io::sink());
        }
    }

    fn before_reading(&mut self) -> io::Result<()> {
        if self.from.buffer().is_empty() {
            self.to.flush()?;
        }
        // The end of a connection in the middle of something is told as what it is.
        match self.from.fill_buf()?.is_empty() {
            true => {
                let why = "the connection to the other server ended";
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, why))
            }
            false if !self.is_heard => {
                self.is_heard = true;
                self.to.get_ref().set_read_timeout(Some(SILENCE))
            }
            false => Ok(()),
        }
    }
}
