//! Questions that somebody here is asked, until they have answered, whoever asked waits no more,
//! or the tunnel ends. They are held as long as this laptop sleeps.
//!
//! Bounds: 16 at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::base::json::{Fields, ReadError};
use crate::rpc::types::bridge::OPTIONS;

const OPEN: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// What it is called here.
    pub number: u32,
    pub text: String,
    pub options: Vec<String>,
    pub unix_s: u64,
}

impl Question {
    pub fn to_json(&self) -> Value {
        json!({
            "id": self.number, "question": self.text, "options": self.options,
            "since_unix": self.unix_s,
        })
    }

    pub fn read(fields: &mut Fields) -> Result<Question, ReadError> {
        let options = match fields.take("options") {
            Some(Value::Array(all)) if all.len() <= OPTIONS => all,
            _ => return Err(fields.error("options", "must be a short list")),
        };
        Ok(Question {
            number: fields.int("id", 0..=u32::MAX)?,
            text: fields.string("question")?,
            options: options.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
            unix_s: fields.int("since_unix", 0..=u64::MAX)?,
        })
    }
}

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The place of the answer.
    Chosen(usize),
    TakenBack,
}

#[derive(Debug, PartialEq, Eq)]
pub enum NoAnswer {
    NoQuestion,
    NoOption,
}

#[derive(Default)]
struct Inner {
    last: u32,
    /// By the number of the wish.
    open: BTreeMap<u64, (Question, Sender<Reply>)>,
    /// Those that the server has not told of since it was connected anew.
    untold: BTreeSet<u64>,
}

#[derive(Default)]
pub struct Questions(Mutex<Inner>);

impl Questions {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the reply comes. `None`: there are too many already.
    pub fn ask(
        &self,
        wish: u64,
        text: &str,
        options: &[String],
        unix_s: u64,
    ) -> Option<(Question, Receiver<Reply>)> {
        let mut inner = self.inner();
        if inner.open.len() >= OPEN || inner.open.contains_key(&wish) {
            return None;
        }
        inner.last = inner.last.wrapping_add(1);
        let (text, options) = (text.to_owned(), options.to_vec());
        let question = Question { number: inner.last, text, options, unix_s };
        let (tell, reply) = mpsc::channel();
        inner.open.insert(wish, (question.clone(), tell));
        Some((question, reply))
    }

    pub fn answer(&self, number: u32, place: usize) -> Result<(), NoAnswer> {
        let mut inner = self.inner();
        let found = inner.open.iter().find(|(_, (question, _))| question.number == number);
        let (wish, options) = match found {
            Some((wish, (question, _))) => (*wish, question.options.len()),
            None => return Err(NoAnswer::NoQuestion),
        };
        if place >= options {
            return Err(NoAnswer::NoOption);
        }
        if let Some((_, tell)) = inner.open.remove(&wish) {
            let _ = tell.send(Reply::Chosen(place));
        }
        Ok(())
    }

    /// The server tells anew who still waits.
    pub fn begin_telling(&self) {
        let mut inner = self.inner();
        inner.untold = inner.open.keys().copied().collect();
    }

    pub fn told(&self, wish: u64) {
        self.inner().untold.remove(&wish);
    }

    /// It has told of all: nobody waits for the others any more.
    pub fn end_telling(&self) {
        let untold = std::mem::take(&mut self.inner().untold);
        untold.into_iter().for_each(|wish| self.take_back(wish));
    }

    pub fn take_back(&self, wish: u64) {
        if let Some((_, tell)) = self.inner().open.remove(&wish) {
            let _ = tell.send(Reply::TakenBack);
        }
    }

    /// The oldest first.
    pub fn open(&self) -> Vec<Question> {
        let mut all: Vec<_> = self.inner().open.values().map(|(one, _)| one.clone()).collect();
        all.sort_by_key(|question| question.number);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_one_answer_and_it_is_one_of_its_own() {
        let questions = Questions::default();
        let yes_no = ["yes".to_owned(), "no".to_owned()];
        let (first, reply) = questions.ask(900, "deploy?", &yes_no, 1).unwrap();
        let (second, other) = questions.ask(7, "really?", &yes_no, 2).unwrap();
        assert!(questions.ask(7, "again?", &yes_no, 3).is_none(), "it is asked already");
        assert_eq!(questions.open(), [first.clone(), second.clone()]);
        assert_eq!(questions.answer(first.number, 2), Err(NoAnswer::NoOption));
        assert_eq!(questions.answer(first.number, 1), Ok(()));
        assert_eq!(questions.answer(first.number, 0), Err(NoAnswer::NoQuestion));
        assert_eq!(reply.recv(), Ok(Reply::Chosen(1)));
        questions.take_back(7);
        assert_eq!(other.recv(), Ok(Reply::TakenBack));
        assert_eq!(questions.answer(second.number, 0), Err(NoAnswer::NoQuestion));
        for wish in 0..OPEN as u64 {
            assert!(questions.ask(wish, "?", &yes_no, 1).is_some());
        }
        assert!(questions.ask(99, "?", &yes_no, 1).is_none());
    }

    #[test]
    fn who_went_while_nothing_was_heard_waits_no_more() {
        let questions = Questions::default();
        let yes = ["yes".to_owned()];
        let (kept, _reply) = questions.ask(1, "kept?", &yes, 1).unwrap();
        let (_, gone) = questions.ask(2, "gone?", &yes, 1).unwrap();
        questions.end_telling();
        assert_eq!(questions.open().len(), 2);
        questions.begin_telling();
        questions.told(1);
        questions.end_telling();
        assert_eq!(gone.recv(), Ok(Reply::TakenBack));
        assert_eq!(questions.open(), [kept]);
    }

    #[test]
    fn a_question_is_read_as_it_is_told() {
        let options = vec!["a".to_owned()];
        let one = Question { number: 3, text: "\u{1b}x".to_owned(), options, unix_s: 5 };
        let mut fields = Fields::of(one.to_json(), "").unwrap();
        assert_eq!(Question::read(&mut fields).unwrap(), one);
    }
}
