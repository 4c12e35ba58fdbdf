//! `.env` files, in the dialect of node's `--env-file`: it is written down in hopbox.yaml(5). What
//! node leaves out in silence or turns into another text is refused here with its place, so that a
//! file means here what it means there, or nothing.

use super::check;
use super::env::{Env, VARIABLES};
use super::wrong::{Refusal, Wrong, Wrongs};
use crate::base::yaml::{Place, START};

pub const TEXT_BYTES: usize = 256 * 1024;

/// The variables of one file; a later line of the same name wins.
pub fn parse(text: &str) -> Result<Env, Vec<Wrong>> {
    let mut file = File { line: 1, env: Env::default(), wrongs: Wrongs::default() };
    match text.len() <= TEXT_BYTES {
        true => file.read(text.strip_prefix('\u{feff}').unwrap_or(text)),
        false => file.wrong(format!("is longer than {TEXT_BYTES} bytes"), "split it"),
    }
    match file.wrongs.told() {
        None => Ok(file.env),
        Some(wrongs) => Err(wrongs),
    }
}

struct File {
    line: usize,
    env: Env,
    wrongs: Wrongs,
}

impl File {
    fn read(&mut self, text: &str) {
        // As node does: it takes every carriage return out, also those in quotes.
        let text = text.replace('\r', "");
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let before = rest;
            rest = self.entry(rest);
            let taken = before.len().saturating_sub(rest.len());
            self.line += before.get(..taken).unwrap_or_default().matches('\n').count();
        }
    }

    /// One line, or the lines of one quoted value; gives what follows.
    fn entry<'a>(&mut self, rest: &'a str) -> &'a str {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let plain = line.trim();
        if plain.is_empty() || plain.starts_with('#') {
            return after;
        }
        let Some((key, value)) = line.split_once('=') else {
            self.wrong("has no =", "write NAME=value, or # before a comment");
            return after;
        };
        let key = key.trim();
        let key = match key.split_once([' ', '\t']) {
            Some(("export", key)) => key.trim(),
            _ => key,
        };
        if let Err(refusal) = check::env_key(key) {
            self.wrong(refusal.why, refusal.fix);
        }
        let value = value.trim_start();
        match value.chars().next() {
            Some(quote @ ('"' | '\'' | '`')) => {
                let from = line.len().saturating_sub(value.len()) + quote.len_utf8();
                self.quoted(key, quote, rest.get(from..).unwrap_or_default(), after)
            }
            _ => {
                let value = value.split('#').next().unwrap_or_default().trim();
                self.set(key, value);
                after
            }
        }
    }

    /// `rest` begins behind the quote.
    fn quoted<'a>(&mut self, key: &str, quote: char, rest: &'a str, next: &'a str) -> &'a str {
        let Some((value, behind)) = rest.split_once(quote) else {
            self.wrong(format!("{quote} is never closed"), "close it at the end of the value");
            return next;
        };
        // What is behind the quote is on the line where the value ends.
        let (tail, after) = behind.split_once('\n').unwrap_or((behind, ""));
        if !tail.trim().is_empty() && !tail.trim_start().starts_with('#') {
            let fix = "quote with ' or ` what holds a \"; a comment begins with #";
            self.wrong("something follows the closing quote", fix);
            return after;
        }
        match quote {
            '"' => self.set(key, &value.replace("\\n", "\n")),
            _ => self.set(key, value),
        }
        after
    }

    fn set(&mut self, key: &str, value: &str) {
        match check::env_value(value) {
            Ok(value) => self.env.set(key, value),
            Err(refusal) => self.wrong(format!("{key}: {}", refusal.why), refusal.fix),
        }
        if self.env.len() > VARIABLES {
            self.wrong(format!("more than {VARIABLES} variables"), "remove some");
        }
    }

    fn wrong(&mut self, why: impl Into<String>, fix: impl Into<String>) {
        let at = Place { line: self.line, ..START };
        self.wrongs.push(Refusal::new(why, fix).at(at, ""));
    }
}

#[cfg(test)]
mod tests;
