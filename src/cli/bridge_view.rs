//! Bridges as people see them. What a server says is text in them (`page`).

use super::grid::Grid;
use super::page::{Colour, Line, Page};
use crate::base::time_text::{date_time, span};
use crate::session::bridge::journal::{self, End, Entry};
use crate::session::bridge::policy::{ALL, Policy, Rule};
use crate::session::bridge::questions::Question;
use crate::session::bridge::state::State;
use crate::text::cell;

pub fn all(host: &str, policy: &Policy, state: Option<&State>, room: Option<usize>) -> Page {
    let mut grid =
        Grid::new(["BRIDGE", "RULE", "DONE", "DENIED", "FAILED", "LIMITED", "BYTES", "LAST"]);
    for (bridge, word, _) in ALL {
        let rule = policy.rule(bridge);
        let count = state.map(|state| state.count(bridge));
        let number = |number: Option<u64>| number.map_or_else(none, |number| number.to_string());
        let of = |end| number(count.map(|count| count.of(end)));
        let ago = |last| format!("{} ago", span(journal::now().saturating_sub(last)));
        let last = count.and_then(|count| count.last_unix_s).map_or_else(none, ago);
        let bytes = number(count.map(|count| count.bytes));
        let plain = |text: String| (Colour::None, text);
        let rule = (colour(rule), rule.word().to_owned());
        let ends = [End::Done, End::Denied, End::Failed, End::Limited].map(|end| plain(of(end)));
        let [done, denied, failed, limited] = ends;
        let word = plain(word.to_owned());
        grid.coloured([word, rule, done, denied, failed, limited, plain(bytes), plain(last)]);
    }
    let mut page = grid.page(room);
    for (what, named) in [("open", &policy.open_hosts), ("cdp", &policy.browser_hosts)] {
        if !named.is_empty() {
            page.add(format!("named for {what}: {}", named.join(", ")));
        }
    }
    match state {
        None => page.add(format!("{host} is not up; nothing crosses")),
        Some(state) if !state.is_connected => {
            page.add(format!("nothing crosses at the moment: {}", state.why));
        }
        Some(state) if state.desktop.is_empty() && !cfg!(target_os = "macos") => {
            page.add("no desktop is known; hop bridge restart, typed on one, says which");
        }
        Some(_) => {}
    }
    if let Some(state) = state {
        page.extend(open(&state.questions).lines().cloned());
    }
    page
}

fn none() -> String {
    "-".to_owned()
}

fn colour(rule: Rule) -> Colour {
    match rule {
        Rule::Allow => Colour::Green,
        Rule::Ask => Colour::Yellow,
        Rule::Deny => Colour::None,
    }
}

pub fn questions(host: &str, questions: &[Question]) -> Page {
    match questions.is_empty() {
        true => Page::from(format!("{host} asks nothing")),
        false => open(questions),
    }
}

fn open(questions: &[Question]) -> Page {
    let mut page = Page::default();
    for question in questions {
        let age = span(journal::now().saturating_sub(question.unix_s));
        let head = format!("question {} ({age} ago): ", question.number);
        let mut lines = question.text.lines();
        page.add(Line::default().in_colour(Colour::Yellow, head).and(lines.next().unwrap_or("")));
        lines.for_each(|line| page.add(Line::from("  > ").and(line)));
        for (place, option) in question.options.iter().enumerate() {
            page.add(Line::from(format!("  {}  ", place + 1)).and(option));
        }
    }
    page
}

pub fn log(entries: &[Entry], room: Option<usize>) -> Page {
    let mut page = Page::default();
    if entries.is_empty() {
        return page;
    }
    let mut grid = Grid::new(["TIME", "BRIDGE", "OUTCOME", "BYTES", "WHAT", "WHY"]);
    for entry in entries {
        let colour = if entry.end == End::Done { Colour::None } else { Colour::Yellow };
        let plain = |text: String| (Colour::None, text);
        grid.coloured([
            plain(date_time(entry.unix_s)),
            plain(entry.bridge.word().to_owned()),
            (colour, entry.end.word().to_owned()),
            plain(entry.bytes.map_or_else(none, |bytes| bytes.to_string())),
            plain(cell(&entry.what).into_owned()),
            plain(cell(&entry.why).into_owned()),
        ]);
    }
    page.extend(grid.page(room).lines().cloned());
    page
}
