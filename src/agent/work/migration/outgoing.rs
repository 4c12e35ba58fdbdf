//! The content of files on its way out, in the order in which the target was told of them: all of
//! one that is no hole, or those blocks that differ.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use super::content::{OfFile, block, hash, is_zero, read};
use super::line::Line;
use super::stamps::Hash;
use super::wire::{Answer, BLOCK, BLOCKS, Said};
use crate::rpc::types::migration::Pass;
use crate::sys::holes;

/// Times [`BLOCKS`] that are being compared.
const RANGES: usize = 4;

/// How far a pass is, for whoever asks meanwhile.
#[derive(Default)]
pub struct SoFar {
    files: AtomicU64,
    bytes: AtomicU64,
    bytes_sent: AtomicU64,
}

impl SoFar {
    pub fn told(&self) -> Pass {
        let [files, bytes, bytes_sent] =
            [&self.files, &self.bytes, &self.bytes_sent].map(|count| count.load(Ordering::Relaxed));
        Pass { files, bytes, bytes_sent, ..Pass::default() }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// In the middle of a file.
    fn at(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// The target has one more file, and so many bytes in all.
    pub fn has(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.at(bytes);
    }

    fn sent(&self, bytes_sent: u64) {
        self.bytes_sent.store(bytes_sent, Ordering::Relaxed);
    }
}

pub struct Outgoing<'a> {
    pub line: &'a mut Line,
    pub pass: &'a mut Pass,
    pub so_far: &'a SoFar,
    /// Answers to files that came while something else was waited for.
    answers: VecDeque<Answer>,
}

pub fn theirs(why: &str) -> io::Error {
    io::Error::other(format!("the other server: {why}"))
}

impl<'a> Outgoing<'a> {
    pub fn of(line: &'a mut Line, pass: &'a mut Pass, so_far: &'a SoFar) -> Outgoing<'a> {
        Outgoing { line, pass, so_far, answers: VecDeque::new() }
    }

    /// To the next of the files that were told.
    pub fn answer(&mut self) -> io::Result<Answer> {
        match self.answers.pop_front() {
            Some(answer) => Ok(answer),
            None => self.line.hear_answer(),
        }
    }

    /// Which of the blocks that were told about the target wants. So many files wait for an answer
    /// that may come before.
    fn wanted(&mut self, waiting: usize) -> io::Result<u64> {
        loop {
            match self.line.hear_answer()? {
                Answer::Wanted(bits) => return Ok(bits),
                answer @ (Answer::Have | Answer::Whole | Answer::Blocks)
                    if self.answers.len() < waiting =>
                {
                    self.answers.push_back(answer);
                }
                Answer::Failed(why) => return Err(theirs(&why)),
                _ => return Err(theirs("it answered something else")),
            }
        }
    }

    pub fn whole(&mut self, file: &File, bytes: u64) -> io::Result<Hash> {
        let (line, sent) = (&mut *self.line, &mut self.pass.bytes_sent);
        let (so_far, before) = (self.so_far, self.so_far.bytes());
        let (hash, read) = read(file, bytes, &mut |offset, bytes| {
            *sent += bytes.len() as u64;
            so_far.sent(*sent);
            so_far.at(before.saturating_add(offset));
            line.say(&Said::Data { offset, bytes })
        })?;
        self.pass.bytes_read += read;
        Ok(hash)
    }

    /// The target has an older one. Long holes are told as what they are; what is between them is
    /// compared.
    pub fn blocks(&mut self, file: &File, bytes: u64, waiting: usize) -> io::Result<Hash> {
        let (mut of_file, count) = (OfFile::of(bytes), bytes.div_ceil(BLOCK as u64));
        let (mut asked, mut next, mut data_end) = (VecDeque::new(), 0, 0);
        let before = self.so_far.bytes();
        loop {
            self.so_far.at(before.saturating_add(next * BLOCK as u64));
            let mut hole = None;
            while next < count && asked.len() < RANGES {
                if next * BLOCK as u64 >= data_end {
                    let found = holes::next_data(file, next * BLOCK as u64)?;
                    let (begin, end) = found.unwrap_or((u64::MAX, u64::MAX));
                    let first = (begin / BLOCK as u64).clamp(next, count);
                    if first - next >= BLOCKS as u64 {
                        hole = Some(first);
                        break;
                    }
                    data_end = end;
                }
                let many = (count - next).min(BLOCKS as u64);
                self.tell_blocks(file, bytes, next..next + many, &mut of_file)?;
                asked.push_back((next, many));
                next += many;
            }
            if let Some((first, many)) = asked.pop_front() {
                let bits = self.wanted(waiting)?;
                for at in (0..many).filter(|at| bits >> at & 1 == 1) {
                    self.block(first + at, block(file, bytes, first + at)?)?;
                }
            } else if let Some(first) = hole {
                // What is before it has crossed: content goes on in its order.
                let (offset, end) = (next * BLOCK as u64, first.saturating_mul(BLOCK as u64));
                self.line.say(&Said::Zero { offset, bytes: end.min(bytes) - offset })?;
                of_file.add_zeros(first - next);
                next = first;
            } else {
                return Ok(of_file.done());
            }
        }
    }

    fn tell_blocks(
        &mut self,
        file: &File,
        bytes: u64,
        which: Range<u64>,
        of_file: &mut OfFile,
    ) -> io::Result<()> {
        let (first, mut all) = (which.start, Vec::new());
        for at in which {
            let block = block(file, bytes, at)?;
            self.pass.bytes_read += block.len() as u64;
            of_file.add(&block);
            all.push(hash(&block));
        }
        self.line.say(&Said::Digests { first, all })
    }

    fn block(&mut self, at: u64, bytes: Vec<u8>) -> io::Result<()> {
        let offset = at.saturating_mul(BLOCK as u64);
        if is_zero(&bytes) {
            return self.line.say(&Said::Zero { offset, bytes: bytes.len() as u64 });
        }
        self.pass.bytes_sent += bytes.len() as u64;
        self.so_far.sent(self.pass.bytes_sent);
        self.line.say(&Said::Data { offset, bytes })
    }
}
