//! Laptops that come and go, and programs that give up.

use super::*;
use crate::rpc::types::bridge::Kind;

fn ask(text: &str) -> What {
    What::Ask { question: text.to_owned(), options: vec!["yes".to_owned(), "no".to_owned()] }
}

fn notice(text: &str) -> What {
    What::Notify { title: text.to_owned(), body: String::new() }
}

const COPY: What = What::Copy { kind: Kind::Text, bytes: 3 };

fn told(watcher: &Watcher) -> Vec<What> {
    watcher.wishes().into_iter().map(|wish| wish.what).collect()
}

#[test]
fn with_nobody_there_what_a_person_answers_is_held_and_all_else_fails() {
    let queue = Queue::new();
    assert_eq!(queue.want(COPY).err(), Some(Refusal::Away));
    assert_eq!(queue.want(What::Browser).err(), Some(Refusal::Away));
    let question = queue.want(ask("deploy?")).ok().unwrap();
    assert_eq!(queue.post(notice("done")), Ok(false));
    assert_eq!(queue.post(notice("done")), Ok(false), "one of two that are the same");
    let gone = queue.want(ask("nobody waits")).ok().unwrap();
    drop(gone);
    let laptop = queue.watch().unwrap();
    assert_eq!(told(&laptop), [ask("deploy?"), notice("done")]);
    assert!(told(&laptop).is_empty());
    assert!(question.events().is_empty());
    assert_eq!(queue.answer(question.id, Outcome::Chosen(2)).unwrap_err().code, Code::BadParams);
    queue.answer(question.id, Outcome::Chosen(1)).unwrap();
    let answered = question.events().pop_front();
    assert!(matches!(answered, Some(Event::Answered(Outcome::Chosen(1)))));
    assert_eq!(queue.answer(question.id, Outcome::Done).unwrap_err().code, Code::NotFound);
    drop(question);
    assert!(told(&laptop).is_empty(), "what was answered is not taken back");
}

#[test]
fn the_newest_laptop_has_all_of_it_and_the_one_before_gets_it_back() {
    let queue = Queue::new();
    let first = queue.watch().unwrap();
    let question = queue.want(ask("deploy?")).ok().unwrap();
    assert_eq!(told(&first), [ask("deploy?")]);
    let second = queue.watch().unwrap();
    assert_eq!((told(&first), told(&second)), (vec![What::TakenBack], vec![ask("deploy?")]));
    drop(second);
    assert_eq!(told(&first), [ask("deploy?")]);
    let copy = queue.want(COPY).ok().unwrap();
    drop(first);
    assert!(matches!(copy.events().pop_front(), Some(Event::Away)));
    assert!(question.events().is_empty(), "it is held");
    let third = queue.watch().unwrap();
    assert_eq!(told(&third), [ask("deploy?")]);
    drop(question);
    assert_eq!(told(&third), [What::TakenBack]);
    // What was never told needs no taking back.
    drop(queue.want(ask("quick")).ok().unwrap());
    assert!(told(&third).is_empty());
}

#[test]
fn bytes_are_taken_once_and_what_is_taken_stays_with_its_laptop() {
    let queue = Queue::new();
    let first = queue.watch().unwrap();
    let (copy, question) = (queue.want(COPY).ok().unwrap(), queue.want(ask("?")).ok().unwrap());
    let end = UnixStream::pair().unwrap().0;
    let code = |id| queue.claim(id).unwrap_err().code;
    assert_eq!(code(question.id), Code::BadParams);
    assert_eq!(code(copy.id + 10), Code::NotFound);
    queue.claim(copy.id).unwrap();
    assert_eq!(code(copy.id), Code::Conflict, "also before its connection is there");
    queue.unclaim(copy.id);
    queue.claim(copy.id).unwrap();
    queue.take(copy.id, end, b"x".to_vec()).unwrap();
    assert_eq!(code(copy.id), Code::Conflict);
    let second = queue.watch().unwrap();
    assert_eq!(told(&second), [ask("?")]);
    drop((first, second));
    assert!(matches!(copy.events().pop_front(), Some(Event::Taken(_, first)) if first == b"x"));
    assert!(copy.events().is_empty());
    queue.answer(copy.id, Outcome::Done).unwrap();
}

/// The connection and the answer come by ways of their own.
#[test]
fn an_answer_may_be_here_before_the_connection_that_it_is_about() {
    let queue = Queue::new();
    let _laptop = queue.watch().unwrap();
    let browser = queue.want(What::Browser).ok().unwrap();
    queue.claim(browser.id).unwrap();
    queue.answer(browser.id, Outcome::Done).unwrap();
    assert!(browser.events().is_empty(), "it is not lost");
    queue.take(browser.id, UnixStream::pair().unwrap().0, Vec::new()).unwrap();
    let events = Vec::from(browser.events());
    assert!(matches!(events[..], [Event::Taken(..), Event::Answered(Outcome::Done)]));
    assert!(queue.answer(browser.id, Outcome::Done).is_err(), "it is over");
    // One that has not come to be is still to be had.
    let browser = queue.want(What::Browser).ok().unwrap();
    queue.claim(browser.id).unwrap();
    queue.answer(browser.id, Outcome::Done).unwrap();
    queue.unclaim(browser.id);
    queue.claim(browser.id).unwrap();
}

#[test]
fn a_flood_is_bounded_and_harms_no_other_sort() {
    let queue = Queue::new();
    let questions: Vec<_> = (0..100).map(|n| queue.want(ask(&n.to_string()))).collect();
    assert!(questions.iter().filter(|asked| asked.is_ok()).count() <= Sort::Ask.at_once());
    let posted = (0..100).filter(|n| queue.post(notice(&n.to_string())).is_ok()).count();
    assert_eq!(posted, 10);
    let laptop = queue.watch().unwrap();
    assert!(told(&laptop).len() <= Sort::Ask.at_once() + posted);
    let copies: Vec<_> = (0..10).map(|_| queue.want(COPY)).collect();
    let refused = copies.iter().filter(|copy| matches!(copy, Err(Refusal::Busy(_)))).count();
    assert_eq!((copies.len() - refused, refused), (4, 6));
    let watchers: Vec<_> = (0..WATCHERS + 5).map(|_| queue.watch()).collect();
    assert_eq!(watchers.iter().filter(|watcher| watcher.is_err()).count(), 6);
}
