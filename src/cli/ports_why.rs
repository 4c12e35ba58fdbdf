//! What happens with a port, in a paragraph: who listens there, where it is here and why so,
//! whether connections are taken.

use super::ports_view::{program, reason, url};
use super::services_view::bytes;
use crate::base::moment::now_ms;
use crate::base::time_text::span;
use crate::fix;
use crate::rpc::types::ports::PortView;
use crate::session::ports::view::{MirrorView, PortState, WhyNot};

/// What is known of it.
pub struct Found<'a> {
    pub host: &'a str,
    pub port: u16,
    /// `None`: nothing is.
    pub view: Option<&'a MirrorView>,
    /// The agent tells it at this moment.
    pub is_live: bool,
}

/// Whether it can be used here, and the paragraph.
pub fn why(found: &Found) -> (bool, String) {
    let server = found.view.and_then(|view| view.server.as_ref());
    let state = found.view.map_or(PortState::Gone, |view| view.state);
    let is_here = found.view.is_some_and(|view| view.local.is_some());
    let takes = matches!(state, PortState::Ready | PortState::Listening);
    let mut text = server.map_or_else(|| nobody(found), |server| there(found, server));
    for part in [here(found), how(found, server, state)] {
        if !part.is_empty() {
            text += " ";
            text += &part;
        }
    }
    if !found.is_live {
        text += " That is what was known last: the agent does not answer now.";
    }
    (is_here && takes && server.is_some(), text)
}

fn nobody(found: &Found) -> String {
    let Found { host, port, .. } = found;
    format!(
        "No program of your login listens at port {port} of {host} now; those of other users are \
         not looked at."
    )
}

fn there(found: &Found, server: &PortView) -> String {
    let (Found { host, port, .. }, owner) = (found, &server.owner);
    let mut text = program(owner).unwrap_or_else(|| "A program of your login".to_owned());
    if let Some(container) = &owner.container {
        text = format!("The container {container}");
    }
    if let Some(service) = &owner.service {
        text += &format!(", the service {}.{},", service.workspace, service.service);
    }
    if let Some(directory) = &owner.directory {
        text += &format!(" in {directory}");
    }
    if let Some(branch) = &owner.branch {
        text += &format!(" (branch {branch})");
    }
    let addresses: Vec<String> = server.addresses.iter().map(|at| at.to_string()).collect();
    let age = span(now_ms().saturating_sub(server.since_unix_ms) / 1000);
    text += &format!(" listens at port {port} of {host}");
    if !addresses.is_empty() {
        text += &format!(" ({})", addresses.join(", "));
    }
    text += &format!(", for {age}.");
    if owner.is_sandboxed {
        text += " It has a network of its own, which is reached by a process that joins it.";
    }
    match server.hidden {
        0 => {}
        1 => text += " One more sandbox has that port, and is not reached meanwhile.",
        more => {
            text +=
                &format!(" {more} more sandboxes have that port, and are not reached meanwhile.")
        }
    }
    text
}

/// Where it is on this machine, and why not at its own number.
pub fn here(found: &Found) -> String {
    let Found { host, port, .. } = found;
    let Some(view) = found.view else {
        return format!(
            "As soon as one does it is at {} here, or at the next free number.",
            url(*port)
        );
    };
    let waits =
        if view.server.is_none() { ", and refuses until somebody listens there" } else { "" };
    let at = |local: u16| format!("{}{waits}", url(local));
    match (view.local, &view.why_not) {
        (Some(local), None) => format!("Port {port} is at {} here.", at(local)),
        (Some(local), Some(WhyNot::Pinned)) => {
            format!("Port {port} is pinned to {} here.", at(local))
        }
        (Some(local), Some(WhyNot::Kept)) => {
            let (own, why) = (fix!("hop ports unpin {} -H {}", port, host), reason(&WhyNot::Kept));
            format!("Port {port} is at {} here, as {why}; `{own}` gives it its own.", at(local))
        }
        (Some(local), Some(why)) => {
            let other = fix!("hop ports pin {} {} -H {}", port, local, host);
            let why = reason(why);
            format!("Port {port} is at {} here, as {why}; `{other}` keeps it there.", at(local))
        }
        (None, Some(WhyNot::Excluded)) => {
            let again = fix!("hop ports include {} -H {}", port, host);
            format!("Nothing answers for port {port} here, as you have excluded it: `{again}`.")
        }
        (None, Some(WhyNot::Off)) => {
            let pin = fix!("hop ports pin {} -H {}", port, host);
            let why = reason(&WhyNot::Off);
            format!("Nothing answers for port {port} here, as {why}: `{pin}`.")
        }
        (None, Some(why)) => {
            format!("Nothing of hop's answers for port {port} here, as {}.", reason(why))
        }
        (None, None) => format!("Port {port} is not here until somebody listens there."),
    }
}

fn how(found: &Found, server: Option<&PortView>, state: PortState) -> String {
    let state = match state {
        PortState::Ready => "It takes connections.",
        PortState::Refused => "A connection to it is refused.",
        PortState::Hung => "It takes no connection within 1 s: the program hangs, or is stopped.",
        PortState::Listening if server.is_some() => "Nobody has connected to it yet.",
        PortState::Listening | PortState::Gone => "",
    };
    let Some(view) = found.view.filter(|view| view.bytes_up + view.bytes_down > 0) else {
        return state.to_owned();
    };
    let open = match view.connections {
        0 => String::new(),
        1 => "1 connection is open, ".to_owned(),
        many => format!("{many} connections are open, "),
    };
    let (up, down) = (bytes(view.bytes_up), bytes(view.bytes_down));
    format!("{state} {open}{up} went there, {down} came back.").trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::ports_view::tests::told;
    use super::*;

    fn of(view: Option<&MirrorView>) -> (bool, String) {
        why(&Found { host: "box", port: 3000, view, is_live: true })
    }

    #[test]
    fn each_case_is_told_in_a_paragraph() {
        let plain = told(3000, "node", Some(("/home/dev/app", "main")));
        assert_eq!(
            of(Some(&plain)),
            (
                true,
                "node 4242 in /home/dev/app/web (branch main) listens at port 3000 of box \
                 (127.0.0.1), for 10 min. Port 3000 is at http://localhost:3000 here. It takes \
                 connections."
                    .to_owned()
            )
        );
        let (works, text) = of(None);
        assert!(!works && text.contains("those of other users are not looked at"), "{text}");
        assert!(text.contains("it is at http://localhost:3000 here, or"), "{text}");
        let taken = |by: Option<&str>| WhyNot::Taken { by: by.map(str::to_owned) };
        for (local, why_not, expected) in [
            (Some(3001), taken(Some("ruby (pid 9)")), "as ruby (pid 9) has that port here; `hop"),
            (Some(3001), taken(None), "`hop ports pin 3000 3001 -H box` keeps it there"),
            (Some(3001), WhyNot::Kept, "`hop ports unpin 3000 -H box` gives it its own."),
            (Some(8080), WhyNot::Privileged, "no user have a port below 1024"),
            (Some(3001), WhyNot::Pinned, "is pinned to http://localhost:3001 here"),
            (None, WhyNot::Excluded, "excluded it: `hop ports include 3000 -H box`"),
            (None, WhyNot::Off, "{auto: false}: `hop ports pin 3000 -H box`"),
            (None, WhyNot::SshForward { by: None }, "your own ssh leads that port there already"),
            (None, WhyNot::Full, "as many ports are answered for"),
        ] {
            let view = MirrorView { local, why_not: Some(why_not), ..plain.clone() };
            let (works, text) = of(Some(&view));
            assert_eq!((works, text.contains(expected)), (local.is_some(), true), "{text}");
        }
    }

    #[test]
    fn it_works_where_connections_are_taken() {
        let mut view = told(3000, "node", None);
        for (state, works, expected) in [
            (PortState::Ready, true, "It takes connections."),
            (PortState::Listening, true, "Nobody has connected to it yet."),
            (PortState::Refused, false, "A connection to it is refused."),
            (PortState::Hung, false, "the program hangs, or is stopped."),
        ] {
            view.state = state;
            let (does, text) = of(Some(&view));
            assert_eq!((does, text.ends_with(expected)), (works, true), "{text}");
        }
        (view.connections, view.bytes_up, view.bytes_down) = (2, 10, 2048);
        let (_, text) = of(Some(&view));
        let traffic = "2 connections are open, 10 went there, 2.0 K came back.";
        assert!(text.ends_with(traffic), "{text}");
        if let Some(server) = &mut view.server {
            (server.owner.is_sandboxed, server.hidden) = (true, 2);
        }
        let (_, text) = of(Some(&view));
        assert!(text.contains("a network of its own"), "{text}");
        assert!(text.contains(" 2 more sandboxes have that port"), "{text}");
        (view.server, view.state) = (None, PortState::Gone);
        let (does, text) = of(Some(&view));
        assert!(!does && text.contains("refuses until somebody listens there"), "{text}");
        let found = Found { host: "box", port: 3000, view: Some(&view), is_live: false };
        assert!(why(&found).1.ends_with("the agent does not answer now."));
    }
}
