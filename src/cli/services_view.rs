//! Services as people see them: a table, and below it what is wrong with some of them.

use super::grid::Grid;
use super::page::{Colour, Line, Page};
use super::service_names::shown;
use crate::base::time_text::span;
use crate::rpc::types::health::HealthState;
use crate::rpc::types::services::{LastExit, ServiceName, ServiceState, ServiceView};
use crate::text::cell;

/// Ports that are shown of one.
const PORTS: usize = 4;

pub fn table(views: &[&ServiceView], now_ms: u64, room: Option<usize>) -> Page {
    let mut grid =
        Grid::new(["SERVICE", "STATE", "FOR", "PID", "RESTARTS", "CPU", "MEMORY", "PORTS", "EXIT"]);
    let names: Vec<&ServiceName> = views.iter().map(|view| &view.name).collect();
    for view in views {
        let (colour, state) = state(view);
        let details = &view.details;
        let plain = |text: String| (Colour::None, text);
        grid.coloured([
            plain(cell(&shown(&view.name, names.iter().copied())).into_owned()),
            (colour, state),
            plain(age(view, now_ms)),
            plain(view.pid.map_or_else(none, |pid| pid.to_string())),
            plain(view.restarts.to_string()),
            plain(details.cpu_ms.map_or_else(none, cpu)),
            plain(details.memory_bytes.map_or_else(none, bytes)),
            plain(ports(&details.ports)),
            plain(view.last_exit.as_ref().map_or_else(none, exit_short)),
        ]);
    }
    let mut page = grid.page(room);
    for view in views {
        page.extend(trouble(view, &shown(&view.name, names.iter().copied())));
    }
    page
}

fn none() -> String {
    "-".to_owned()
}

fn age(view: &ServiceView, now_ms: u64) -> String {
    match view.since_ms {
        0 => none(),
        since => span(now_ms.saturating_sub(since) / 1000),
    }
}

/// The word, and its colour.
pub fn state(view: &ServiceView) -> (Colour, String) {
    let colour = match view.state {
        ServiceState::Running => return running(view),
        ServiceState::Failed | ServiceState::GaveUp | ServiceState::Lost => Colour::Red,
        ServiceState::Starting | ServiceState::Ending | ServiceState::Waiting => Colour::Yellow,
        _ => Colour::None,
    };
    (colour, view.state.word().replace('_', " "))
}

/// How well one that runs is, where something tells.
fn running(view: &ServiceView) -> (Colour, String) {
    let health = view.health.as_ref().map(|health| health.state);
    let (colour, word) = match health {
        Some(HealthState::Unhealthy) => (Colour::Red, HealthState::Unhealthy.word()),
        _ if !view.degraded.is_empty() => (Colour::Yellow, "degraded"),
        Some(HealthState::Healthy) => (Colour::Green, HealthState::Healthy.word()),
        Some(_) => (Colour::Yellow, ServiceState::Starting.word()),
        None => (Colour::Green, ServiceState::Running.word()),
    };
    (colour, word.to_owned())
}

/// Processor time that it took.
fn cpu(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        ms => span(ms / 1000),
    }
}

pub fn bytes(count: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")];
    let found = UNITS.iter().find(|(size, _)| count >= *size);
    found.map_or_else(
        || count.to_string(),
        |(size, unit)| match count / size {
            0..10 => format!("{}.{} {unit}", count / size, count % size * 10 / size),
            whole => format!("{whole} {unit}"),
        },
    )
}

fn ports(all: &[u16]) -> String {
    if all.is_empty() {
        return none();
    }
    let first: Vec<String> = all.iter().take(PORTS).map(u16::to_string).collect();
    let more = if all.len() > PORTS { ",..." } else { "" };
    first.join(",") + more
}

fn exit_short(exit: &LastExit) -> String {
    match exit {
        LastExit::Code(code) => format!("code {code}"),
        LastExit::Signal(signal) => format!("signal {signal}"),
        LastExit::NotStarted(_) => "no start".to_owned(),
        LastExit::Lost(by) => cell(by).into_owned(),
    }
}

/// The same as a sentence goes on.
pub fn exit(exit: &LastExit) -> String {
    match exit {
        LastExit::Code(code) => format!("it ended with {code}"),
        LastExit::Signal(signal) => format!("signal {signal} ended it"),
        LastExit::NotStarted(why) => format!("it could not be started: {why}"),
        LastExit::Lost(by) if by == "reboot" => "it ended as the server went down".to_owned(),
        LastExit::Lost(_) => "it ended with its keeper, and nobody knows how".to_owned(),
    }
}

fn trouble(view: &ServiceView, name: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    for reason in &view.degraded {
        lines.push(Line::from(format!("{name}: ")).and(reason.as_str()));
    }
    let health = view.health.as_ref().filter(|health| health.state != HealthState::Healthy);
    if let Some(why) = health.and_then(|health| health.why.as_deref()) {
        lines.push(Line::from(format!("{name}: its check: ")).and(why));
    }
    let has_failed = matches!(view.state, ServiceState::Failed | ServiceState::GaveUp);
    if has_failed || !view.details.last_lines.is_empty() {
        let why = view.last_exit.as_ref().map_or_else(|| state(view).1, exit);
        lines.push(Line::from(format!("{name}: ")).and(why));
    }
    let said = view.details.last_lines.iter();
    lines.extend(said.map(|line| Line::from("  | ").and(line.as_str()).whole()));
    lines
}

#[cfg(test)]
mod tests {
    use super::super::service_names::told;
    use super::*;
    use crate::rpc::types::health::Health;
    use crate::text::wrap::columns;

    #[test]
    fn an_ordinary_table_fits_and_what_failed_says_why() {
        let mut web = told("app", "web", ServiceState::Running);
        web.details.cpu_ms = Some(1234);
        web.details.memory_bytes = Some(150 << 20);
        web.details.ports = vec![3000, 9229];
        let mut worker = told("app", "worker", ServiceState::GaveUp);
        (worker.pid, worker.restarts) = (None, 8);
        worker.last_exit = Some(LastExit::Code(1));
        worker.details.last_lines = vec!["fix: \x1b[2J".to_owned(), "b".to_owned()];
        let mut db = told("app", "database", ServiceState::Running);
        db.degraded = vec!["memory: the kernel has no such limit for its unit".to_owned()];
        let text = table(&[&web, &worker, &db], 1_090_000, None).render(false, None);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().take(4).all(|line| columns(line) <= 80), "{text}");
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>().join(" "),
            "web running 90 s 4242 0 1.2 s 150 M 3000,9229 -"
        );
        assert!(lines[2].contains("gave up") && lines[2].ends_with("code 1"), "{text}");
        assert_eq!(lines[4], "worker: it ended with 1");
        assert_eq!(lines[5], r"  | fix: \u{1b}[2J");
        assert!(lines[3].contains("degraded") && lines[7].starts_with("database: memory"));
        let since_ms = 1_000_000;
        for (state, word, why) in [
            (HealthState::Healthy, "healthy", None),
            (HealthState::Starting, "starting", None),
            (HealthState::Unhealthy, "unhealthy", Some("no answer \x1b[2J".to_owned())),
        ] {
            web.health = Some(Health { state, since_ms, failures: 1, why, will_restart: false });
            let text = table(&[&web], 1_090_000, None).render(false, None);
            assert!(text.contains(&format!(" {word} ")), "{text}");
            let told = text.contains("\nweb: its check: no answer \\u{1b}[2J");
            assert_eq!(told, state == HealthState::Unhealthy, "{text}");
        }
        web.health = None;
        let other = told("site", "web", ServiceState::New);
        let text = table(&[&web, &other], 1_090_000, None).render(false, None);
        assert!(text.contains("\napp.web  ") && text.contains("\nsite.web "), "{text}");
    }

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!([0, 1023, 1 << 20, 5 << 30].map(bytes), ["0", "1023", "1.0 M", "5.0 G"]);
        assert_eq!(bytes(1536), "1.5 K");
        assert_eq!([0, 250, 61_000, 7_200_000].map(cpu), ["0.0 s", "0.2 s", "61 s", "2 h"]);
        assert_eq!(ports(&[1, 2, 3, 4, 5]), "1,2,3,4,...");
    }
}
