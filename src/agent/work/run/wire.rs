//! The connection that came for a run: what is said of it and heard. In frames both ways, or in
//! lines, one way, for who has no more than HTTP.
//!
//! Bounds: 64 KiB wait to be sent, and then nothing more is read of the command; of frames one and
//! a piece.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::agent::joint;
use crate::rpc::code::Code;
use crate::rpc::frames::{BEAT, Channel, Frame, Inbox, SILENCE, Signal, put_data};
use crate::rpc::types::Message;
use crate::rpc::types::run::{Ended, Said};
use crate::sys::poll::Interest;

const QUEUE_BYTES: usize = 64 * 1024;
const PIECE: usize = 64 * 1024;

pub struct Wire {
    stream: UnixStream,
    pub frames: bool,
    inbox: Inbox,
    outbox: Vec<u8>,
    sent: usize,
    heard: Instant,
    said: Instant,
    /// The other side's program is stopped: it says nothing, and has not gone.
    stopped: bool,
    gone: bool,
}

impl Wire {
    pub fn new(stream: UnixStream, frames: bool) -> io::Result<Wire> {
        stream.set_nonblocking(true)?;
        let now = Instant::now();
        let (inbox, outbox) = (Inbox::default(), Vec::new());
        let (stopped, gone) = (false, false);
        Ok(Wire { stream, frames, inbox, outbox, sent: 0, heard: now, said: now, stopped, gone })
    }

    /// Nobody is there any more.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// No more is to be said now.
    pub fn is_full(&self) -> bool {
        self.outbox.len() - self.sent >= QUEUE_BYTES
    }

    pub fn is_sent(&self) -> bool {
        self.sent == self.outbox.len()
    }

    pub fn interest(&self) -> Interest {
        if self.is_sent() { Interest::READ } else { Interest::BOTH }
    }

    /// How long nothing has to be done.
    pub fn patience(&self) -> Duration {
        BEAT.saturating_sub(self.said.elapsed())
    }

    fn line(&mut self, line: &str) {
        self.outbox.extend_from_slice(line.as_bytes());
        self.outbox.push(b'\n');
    }

    fn frame(&mut self, frame: &Frame) {
        if self.frames {
            frame.put(&mut self.outbox);
        }
    }

    /// To a side that waits for it before it sends frames.
    pub fn begin(&mut self) {
        if self.frames {
            self.line(joint::FRAMES_FOLLOW);
        }
    }

    pub fn data(&mut self, channel: Channel, bytes: &[u8]) {
        if self.frames {
            return put_data(channel, bytes, &mut self.outbox);
        }
        let said = match channel {
            Channel::Err => Said::Err(bytes.to_vec()),
            _ => Said::Out(bytes.to_vec()),
        };
        self.line(&json!({"event": said.to_json()}).to_string());
    }

    /// So many bytes more of its input may come.
    pub fn room(&mut self, more: usize) {
        self.frame(&Frame::Room(Channel::In, u32::try_from(more).unwrap_or(u32::MAX)));
    }

    /// No more of it is wanted.
    pub fn no_input(&mut self) {
        self.frame(&Frame::Data(Channel::In, Vec::new()));
    }

    /// The last that is said.
    pub fn end(&mut self, end: &Result<Ended, String>) {
        let text = match end {
            Ok(ended) if self.frames => ended.to_json().to_string(),
            Ok(ended) => json!({"result": ended.to_json()}).to_string(),
            Err(why) => joint::refusal_line(Code::Failed.word(), why),
        };
        if self.frames {
            self.frame(&Frame::End(text.into_bytes()));
        } else {
            self.line(&text);
        }
    }

    /// Reads and writes what goes now, and says that it is there if it has to.
    pub fn turn(&mut self, readable: bool) {
        if readable && self.hear().is_err() {
            self.gone = true;
        }
        let quiet = !self.stopped && self.heard.elapsed() > SILENCE;
        if self.frames && quiet {
            self.gone = true;
        }
        if self.patience().is_zero() && self.is_sent() {
            if self.frames { self.frame(&Frame::Beat) } else { self.line("") }
        }
        if self.tell().is_err() {
            self.gone = true;
        }
    }

    fn hear(&mut self) -> io::Result<()> {
        let mut piece = [0; PIECE];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                (self.heard, self.stopped) = (Instant::now(), false);
                if self.frames {
                    self.inbox.add(piece.get(..read).unwrap_or_default());
                }
                Ok(())
            }
            Err(error) if later(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn tell(&mut self) -> io::Result<()> {
        while let Some(rest) = self.outbox.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(more) => self.sent += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if later(&error) => break,
                Err(error) => return Err(error),
            }
            self.said = Instant::now();
        }
        self.outbox.drain(..self.sent);
        self.sent = 0;
        Ok(())
    }

    /// What has come, one by one. What is none ends the connection.
    pub fn next(&mut self) -> Option<Frame> {
        match self.inbox.take() {
            Ok(frame) => {
                self.stopped |= matches!(frame, Some(Frame::Signal(Signal::Suspend)));
                frame
            }
            Err(_) => {
                self.gone = true;
                None
            }
        }
    }
}

pub fn later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
