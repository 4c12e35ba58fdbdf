//! `hop logs`: what services have said and say, as one text.

use std::time::{SystemTime, UNIX_EPOCH};

use super::command::{Call, Command, Flag, Group, MANY, Takes};
use super::long_view::{LongView, Stopped};
use super::page::{Colour, Line};
use super::service_names::There;
use super::services::named;
use crate::base::exit::Code;
use crate::base::failure::Failure;
use crate::base::moment::{self, Moment};
use crate::base::time_text::date_time;
use crate::fix;
use crate::rpc::method::LogsStream;
use crate::rpc::types::Message;
use crate::rpc::types::logs::{LogEvent, LogLine, OneLog, Place, ReadLogs, Since, Voice};
use crate::rpc::types::services::ServiceName;
use crate::text::wrap;

pub const COMMAND: Command = Command {
    name: "logs",
    summary: "what services have said and say",
    usage: "hop logs [[workspace.]service]... [-n LINES] [--since TIME] [--no-follow]",
    details: "The last 100 lines of each, then what comes, until Ctrl-C, which ends the view and\n\
              nothing else. Several services are one text in the order of time, each line with\n\
              its service's name; times are those of this laptop's zone. On a terminal what\n\
              services say cannot move its cursor; into a pipe their bytes go as they are. What\n\
              a log had no more room for before it was read is told as left out. With --json\n\
              each line is an answer, with its stream: out, err, or keeper for what is said of\n\
              the service.",
    example: "hop logs web\n\
              hop logs -n 1000 --no-follow | grep -i error\n\
              hop logs app.web app.db --since 10m",
    group: Group::Project,
    flags: &[
        Flag {
            short: Some('n'),
            long: "lines",
            value: Some("LINES"),
            help: "so many of the last lines of each (100; with --since all)",
        },
        Flag {
            short: None,
            long: "since",
            value: Some("TIME"),
            help: "from then on: 10m, 2h, 3d, 14:30, or a date",
        },
        Flag { short: None, long: "no-follow", value: None, help: "end with what is there" },
    ],
    operands: (0, MANY),
    takes: Takes::Service,
    hidden: false,
    run,
};

const LINES: u32 = 100;
const COLOURS: [Colour; 5] =
    [Colour::Cyan, Colour::Yellow, Colour::Green, Colour::Magenta, Colour::Blue];

fn run(call: &mut Call) -> Result<Code, Failure> {
    let (last, since) = (last(call)?, since(call)?);
    let there = There::of(call)?;
    let names = named(call, &there)?;
    if names.is_empty() {
        call.out.say(&format!("no services on {}", there.host));
        return Ok(Code::Done);
    }
    let follow = !call.args.has("no-follow");
    let last = last.or(since.is_none().then_some(LINES));
    let (mut view, mut long) = (View::of(&names), LongView::of(&there));
    loop {
        let asked = ReadLogs { services: view.places(last), last, since, follow };
        let shown = long.read(call, LogsStream, &asked, |call, event| view.show(call, &event));
        view.end_line(call)?;
        match shown {
            Ok(()) => return Ok(Code::Done),
            Err(Stopped::There(error)) if !follow => return Err(there.failed(error)),
            Err(stopped) => long.again(call, stopped)?,
        }
    }
}

fn usage(what: String, why: String) -> Failure {
    Failure::usage(what, why, fix!("hop {} --help", "logs"))
}

fn last(call: &Call) -> Result<Option<u32>, Failure> {
    let Some(given) = call.args.value("lines") else { return Ok(None) };
    let why = "it takes a number".to_owned();
    // More than there can be is all.
    let lines = given.parse::<u128>().map(|lines| u32::try_from(lines).unwrap_or(u32::MAX));
    lines.map(Some).map_err(|_| usage(format!("-n {given}?"), why))
}

fn since(call: &Call) -> Result<Option<Since>, Failure> {
    let Some(given) = call.args.value("since") else { return Ok(None) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match moment::parse(given, now) {
        Some(Moment::AgoMs(ms)) => Ok(Some(Since::AgoMs(ms))),
        Some(Moment::UnixMs(ms)) => Ok(Some(Since::UnixMs(ms))),
        None => Err(usage(format!("since {given:?}?"), format!("it takes {}", moment::FORMS))),
    }
}

struct View<'a> {
    names: &'a [(ServiceName, String)],
    width: usize,
    /// Up to where each was seen.
    seen: Vec<Option<Place>>,
    /// When it began, by the server's clock.
    began: Option<u64>,
    /// Whose line it is that has no end yet.
    open: Option<(ServiceName, Voice)>,
}

impl View<'_> {
    fn of(names: &[(ServiceName, String)]) -> View<'_> {
        let width = names.iter().map(|(_, shown)| wrap::columns(shown)).max().unwrap_or(0);
        View { names, width, seen: vec![None; names.len()], began: None, open: None }
    }

    /// From where on each is to be read. One of which new lines alone are wanted and none has come
    /// is read from where the view began.
    fn places(&self, last: Option<u32>) -> Vec<OneLog> {
        let begin = self.began.filter(|_| last == Some(0));
        let begin = begin.map(|unix_ms| Place { unix_ms, lines: 0 });
        let all = self.names.iter().zip(&self.seen);
        all.map(|((name, _), seen)| OneLog { name: name.clone(), after: seen.or(begin) }).collect()
    }

    fn see(&mut self, line: &LogLine) {
        let at = self.names.iter().position(|(name, _)| *name == line.name);
        if let Some(seen) = at.and_then(|at| self.seen.get_mut(at)) {
            let same = seen.filter(|place| place.unix_ms == line.unix_ms);
            let lines = same.map_or(0, |place| place.lines).saturating_add(1);
            *seen = Some(Place { unix_ms: line.unix_ms, lines });
        }
    }

    fn show(&mut self, call: &mut Call, event: &LogEvent) -> Result<(), Failure> {
        match event {
            LogEvent::Begin(unix_ms) => {
                self.began.get_or_insert(*unix_ms);
                return Ok(());
            }
            LogEvent::Line(line) => self.see(line),
            LogEvent::Skipped(_) => {}
        }
        if call.out.is_json() {
            return call.out.answer("logs", event.to_json(), "");
        }
        match event {
            LogEvent::Begin(_) => Ok(()),
            LogEvent::Line(line) => self.line(call, line),
            LogEvent::Skipped(name) => {
                self.end_line(call)?;
                let shown = self.shown(name).1;
                let what = "lines are left out here: its log had no more room for them";
                let line = Line::default().in_colour(Colour::Yellow, format!("-- {shown}: {what}"));
                call.out.said(&line, b"", true)
            }
        }
    }

    fn line(&mut self, call: &mut Call, line: &LogLine) -> Result<(), Failure> {
        let goes_on = (line.name.clone(), line.voice);
        let head = if self.open.as_ref() == Some(&goes_on) {
            Line::default()
        } else {
            self.end_line(call)?;
            self.head(line)
        };
        self.open = line.more.then_some(goes_on);
        call.out.said(&head, &line.text, !line.more)
    }

    fn head(&self, line: &LogLine) -> Line {
        let (at, shown) = self.shown(&line.name);
        let head = Line::default().in_colour(Colour::Dim, date_time(line.unix_ms / 1000));
        let head = match self.names.len() {
            0 | 1 => head,
            _ => {
                let colour = COLOURS.get(at % COLOURS.len()).copied().unwrap_or(Colour::None);
                let gap = " ".repeat(self.width.saturating_sub(wrap::columns(shown)));
                head.and(" ").in_colour(colour, shown).and(gap)
            }
        };
        match line.voice {
            Voice::Keeper => head.and(" hopbox: "),
            Voice::Out | Voice::Err => head.and(" "),
        }
    }

    fn shown<'a>(&'a self, name: &'a ServiceName) -> (usize, &'a str) {
        let found = self.names.iter().enumerate().find(|(_, (known, _))| known == name);
        found.map_or((0, name.service.as_str()), |(at, (_, shown))| (at, shown.as_str()))
    }

    /// Before something that is no part of the line.
    fn end_line(&mut self, call: &mut Call) -> Result<(), Failure> {
        match self.open.take() {
            Some(_) => call.out.said(&Line::default(), b"", true),
            None => Ok(()),
        }
    }
}
