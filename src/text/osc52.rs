//! OSC 52, by which programs set and read the clipboard of the terminal that they are in, found in
//! what a host's programs write to a terminal here: `ESC ] 52 ; selection ; base64 BEL`, or `?` for
//! the base64, which asks for what is copied.
//!
//! Found as a terminal finds it (ECMA-48; xterm's ctlseqs, "Operating System Commands"): split
//! anywhere, ended by BEL or ST, with control characters between, numbers with zeros in front, as
//! C1 controls, or wrapped for tmux (every ESC doubled, again for each tmux within) or for screen
//! (in pieces, each a DCS). What is cut off by another sequence, CAN or SUB is none. All else goes
//! on byte for byte. Not found: what screen would put together from pieces that are cut before `]`.
//!
//! Bounds: what may become one is held back, 64 bytes before its number is known; of its text
//! [`MOST`] bytes are kept, and the rest, until its end, goes nowhere, as in a terminal.

use std::mem;

const BEL: u8 = 7;
const ESC: u8 = 0x1b;
const CAN: u8 = 0x18;
const SUB: u8 = 0x1a;
/// OSC and ST as one byte; behind 0xc2 as UTF-8 spells them.
const C1_OSC: u8 = 0x9d;
const C1_ST: u8 = 0x9c;
const UTF8_C1: u8 = 0xc2;
const NUMBER: u32 = 52;
/// ESC of a tmux within a tmux and so on, and what stands between.
const HELD: usize = 64;
/// 1 MiB as base64, and a selection.
pub const MOST: usize = usize::div_ceil(1024 * 1024, 3) * 4 + 64;

/// What a program says to the terminal.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// Nothing that has to do with a clipboard.
    Other(&'a [u8]),
    /// It copies this base64; whole, as the terminal would have it.
    Copies { base64: &'a [u8], whole: &'a [u8] },
    /// It asks for what is copied.
    Asks { whole: &'a [u8] },
    /// It copies more than is kept.
    TooMuch,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Other,
    /// The byte that C1 controls begin with in UTF-8.
    Utf8C1,
    Escape,
    Number(u32),
    Text,
    /// An ESC, which ends the text or cuts it off.
    TextEscape,
    /// Behind a piece for screen: another may follow, `ESC P`.
    Seam,
    SeamEscape,
}

#[derive(Default)]
pub struct Osc52 {
    state: State,
    /// What may be the beginning of one, or is.
    held: Vec<u8>,
    text: Vec<u8>,
    is_too_long: bool,
    /// The last that went on is `ESC P`: what follows is for screen.
    is_in_piece: bool,
    /// Bytes of a character of UTF-8 that are still to come.
    rest: u8,
}

impl Osc52 {
    /// What these bytes say, and those that were held back before them, in their order.
    pub fn hear<E>(
        &mut self,
        mut bytes: &[u8],
        say: &mut impl FnMut(Said<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(&byte) = bytes.first() {
            if self.state == State::Other {
                let plain = self.plain(bytes);
                if plain > 0 {
                    let (plain, rest) = bytes.split_at_checked(plain).unwrap_or((bytes, &[]));
                    say(Said::Other(plain))?;
                    bytes = rest;
                    continue;
                }
            }
            // A byte that ends something may begin something else.
            if self.next(byte, say)? {
                bytes = bytes.get(1..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// There is no more. What could still have become one goes on; a text without its end does not.
    pub fn end<E>(&mut self, say: &mut impl FnMut(Said<'_>) -> Result<(), E>) -> Result<(), E> {
        match self.state {
            State::Seam => self.done(say),
            State::Text | State::TextEscape | State::SeamEscape => Ok(()),
            _ => self.pass(say),
        }
    }

    /// How many of these bytes cannot begin one.
    fn plain(&mut self, bytes: &[u8]) -> usize {
        for (at, &byte) in bytes.iter().enumerate() {
            match byte {
                ESC => return self.went(at),
                UTF8_C1 | C1_OSC if self.rest == 0 => return self.went(at),
                0x80..0xc0 => self.rest = self.rest.saturating_sub(1),
                0xc0.. => self.rest = 1 + u8::from(byte >= 0xe0) + u8::from(byte >= 0xf0),
                _ => self.rest = 0,
            }
        }
        self.went(bytes.len())
    }

    fn went(&mut self, count: usize) -> usize {
        self.is_in_piece &= count == 0;
        count
    }

    /// Whether that byte was taken.
    fn next<E>(
        &mut self,
        byte: u8,
        say: &mut impl FnMut(Said<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let before = self.state;
        self.state = match (before, byte) {
            (State::Other, ESC) => State::Escape,
            (State::Other, UTF8_C1) => State::Utf8C1,
            (State::Other | State::Utf8C1, C1_OSC) | (State::Escape, b']') => State::Number(0),
            (State::Escape, ESC) => State::Escape,
            (State::Number(number), b'0'..=b'9') => {
                let more = number.saturating_mul(10).saturating_add(u32::from(byte - b'0'));
                if number == 0 && byte == b'0' && self.held.len() >= HELD {
                    return Ok(true);
                }
                State::Number(more)
            }
            (State::Number(NUMBER), b';') => State::Text,
            // A terminal does these at once, or nothing, and goes on.
            (State::Escape | State::Number(_), 0..=6 | 8..=0x17 | 0x19 | 0x1c..=0x1f | 0x7f) => {
                before
            }
            (State::Escape, BEL) => before,
            (State::Escape, b'P') => {
                self.held.push(byte);
                self.pass(say)?;
                self.is_in_piece = true;
                return Ok(true);
            }
            (State::Text | State::TextEscape | State::Seam | State::SeamEscape, _) => {
                return self.in_text(byte, say);
            }
            // It is something else, which may be the beginning of one.
            (State::Other, _) => State::Other,
            (State::Escape, CAN | SUB | 0x20..0x7f) => {
                self.held.push(byte);
                self.pass(say)?;
                return Ok(true);
            }
            _ => {
                self.pass(say)?;
                return Ok(false);
            }
        };
        if self.held.len() < HELD {
            self.held.push(byte);
        }
        Ok(true)
    }

    /// The same where it is one, up to its end.
    fn in_text<E>(
        &mut self,
        byte: u8,
        say: &mut impl FnMut(Said<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        match (self.state, byte) {
            (State::Text, BEL | C1_ST) => self.done(say)?,
            (State::Text, ESC) => self.state = State::TextEscape,
            (State::Text, CAN | SUB) => self.forget(),
            (State::Text, 0x20..0x7f) => match self.text.len() < MOST {
                true => self.text.push(byte),
                false => self.is_too_long = true,
            },
            (State::Text, _) | (State::TextEscape, ESC) => {}
            (State::TextEscape, b'\\') if self.is_in_piece => self.state = State::Seam,
            (State::TextEscape, b'\\') => self.done(say)?,
            (State::Seam, ESC) => self.state = State::SeamEscape,
            (State::SeamEscape, b'P') => self.state = State::Text,
            // The piece was the last one.
            (State::Seam, _) => {
                self.done(say)?;
                say(Said::Other(b"\x1b\\"))?;
                return Ok(false);
            }
            (State::SeamEscape, _) => {
                self.done(say)?;
                say(Said::Other(b"\x1b\\"))?;
                (self.state, self.held) = (State::Escape, vec![ESC]);
                return Ok(false);
            }
            // Another sequence cuts it off.
            (_, _) => {
                self.forget();
                (self.state, self.held) = (State::Escape, vec![ESC]);
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn done<E>(&mut self, say: &mut impl FnMut(Said<'_>) -> Result<(), E>) -> Result<(), E> {
        let (start, text) = (mem::take(&mut self.held), mem::take(&mut self.text));
        let is_too_long = self.is_too_long;
        self.forget();
        if is_too_long {
            return say(Said::TooMuch);
        }
        let escapes = start.iter().filter(|byte| **byte == ESC).count().max(1);
        let whole = [&vec![ESC; escapes][..], b"]52;", &text, &[BEL]].concat();
        match text.iter().position(|byte| *byte == b';').map(|at| text.split_at(at + 1).1) {
            // As xterm: a selection is cleared by what is no text.
            None | Some([]) => Ok(()),
            Some(base64) if base64.contains(&b'?') => say(Said::Asks { whole: &whole }),
            Some(base64) => say(Said::Copies { base64, whole: &whole }),
        }
    }

    fn pass<E>(&mut self, say: &mut impl FnMut(Said<'_>) -> Result<(), E>) -> Result<(), E> {
        let held = mem::take(&mut self.held);
        self.forget();
        match held.is_empty() {
            true => Ok(()),
            false => say(Said::Other(&held)),
        }
    }

    fn forget(&mut self) {
        *self = Osc52::default();
    }
}

#[cfg(test)]
mod tests;
