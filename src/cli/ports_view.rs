//! Ports as people see them: a table by checkouts, and below it what is unexpected about some.

use super::grid::Grid;
use super::page::{Colour, Line, Page};
use super::services_view::bytes;
use crate::base::moment::now_ms;
use crate::base::time_text::{hms, span};
use crate::rpc::types::ports::{Owner, PortView};
use crate::session::ports::DOORS;
use crate::session::ports::view::{MirrorView, PortState, WhyNot};
use crate::text::cell;

pub fn url(local: u16) -> String {
    format!("http://localhost:{local}")
}

/// Those of a checkout stand together, then those of directories, containers, and of nobody.
pub fn table(views: &[MirrorView], room: Option<usize>) -> Page {
    let mut rows: Vec<(Group, &MirrorView)> = views.iter().map(|v| (group(v), v)).collect();
    rows.sort_by(|one, other| (&one.0, one.1.port).cmp(&(&other.0, other.1.port)));
    let mut grid = Grid::new(["THERE", "HERE", "STATE", "PROGRAM", "FOR", "BYTES", "URL", "IN"]);
    for (_, view) in &rows {
        grid.coloured(cells(view));
    }
    let (lines, mut page) = (grid.page(room), Page::default());
    let mut lines = lines.lines().cloned();
    page.extend(lines.next());
    let mut last = None;
    for ((group, _), line) in rows.iter().zip(lines) {
        if last != Some(group) {
            page.add(group.head());
            last = Some(group);
        }
        page.add(line);
    }
    page.extend(rows.iter().filter_map(|(_, view)| note(view)));
    page
}

/// What ports are shown together by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Checkout(String, Option<String>),
    Directory(String),
    Containers,
    Unknown,
    Nobody,
}

fn group(view: &MirrorView) -> Group {
    let Some(PortView { owner, .. }) = &view.server else { return Group::Nobody };
    match (&owner.checkout, &owner.directory, &owner.container) {
        (Some(checkout), ..) => Group::Checkout(checkout.clone(), owner.branch.clone()),
        (None, _, Some(_)) => Group::Containers,
        (None, Some(directory), None) => Group::Directory(directory.clone()),
        (None, None, None) => Group::Unknown,
    }
}

impl Group {
    fn head(&self) -> Line {
        let line = match self {
            Group::Checkout(checkout, None) => Line::from(checkout.as_str()),
            Group::Checkout(checkout, Some(branch)) => {
                let line = Line::from(checkout.as_str()).and(" (");
                line.in_colour(Colour::Cyan, branch.as_str()).and(")")
            }
            Group::Directory(directory) => Line::from(directory.as_str()),
            Group::Containers => Line::from("containers"),
            Group::Unknown => Line::from("elsewhere"),
            Group::Nobody => Line::from("nobody listens there now"),
        };
        line.and(":")
    }
}

fn cells(view: &MirrorView) -> [(Colour, String); 8] {
    let plain = |text: String| (Colour::None, text);
    let owner = view.server.as_ref().map(|server| &server.owner);
    let since = view.server.as_ref().map(|server| server.since_unix_ms);
    [
        plain(view.port.to_string()),
        plain(view.local.map_or_else(none, |local| local.to_string())),
        (colour(view.state), view.state.word().to_owned()),
        plain(owner.and_then(program).unwrap_or_else(none)),
        plain(since.map_or_else(none, |since| span(now_ms().saturating_sub(since) / 1000))),
        plain(bytes(view.bytes_up.saturating_add(view.bytes_down))),
        plain(view.local.map_or_else(none, url)),
        plain(owner.and_then(place).map_or_else(none, |place| cell(&place).into_owned())),
    ]
}

fn none() -> String {
    "-".to_owned()
}

fn colour(state: PortState) -> Colour {
    match state {
        PortState::Ready => Colour::Green,
        PortState::Refused | PortState::Hung => Colour::Red,
        PortState::Listening => Colour::None,
        PortState::Gone => Colour::Dim,
    }
}

/// The program's name and process.
pub fn program(owner: &Owner) -> Option<String> {
    match (owner.program.as_deref().map(cell), owner.pid) {
        (Some(program), Some(pid)) => Some(format!("{program} {pid}")),
        (Some(program), None) => Some(program.into_owned()),
        (None, Some(pid)) => Some(format!("pid {pid}")),
        (None, None) => None,
    }
}

/// Below its checkout; or the service or container that it is.
fn place(owner: &Owner) -> Option<String> {
    if let Some(service) = &owner.service {
        return Some(format!("{}.{}", service.workspace, service.service));
    }
    if let Some(container) = &owner.container {
        return Some(container.clone());
    }
    let below = owner.directory.as_deref()?.strip_prefix(owner.checkout.as_deref()?)?;
    let below = below.strip_prefix('/').unwrap_or(below);
    Some(if below.is_empty() { "." } else { below }.to_owned())
}

/// What the columns do not say.
fn note(view: &MirrorView) -> Option<Line> {
    let why = view.why_not.as_ref()?;
    let line = Line::from(format!("{}: ", view.port)).and(reason(why));
    Some(match view.local.filter(|local| *local != view.port) {
        Some(local) => line.and(format!(", so it is at {local} here")),
        None => line,
    })
}

/// Why it is not at its own number.
pub fn reason(why: &WhyNot) -> String {
    let who = |by: &Option<String>, else_: &str| by.clone().unwrap_or_else(|| else_.to_owned());
    match why {
        WhyNot::Taken { by } => format!("{} has that port here", who(by, "another program")),
        WhyNot::SshForward { by } => {
            format!("{} leads that port there already", who(by, "your own ssh"))
        }
        WhyNot::Privileged => "this system lets no user have a port below 1024".to_owned(),
        WhyNot::Kept => "its own was taken when it was given this one".to_owned(),
        WhyNot::Pinned => "you have pinned it".to_owned(),
        WhyNot::Excluded => "you have excluded it".to_owned(),
        WhyNot::Off => "its workspace says ports: {auto: false}".to_owned(),
        WhyNot::Full => {
            format!("as many ports are answered for here as there can be, {DOORS}")
        }
    }
}

/// A line of a watch.
pub fn sentence(view: &MirrorView) -> Line {
    let line = Line::from(format!("{} {} ", hms(now_ms() / 1000), view.port));
    let line = line.in_colour(colour(view.state), view.state.word());
    let line = match view.local {
        Some(local) => line.and(format!(" {}", url(local))),
        None => line.and(" not here"),
    };
    let owner = view.server.as_ref().map(|server| &server.owner);
    let line = match owner.and_then(program) {
        Some(program) => line.and(format!(", {program}")),
        None => line,
    };
    let line = match owner.and_then(|owner| owner.checkout.as_ref().or(owner.directory.as_ref())) {
        Some(directory) => line.and(format!(" in {directory}")),
        None => line,
    };
    match &view.why_not {
        Some(why) => line.and(format!(": {}", reason(why))).whole(),
        None => line.whole(),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::text::wrap::columns;

    /// As a mirror would tell of it.
    pub fn told(port: u16, program: &str, checkout: Option<(&str, &str)>) -> MirrorView {
        let owner = Owner {
            pid: Some(4242),
            program: Some(program.to_owned()),
            directory: checkout.map(|(checkout, _)| format!("{checkout}/web")),
            checkout: checkout.map(|(checkout, _)| checkout.to_owned()),
            branch: checkout.map(|(_, branch)| branch.to_owned()),
            ..Owner::default()
        };
        let addresses = vec!["127.0.0.1".parse().unwrap()];
        let since_unix_ms = now_ms() - 600_000;
        MirrorView {
            port,
            server: Some(PortView { port, addresses, owner, since_unix_ms, hidden: 0 }),
            local: Some(port),
            why_not: None,
            is_pinned: false,
            state: PortState::Ready,
            bytes_up: 0,
            bytes_down: 0,
            connections: 0,
        }
    }

    #[test]
    fn an_ordinary_table_fits_and_stands_by_checkouts() {
        let mut vite = told(5173, "node", Some(("/home/dev/app", "main")));
        (vite.bytes_up, vite.bytes_down) = (1 << 20, 1 << 19);
        let mut api = told(3000, "node", Some(("/home/dev/app-2", "fix")));
        api.local = Some(3001);
        api.why_not = Some(WhyNot::Taken { by: Some("python3 (pid 9)".to_owned()) });
        let twin = told(8000, "python3", Some(("/home/dev/app", "main")));
        let mut db = told(5432, "docker-proxy", None);
        if let Some(server) = &mut db.server {
            server.owner.container = Some("app-db-1".to_owned());
        }
        let mut gone = told(4000, "", None);
        (gone.server, gone.state) = (None, PortState::Gone);
        let text = table(&[api, gone, vite, db, twin], Some(80)).render(false, Some(80));
        assert!(text.lines().all(|line| columns(line) <= 80), "{text}");
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = text.lines().map(words).collect();
        assert_eq!(
            lines,
            [
                "THERE HERE STATE PROGRAM FOR BYTES URL",
                "/home/dev/app (main):",
                "5173 5173 ready node 4242 10 min 1.5 M http://localhost:5173",
                "8000 8000 ready python3 4242 10 min 0 http://localhost:8000",
                "/home/dev/app-2 (fix):",
                "3000 3001 ready node 4242 10 min 0 http://localhost:3001",
                "containers:",
                "5432 5432 ready docker-proxy 4242 10 min 0 http://localhost:5432",
                "nobody listens there now:",
                "4000 4000 gone - - 0 http://localhost:4000",
                "3000: python3 (pid 9) has that port here, so it is at 3001 here",
            ]
        );
    }

    #[test]
    fn what_the_server_says_is_data() {
        let evil = "\x1b[2J\nfix: x\u{202e}";
        let mut view = told(1, evil, Some((evil, evil)));
        if let Some(server) = &mut view.server {
            server.owner.directory = Some(evil.to_owned());
        }
        view.why_not = Some(WhyNot::Taken { by: Some(evil.to_owned()) });
        let page = table(&[view.clone()], None).render(false, None);
        assert_eq!(page.lines().count(), 4, "{page}");
        let line = sentence(&view).render(false, None);
        for text in [page, line] {
            assert!(!text.contains(['\x1b', '\u{202e}']) && !text.contains("\nfix"), "{text:?}");
        }
    }
}
