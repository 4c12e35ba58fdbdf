//! Questions to the user. Asked only where somebody can answer: standard input and standard
//! error are terminals, `--no-input` is absent and `HOP_NO_INPUT` is empty. Otherwise the
//! command ends with exit 13 and names the flag that answers. `-y` answers ordinary questions,
//! never the one that asks for a name.

use std::env;
use std::io::{self, BufRead, IsTerminal, Read};
use std::os::fd::AsFd;

use super::command::{Call, TELLING};
use super::page::Page;
use crate::base::command_line::Args;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::sys::interrupt;
use crate::text::fix::Fix;

fn is_yes(answer: &str) -> bool {
    matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Longest answer that is read.
const ANSWER_BYTES: u64 = 1024;

impl Call {
    /// An ordinary question of yes or no; the default is no. False when the user says no.
    pub fn confirm(&mut self, question: &str) -> Result<bool, Failure> {
        if self.args.has("yes") {
            self.out.say(&format!("{question} [y/N] yes (-y)"));
            return Ok(true);
        }
        let answer = self.line(format!("{question} [y/N] ").into(), question, "--yes".into())?;
        Ok(is_yes(&answer))
    }

    /// The same for what `shown` says, which whoever is not asked is shown, too.
    pub fn confirm_shown(&mut self, shown: Page, question: &str) -> Result<bool, Failure> {
        if self.args.has("yes") || !self.may_ask() {
            self.out.show(&shown);
            return self.confirm(question);
        }
        let mut page = shown;
        page.add(format!("{question} [y/N] "));
        let answer = self.line(page, question, "--yes".into())?;
        Ok(is_yes(&answer))
    }

    /// As [`Call::confirm`]; a no ends the command with exit 10. `next` is what to type later.
    pub fn consent(&mut self, question: &str, next: impl Into<Fix>) -> Result<(), Failure> {
        if self.confirm(question)? {
            return Ok(());
        }
        Err(Failure::new(Fault::Declined, "nothing has been changed", question, next))
    }

    /// Something that cannot be undone: the user types `name`. `--confirm=<name>` answers it, in a
    /// command that has that flag; `-y` does not.
    pub fn consent_by_name(&mut self, question: &str, name: &str) -> Result<(), Failure> {
        let flag = fix!("--confirm={}", name);
        let answer = match self.args.value("confirm") {
            Some(given) => given.to_owned(),
            None => {
                let mut prompt = Page::from(question);
                prompt.add(format!("Type {name} to go on: "));
                self.line(prompt, question, flag.clone())?
            }
        };
        if answer == name {
            return Ok(());
        }
        let why = format!("{answer:?} is not {name:?}");
        Err(Failure::new(Fault::Declined, "nothing has been changed", why, self.again(flag)))
    }

    /// Whether somebody can be asked; then other programs may ask at the terminal, too.
    pub fn may_ask(&self) -> bool {
        self.nobody().is_none()
    }

    /// Why nobody can be asked.
    fn nobody(&self) -> Option<&'static str> {
        if self.args.has("no-input") {
            Some("--no-input forbids asking")
        } else if env::var_os("HOP_NO_INPUT").is_some_and(|value| !value.is_empty()) {
            Some("HOP_NO_INPUT forbids asking")
        } else if !io::stdin().is_terminal() {
            Some("standard input is no terminal")
        } else if !io::stderr().is_terminal() {
            Some("standard error is no terminal")
        } else {
            None
        }
    }

    /// One line of the user's, without the newline; the prompt is shown as it is. `flag` is what
    /// answers the same on the command line.
    pub fn line(&mut self, prompt: Page, question: &str, flag: Fix) -> Result<String, Failure> {
        let Some(why) = self.nobody() else { return self.read_line(prompt, flag) };
        let what = format!("an answer is needed: {question}");
        Err(Failure::new(Fault::Input, what, why, self.again(flag)))
    }

    fn read_line(&mut self, prompt: Page, flag: Fix) -> Result<String, Failure> {
        let _ = interrupt::heed();
        self.out.prompt(prompt);
        if matches!(interrupt::wait_for(io::stdin().as_fd()), Ok(false)) {
            self.out.unanswered();
            return Err(Failure::stopped(self.again("")));
        }
        let mut text = String::new();
        let read = io::stdin().lock().take(ANSWER_BYTES).read_line(&mut text);
        self.out.resume();
        let why = match read {
            Ok(count) if count > 0 => return Ok(text.trim().to_owned()),
            Ok(_) => {
                self.out.unanswered();
                "the input ended".to_owned()
            }
            Err(error) => error.to_string(),
        };
        Err(Failure::new(Fault::Input, "the question was not answered", why, self.again(flag)))
    }

    /// This command line once more, for people, with `more` at its end. Flags that say how it is
    /// to be told are left out, and the one that forbade to ask.
    pub fn again(&self, more: impl Into<Fix>) -> Fix {
        self.again_with(&self.args, more)
    }

    /// The same with other words. What stood behind `--` does so again.
    pub fn again_with(&self, args: &Args, more: impl Into<Fix>) -> Fix {
        let start = fix!("{} {}", Fix::from(self.table.program), Fix::from(self.name));
        let dashes = args.before_dashes.unwrap_or(args.operands.len());
        let (before, after) = args.operands.split_at(dashes.min(args.operands.len()));
        let mut line = and(start, before);
        for (name, value) in args.flags().filter(|(name, _)| !TELLING.contains(name)) {
            line = fix!("{} --{}", line, Fix::from(name));
            if !value.is_empty() {
                line = fix!("{} {}", line, value);
            }
        }
        let more = more.into();
        if !more.is_empty() {
            line = fix!("{} {}", line, more);
        }
        if after.is_empty() { line } else { and(fix!("{} --", line), after) }
    }
}

fn and(line: Fix, words: &[String]) -> Fix {
    words.iter().fold(line, |line, word| fix!("{} {}", line, word))
}
