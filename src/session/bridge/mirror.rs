//! Ports of the server's that this laptop answers for: which one is where, and one that is held at
//! exactly its number for the answer of a page that is opened.
//!
//! Bounds: 16 that are held; each for 10 minutes, and for 10 s after the first connection that has
//! carried something and ended.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::held::HeldPort;
use super::room::Room;
use crate::base::file;
use crate::session::log::log;
use crate::session::ports::client::{self, MirrorError};
use crate::session::ports::view::{MirrorView, PortChange, WhyNot};
use crate::sys::clock;

const MOST: usize = 16;
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where it answers for that port of the server's.
pub fn local(room: &Room, port: u16) -> Option<u16> {
    view(room, port)?.local
}

fn view(room: &Room, port: u16) -> Option<MirrorView> {
    let all = client::list(&room.paths, &room.host.name).ok()?;
    all.ports.into_iter().find(|view| view.port == port)
}

/// Has it answer at exactly that number, for a while. Where it does so already, or the user has
/// pinned it, nothing is changed.
pub fn hold(room: &Room, port: u16) -> Result<(), String> {
    let mut held = room.held.all();
    if let Some(view) = view(room, port) {
        let is_there = view.local == Some(port);
        if let Some(again) = held.iter_mut().find(|one| is_there && one.port == port) {
            *again = HeldPort::new(&view);
            return Ok(());
        }
        // One that is only kept for who was there is not kept long enough.
        if is_there && (view.server.is_some() || view.is_pinned) {
            return Ok(());
        }
        if view.is_pinned {
            return Err("it is pinned to another one".to_owned());
        }
    }
    if port < 1024 {
        return Err("the server's is not answered for here".to_owned());
    }
    if held.len() >= MOST {
        return Err(format!("{MOST} ports are held already"));
    }
    let pin = PortChange::Pin { port, local: Some(port) };
    let view = client::change(&room.paths, &room.host.name, pin).map_err(said)?;
    if view.local != Some(port) {
        let _ = client::change(&room.paths, &room.host.name, PortChange::Unpin(port));
        return Err(why_not(view.why_not.as_ref()));
    }
    held.push(HeldPort::new(&view));
    write_down(room, &held);
    Ok(())
}

/// For the next process, should this one be killed.
fn write_down(room: &Room, held: &[HeldPort]) {
    let ports: Value = held.iter().map(|one| one.port).collect();
    let path = room.paths.bridge_held(&room.host.name);
    if let Err(error) = file::replace(&path, ports.to_string().as_bytes()) {
        log(&format!("bridges: cannot write {}: {error}", path.display()));
    }
}

fn let_go_of_those_before(room: &Room) {
    let held = room.held.all();
    let text = file::read_private(&room.paths.bridge_held(&room.host.name));
    let all = text.ok().and_then(|text| serde_json::from_str::<Vec<u16>>(&text).ok());
    for port in all.into_iter().flatten().take(MOST) {
        let _ = client::change(&room.paths, &room.host.name, PortChange::Unpin(port));
    }
    write_down(room, &held);
}

fn said(error: MirrorError) -> String {
    match error {
        MirrorError::Refused(why) => why,
        MirrorError::Lost(error) => error.to_string(),
        MirrorError::Down | MirrorError::Absent => "no port is answered for here".to_owned(),
    }
}

fn why_not(why: Option<&WhyNot>) -> String {
    match why {
        Some(WhyNot::Taken { by: Some(by) } | WhyNot::SshForward { by: Some(by) }) => {
            format!("{by} has it here")
        }
        Some(WhyNot::Taken { .. } | WhyNot::SshForward { .. }) => {
            "another program has it here".to_owned()
        }
        Some(why) => format!("it cannot be had here ({})", why.word()),
        None => "it cannot be had here".to_owned(),
    }
}

/// Lets go of those that have served, for ever.
pub fn tend(room: &Room) {
    let_go_of_those_before(room);
    loop {
        thread::sleep(LOOK_EVERY);
        let mut held = room.held.all();
        if held.is_empty() {
            continue;
        }
        let all = client::list(&room.paths, &room.host.name);
        let views = all.map(|all| all.ports).unwrap_or_default();
        let now_ms = clock::boot_ms();
        let before = held.len();
        held.retain_mut(|one| {
            let view = views.iter().find(|view| view.port == one.port);
            if !one.is_over(view, now_ms) {
                return true;
            }
            let _ = client::change(&room.paths, &room.host.name, PortChange::Unpin(one.port));
            false
        });
        if held.len() < before {
            write_down(room, &held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_port_is_named_where_that_is_known() {
        let taken = |by: Option<&str>| WhyNot::Taken { by: by.map(str::to_owned) };
        assert_eq!(why_not(Some(&taken(Some("node (77)")))), "node (77) has it here");
        assert_eq!(why_not(Some(&taken(None))), "another program has it here");
        assert_eq!(why_not(Some(&WhyNot::Off)), "it cannot be had here (off)");
    }
}
