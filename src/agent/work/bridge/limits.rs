//! How much may be wanted of a laptop: at a time, how often, how long.

use std::time::{Duration, Instant};

use crate::rpc::types::bridge::{CLIPBOARD_BYTES, Kind, OPTIONS, TEXT_BYTES, What};

/// Until a laptop that is there has said something: it is done, refused, being fetched, or its
/// owner is being asked.
pub const PROMPT: Duration = Duration::from_millis(500);
/// The same of its browser: whoever steers one is used to its start.
pub const BROWSER: Duration = Duration::from_secs(5);
/// Until its owner, who is being asked, has answered.
pub const OWNER: Duration = Duration::from_secs(60);
/// For the bytes of a copy or a paste, once they are on their way.
pub const BYTES_WITHIN: Duration = Duration::from_secs(5);
/// A notice that nobody took in this time is none any more.
pub const NOTICE_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Notices that wait for a laptop; of more the oldest goes.
pub const NOTICES: usize = 32;
/// Laptops that watch.
pub const WATCHERS: usize = 16;

const URL_BYTES: usize = 8 * 1024;

/// What is counted as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Copy,
    Paste,
    Open,
    Notify,
    Ask,
    Browser,
}

pub const SORTS: usize = 6;

impl Sort {
    pub fn of(what: &What) -> Option<Sort> {
        Some(match what {
            What::Copy { .. } => Sort::Copy,
            What::Paste { .. } => Sort::Paste,
            What::Open { .. } => Sort::Open,
            What::Notify { .. } => Sort::Notify,
            What::Ask { .. } => Sort::Ask,
            What::Browser => Sort::Browser,
            What::TakenBack => return None,
        })
    }

    /// It waits for a laptop, and for its owner.
    pub fn is_held(self) -> bool {
        matches!(self, Sort::Notify | Sort::Ask)
    }

    /// Its bytes cross by a connection of their own.
    pub fn is_taken(self) -> bool {
        matches!(self, Sort::Copy | Sort::Paste | Sort::Browser)
    }

    pub fn at_once(self) -> usize {
        match self {
            Sort::Copy | Sort::Paste => 4,
            Sort::Open => 8,
            Sort::Notify => NOTICES,
            Sort::Ask => 16,
            Sort::Browser => 64,
        }
    }

    /// So many in a row, then one in each of these times.
    fn rate(self) -> (u32, Duration) {
        match self {
            Sort::Copy => (200, Duration::from_millis(50)),
            Sort::Paste => (200, Duration::from_millis(50)),
            Sort::Open => (5, Duration::from_secs(3)),
            Sort::Notify => (10, Duration::from_secs(2)),
            Sort::Ask => (5, Duration::from_secs(5)),
            Sort::Browser => (256, Duration::from_millis(20)),
        }
    }

    pub fn several(self) -> &'static str {
        match self {
            Sort::Copy => "copies",
            Sort::Paste => "pastes",
            Sort::Open => "addresses to open",
            Sort::Notify => "notices",
            Sort::Ask => "questions",
            Sort::Browser => "connections to the browser",
        }
    }
}

/// How often something was: by the moment at which all of it is forgotten.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter(Option<Instant>);

impl Meter {
    /// Counts one, unless there were too many.
    pub fn count(&mut self, sort: Sort, now: Instant) -> bool {
        let (burst, every) = sort.rate();
        let from = self.0.map_or(now, |until| until.max(now));
        let is_room = from.duration_since(now) <= every * burst.saturating_sub(1);
        if is_room {
            self.0 = Some(from + every);
        }
        is_room
    }
}

/// Whether it can be asked of a laptop at all; a sentence if not. Nothing in a text is a command,
/// but its length is bounded, so that it crosses in one line.
pub fn check(what: &What) -> Result<(), String> {
    let text = |parts: &mut dyn Iterator<Item = &str>| {
        let bytes: usize = parts.map(str::len).sum();
        match bytes <= TEXT_BYTES {
            true => Ok(()),
            false => Err(format!("the text has {bytes} bytes; at most {TEXT_BYTES} cross")),
        }
    };
    match what {
        What::Copy { bytes, .. } if *bytes > CLIPBOARD_BYTES as u64 => Err(too_much(*bytes)),
        What::Open { url } => check_url(url),
        What::Notify { title, body } => text(&mut [title.as_str(), body].into_iter()),
        What::Ask { options, .. } if !(1..=OPTIONS).contains(&options.len()) => {
            Err(format!("there are 1 to {OPTIONS} answers to choose from"))
        }
        What::Ask { question, options } => {
            text(&mut [question].into_iter().chain(options).map(String::as_str))
        }
        What::TakenBack => Err("it is nothing to ask for".to_owned()),
        What::Copy { .. } | What::Paste { .. } | What::Browser => Ok(()),
    }
}

pub fn too_much(bytes: u64) -> String {
    format!("{bytes} bytes are too much: at most {CLIPBOARD_BYTES} are copied or pasted")
}

/// The bytes are what they are said to be.
pub fn is_such(kind: Kind, bytes: &[u8]) -> Result<(), String> {
    match kind {
        Kind::Text if std::str::from_utf8(bytes).is_err() => {
            Err("it is not text: only UTF-8 and PNG are copied and pasted".to_owned())
        }
        Kind::Png if !is_png(bytes) => Err("it is not a PNG image".to_owned()),
        Kind::Text | Kind::Png => Ok(()),
    }
}

pub fn is_png(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG\r\n\x1a\n")
}

/// What a browser is given: everything else opens something else than a page.
fn check_url(url: &str) -> Result<(), String> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let is_page = matches!(scheme.as_deref(), Some("http" | "https"));
    let is_plain = !url.chars().any(|c| c.is_control() || c.is_whitespace());
    match (is_page, is_plain) {
        (true, true) if url.len() <= URL_BYTES => Ok(()),
        (true, true) => Err(format!("an address has at most {URL_BYTES} bytes")),
        (true, false) => Err("an address has no spaces and no control characters".to_owned()),
        (false, _) => Err("only http:// and https:// are opened on a laptop".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_followed_by_one_at_a_time() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let mut at = |s: u64| meter.count(Sort::Notify, start + Duration::from_secs(s));
        assert_eq!((0..100).filter(|_| at(0)).count(), 10);
        assert!(!at(1) && at(2) && !at(3) && at(4));
        assert_eq!((0..100).filter(|_| at(1000)).count(), 10);
    }

    #[test]
    fn only_pages_are_opened_and_texts_have_a_length() {
        let open = |url: &str| check(&What::Open { url: url.to_owned() }).is_ok();
        assert!(open("http://localhost:3000/?a=b") && open("HTTPS://x.y"));
        for bad in [
            "",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "ftp://x",
            "-http://x",
            " http://x",
            "http://x y",
            "http://x\n--new-window",
            "mailto:a@b",
            "http:/x",
            "//x",
        ] {
            assert!(!open(bad), "{bad:?}");
        }
        assert!(!open(&format!("http://x/{}", "a".repeat(URL_BYTES))));
        let ask = |length: usize, options: usize| {
            let options = vec!["o".repeat(length); options];
            check(&What::Ask { question: "q".repeat(length), options }).is_ok()
        };
        assert!(ask(900, 16) && !ask(900, 17) && !ask(1, 0) && !ask(1024, 16));
        // Whatever is in it, it crosses in one line.
        let worst =
            What::Ask { question: "\u{1}".repeat(TEXT_BYTES), options: vec![String::new()] };
        assert!(check(&worst).is_ok() && format!("{worst:?}").len() < crate::http::LINE_BYTES);
    }
}
