//! `hop bridge`: what a host's server may have of this laptop, what it had, and what it asks.

use std::io;

use serde_json::{Value, json};

use super::bridge_view;
use super::command::{Call, Command, Flag, Group, Takes};
use super::target_host;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::paths::Paths;
use crate::session::bridge::policy::{self, ALL, BRIDGES, Bridge, HOSTS, Policy, Rule};
use crate::session::bridge::questions::{NoAnswer, Question};
use crate::session::bridge::{client, journal, policy_file};

const WHAT: [(&str, &str); BRIDGES] = {
    let mut words = [("", ""); BRIDGES];
    let mut at = 0;
    while at < BRIDGES {
        words[at] = (ALL[at].1, ALL[at].2);
        at += 1;
    }
    words
};
const LINES: usize = 50;
/// The most words of `allow` and `deny`.
const WORDS: usize = 1 + HOSTS;

pub const LS: Command = Command {
    name: "bridge ls",
    summary: "what a host may have of this laptop, and how often it did",
    usage: "hop bridge ls",
    details: "For each bridge the rule (allow, ask: somebody here is asked each time, deny), and\n\
              how often what was wanted was done, denied, failed, or was too much, since its\n\
              process began. Below it stand hosts that are named, and questions that are open.",
    example: "hop bridge ls\n\
              hop bridge ls -H mybox --json",
    group: Group::Between,
    flags: &[],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run: ls,
};

pub const LOG: Command = Command {
    name: "bridge log",
    summary: "show what a host had of this laptop",
    usage: "hop bridge log [-n LINES]",
    details: "The oldest first: what was wanted, what became of it, how much it was. What was\n\
              copied or pasted is kept nowhere, and of an address only its host.",
    example: "hop bridge log -n 200",
    group: Group::Between,
    flags: &[Flag {
        short: Some('n'),
        long: "lines",
        value: Some("LINES"),
        help: "so many of the last (50)",
    }],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run: log,
};

pub const ALLOW: Command = Command {
    name: "bridge allow",
    summary: "let a host have something of this laptop",
    usage: "hop bridge allow copy|paste|open|notify|ask|cdp [address]... [--ask]",
    details: "From now on, without a restart. An address that is named with open is one of your\n\
              own network that is opened without a question; with cdp it is one, a port with it,\n\
              that the browser for the server may go to. An address alone changes no rule.\n\
              Without any: copying from there, public addresses, notices and questions are\n\
              allowed; reading the clipboard here and the browser for the server are not.",
    example: "hop bridge allow paste --ask\n\
              hop bridge allow open 192.168.1.20",
    group: Group::Between,
    flags: &[Flag {
        short: None,
        long: "ask",
        value: None,
        help: "ask here each time (copy, paste, open, cdp)",
    }],
    operands: (1, WORDS),
    takes: Takes::OneOf(&WHAT),
    hidden: false,
    run: |call| change(call, true),
};

pub const DENY: Command = Command {
    name: "bridge deny",
    summary: "let a host have something of this laptop no more",
    usage: "hop bridge deny copy|paste|open|notify|ask|cdp [address]...",
    details: "From now on, without a restart. With an address that one is named no more, and the\n\
              rule stays.",
    example: "hop bridge deny copy",
    group: Group::Between,
    flags: &[],
    operands: (1, WORDS),
    takes: Takes::OneOf(&WHAT),
    hidden: false,
    run: |call| change(call, false),
};

pub const ANSWER: Command = Command {
    name: "bridge answer",
    summary: "answer a question that a host asks",
    usage: "hop bridge answer [[id] option]",
    details: "Without words the open questions are shown, and where somebody can be asked, the\n\
              oldest is. An option is given by its word or its number; its question by the number\n\
              that hop bridge ls shows, unless there is only one.",
    example: "hop bridge answer yes\n\
              hop bridge answer 2 no",
    group: Group::Between,
    flags: &[],
    operands: (0, 2),
    takes: Takes::Word,
    hidden: false,
    run: answer,
};

pub const RESTART: Command = Command {
    name: "bridge restart",
    summary: "begin the bridges of a host anew, on this desktop",
    usage: "hop bridge restart",
    details: "They use the desktop that hop up was typed on. Typed on another one, or after a new\n\
              login, this has them use that one.",
    example: "hop bridge restart",
    group: Group::Between,
    flags: &[],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run: restart,
};

fn ls(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let host = target_host::host_beside(call, &paths)?;
    let policy = policy_file::load(&paths, &host)?;
    let state = client::state(&paths, &host).map_err(|error| silent(&host, &error))?;
    let mut data = policy.to_json();
    data["host"] = host.as_str().into();
    data["up"] = state.is_some().into();
    data["state"] = state.as_ref().map_or(Value::Null, |state| state.to_json());
    let page = bridge_view::all(&host, &policy, state.as_ref(), call.out.room());
    call.out.answer("bridge.ls", data, page)?;
    Ok(Code::Done)
}

fn log(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let given = call.args.value("lines").map(str::parse::<usize>);
    let lines = given.transpose().map_err(|_| usage("how many lines?", "-n takes a number"))?;
    let host = target_host::host_beside(call, &paths)?;
    let all = journal::read(&paths.bridge_log(&host));
    let from = all.len().saturating_sub(lines.unwrap_or(LINES));
    let last = all.get(from..).unwrap_or_default();
    let data = json!({
        "host": host, "entries": last.iter().map(|one| one.to_json()).collect::<Vec<_>>(),
    });
    if last.is_empty() {
        call.out.say(&format!("{host} had nothing of this laptop yet"));
    }
    call.out.answer("bridge.log", data, bridge_view::log(last, call.out.room()))?;
    Ok(Code::Done)
}

fn change(call: &mut Call, allow: bool) -> Result<Code, Failure> {
    let (word, named) = match call.args.operands.split_first() {
        Some((word, named)) => (word.clone(), named.to_vec()),
        None => (String::new(), Vec::new()),
    };
    let bridge = Bridge::of(&word).ok_or_else(|| {
        let words: Vec<&str> = ALL.iter().map(|(_, word, _)| *word).collect();
        usage(&format!("{word:?}?"), &format!("it takes one of {}", words.join(", ")))
    })?;
    let asks = call.args.has("ask");
    if asks && (!named.is_empty() || matches!(bridge, Bridge::Notify | Bridge::Ask)) {
        return Err(usage("ask each time?", "--ask is for copy, paste, open and cdp as a whole"));
    }
    let paths = call.paths()?;
    let host = target_host::host_beside(call, &paths)?;
    let rule = match (allow, asks) {
        (true, false) => Rule::Allow,
        (true, true) => Rule::Ask,
        (false, _) => Rule::Deny,
    };
    let policy = policy_file::change(&paths, &host, |policy| match named.is_empty() {
        true => {
            policy.set(bridge, rule);
            Ok(())
        }
        false => name(policy, bridge, &named, allow),
    })?;
    let what = ALL.iter().find(|(known, ..)| *known == bridge).map_or("", |(.., what)| what);
    let text = match named.is_empty() {
        true => format!("{host}: {word}: {} ({what})", policy.rule(bridge).word()),
        false => {
            let named = named_of(&policy, bridge).join(", ");
            format!("{host}: {word}: named are: {named}")
        }
    };
    let mut data = policy.to_json();
    data["host"] = host.as_str().into();
    call.out.answer("bridge.rules", data, text)?;
    Ok(Code::Done)
}

fn named_of(policy: &Policy, bridge: Bridge) -> &[String] {
    match bridge {
        Bridge::Open => &policy.open_hosts,
        Bridge::Browser => &policy.browser_hosts,
        _ => &[],
    }
}

type Read = fn(&str) -> Result<String, String>;

/// Addresses of `open` and `cdp`, more of them or fewer.
fn name(policy: &mut Policy, bridge: Bridge, named: &[String], more: bool) -> Result<(), Failure> {
    let (list, read) = match bridge {
        Bridge::Open => (&mut policy.open_hosts, policy::open_host as Read),
        Bridge::Browser => (&mut policy.browser_hosts, policy::browser_host as Read),
        _ => return Err(usage("an address?", "only open and cdp take addresses")),
    };
    for text in named {
        let host = read(text).map_err(|why| usage(&format!("{text:?}?"), &why))?;
        list.retain(|known| *known != host);
        if more {
            list.push(host);
        }
    }
    if list.len() > HOSTS {
        return Err(usage("one more?", &format!("{HOSTS} can be named")));
    }
    Ok(())
}

fn answer(call: &mut Call) -> Result<Code, Failure> {
    let (number, option) = match call.args.operands.as_slice() {
        [number, option] => (Some(number.clone()), Some(option.clone())),
        [option] => (None, Some(option.clone())),
        _ => (None, None),
    };
    let paths = call.paths()?;
    let host = target_host::host_beside(call, &paths)?;
    let state = client::state(&paths, &host).map_err(|error| silent(&host, &error))?;
    let questions = state.ok_or_else(|| down(&host))?.questions;
    let Some(option) = option else { return look(call, &paths, &host, &questions) };
    let question = meant(&host, &questions, number.as_deref())?;
    let place = place_of(&host, question, &option)?;
    tell(call, &paths, &host, question, place)
}

/// Shows the questions, and asks the oldest here.
fn look(
    call: &mut Call,
    paths: &Paths,
    host: &str,
    questions: &[Question],
) -> Result<Code, Failure> {
    let first = questions.first().filter(|_| call.may_ask() && !call.out.is_json());
    let Some(first) = first else {
        let all: Vec<Value> = questions.iter().map(Question::to_json).collect();
        let page = bridge_view::questions(host, questions);
        call.out.answer("bridge.questions", json!({"host": host, "questions": all}), page)?;
        return Ok(if questions.is_empty() { Code::Done } else { Code::No });
    };
    let mut page = bridge_view::questions(host, std::slice::from_ref(first));
    page.add("Which? ");
    let given = call.line(page, &first.text, fix!("hop bridge ls -H {}", host))?;
    let place = place_of(host, first, &given)?;
    tell(call, paths, host, first, place)
}

fn meant<'a>(
    host: &str,
    questions: &'a [Question],
    number: Option<&str>,
) -> Result<&'a Question, Failure> {
    let next = || fix!("hop bridge ls -H {}", host);
    match (number, questions) {
        (None, [only]) => Ok(only),
        (None, []) => {
            Err(Failure::new(Fault::NotFound, "nothing is asked", "no question is open", next()))
        }
        (None, _) => {
            Err(Failure::usage("which question?", "several are open; name its number", next()))
        }
        (Some(number), _) => {
            let wanted = number.parse().ok();
            questions.iter().find(|one| Some(one.number) == wanted).ok_or_else(|| gone(host))
        }
    }
}

fn place_of(host: &str, question: &Question, given: &str) -> Result<usize, Failure> {
    let by_word = question.options.iter().position(|option| option == given);
    let lower = |text: &str| text.to_lowercase();
    let by_letters = || question.options.iter().position(|option| lower(option) == lower(given));
    let by_number = || {
        let number = given.parse::<usize>().ok()?.checked_sub(1)?;
        Some(number).filter(|place| *place < question.options.len())
    };
    by_word.or_else(by_letters).or_else(by_number).ok_or_else(|| {
        let why = format!("it takes one of: {}", question.options.join(", "));
        Failure::usage(format!("{given:?}?"), why, fix!("hop bridge ls -H {}", host))
    })
}

fn tell(
    call: &mut Call,
    paths: &Paths,
    host: &str,
    question: &Question,
    place: usize,
) -> Result<Code, Failure> {
    let told = client::answer(paths, host, question.number, place);
    match told.map_err(|error| silent(host, &error))? {
        None => Err(down(host)),
        Some(Err(NoAnswer::NoQuestion | NoAnswer::NoOption)) => Err(gone(host)),
        Some(Ok(())) => {
            let option = question.options.get(place).map_or("", String::as_str);
            let data = json!({"host": host, "id": question.number, "answer": option});
            call.out.answer("bridge.answer", data, format!("{option}: {}", question.text))?;
            Ok(Code::Done)
        }
    }
}

fn restart(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let host = target_host::host_beside(call, &paths)?;
    if !client::restart(&paths, &host).map_err(|error| silent(&host, &error))? {
        return Err(down(&host));
    }
    let text = format!("the bridges of {host} begin anew, on this desktop");
    call.out.answer("bridge.restart", json!({"host": host}), text)?;
    Ok(Code::Done)
}

fn usage(what: &str, why: &str) -> Failure {
    Failure::usage(what, why, fix!("hop {} --help", "bridge"))
}

fn down(host: &str) -> Failure {
    let why = format!("{host} is not up");
    Failure::new(Fault::No, "there are no bridges", why, fix!("hop up {}", host))
}

fn silent(host: &str, error: &io::Error) -> Failure {
    let why = error.to_string();
    Failure::new(Fault::Failed, "the bridges do not answer", why, fix!("hop doctor {}", host))
}

fn gone(host: &str) -> Failure {
    let why = "it was answered, or whoever asked waits no more";
    let next = fix!("hop bridge ls -H {}", host);
    Failure::new(Fault::NotFound, "there is no such question", why, next)
}
