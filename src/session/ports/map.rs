//! Which ports of the server are where. Decides and listens; what the server says, and who
//! connects, is for others to find out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use super::choice::{Choice, Owners, Place};
use super::door::Door;
use super::ledger::Ledger;
use super::view::{MirrorView, PortState, WhyNot};
use crate::relay::Tally;
use crate::rpc::types::ports::{Mapped, PortView};

/// Ports with a door.
pub const DOORS: usize = 1024;
/// A port that nobody listens at keeps its number so long.
const KEPT: Duration = Duration::from_secs(600);
const KEPT_MOST: usize = 256;

#[derive(Default)]
pub struct Map {
    ports: BTreeMap<u16, Mapping>,
}

#[derive(Default)]
struct Mapping {
    /// `None`: nobody listens there.
    view: Option<PortView>,
    gone_since: Option<Instant>,
    place: Place,
    seen: Arc<Seen>,
}

/// What connections of one port have found.
#[derive(Default)]
pub struct Seen {
    pub tally: Arc<Tally>,
    state: AtomicU8,
}

const SEEN: [PortState; 4] =
    [PortState::Listening, PortState::Ready, PortState::Refused, PortState::Hung];

impl Seen {
    pub fn state(&self) -> PortState {
        let at = usize::from(self.state.load(Ordering::Relaxed));
        SEEN.get(at).copied().unwrap_or(PortState::Listening)
    }

    /// Whether that is something new.
    pub fn found(&self, state: PortState) -> bool {
        let at = SEEN.iter().position(|known| *known == state).unwrap_or(0) as u8;
        self.state.swap(at, Ordering::Relaxed) != at
    }
}

impl Map {
    /// It listens. [`Map::settle`] finds its place.
    pub fn listens(&mut self, view: PortView) {
        let port = view.port;
        let mapping = self.ports.entry(port).or_default();
        let is_back = mapping.view.is_none();
        mapping.view = Some(view);
        mapping.gone_since = None;
        if is_back {
            mapping.seen.found(PortState::Listening);
            // A number that was lost meanwhile is chosen anew.
            if mapping.place.door.as_mut().is_some_and(|door| door.open_again().is_err()) {
                mapping.place = Place::default();
            }
        }
    }

    /// Nobody listens there any more: it refuses, and keeps its number.
    pub fn gone(&mut self, port: u16, now: Instant) {
        let Some(mapping) = self.ports.get_mut(&port) else { return };
        mapping.view = None;
        mapping.gone_since.get_or_insert(now);
        match &mut mapping.place.door {
            Some(door) => door.shut(),
            None => drop(self.ports.remove(&port)),
        }
    }

    /// All but these are gone.
    pub fn gone_but(&mut self, ports: &BTreeSet<u16>, now: Instant) {
        let gone: Vec<u16> = self.ports.keys().filter(|it| !ports.contains(it)).copied().collect();
        gone.into_iter().for_each(|port| self.gone(port, now));
    }

    /// Finds a place for those that have none and want one: first all that can have the number
    /// that they should, then the others. Those that were moved just now: from where, to where.
    pub fn settle(&mut self, ledger: &mut Ledger) -> Vec<(u16, Place)> {
        let waits = |it: &Mapping| it.view.is_some() && it.place.door.is_none();
        let waiting: Vec<u16> =
            self.ports.iter().filter(|(_, it)| waits(it)).map(|(port, _)| *port).collect();
        let mut room = self.room_for(waiting.len(), ledger);
        let (mut others, mut moved) = (Vec::new(), Vec::new());
        let owners = &Owners::default();
        for port in waiting {
            let choice = Choice { ledger, is_anothers: &|_| false, owners };
            let place = match (choice.unwanted(port), room) {
                (None, 0) => Some(full()),
                (unwanted, _) => unwanted.or_else(|| choice.first(port)),
            };
            match place {
                Some(place) => {
                    room -= usize::from(place.door.is_some());
                    self.put(port, place);
                }
                None => others.push(port),
            }
        }
        for port in others {
            let is_anothers = |number| number != port && self.ports.contains_key(&number);
            let choice = Choice { ledger, is_anothers: &is_anothers, owners };
            let place = if room == 0 { full() } else { choice.next(port) };
            let why_not = place.why_not.clone();
            let number = place.door.as_ref().map(|door| door.number);
            let is_told = self.why_not(port) == why_not && number.is_none();
            self.put(port, place);
            if let Some(number) = number {
                room -= 1;
                match number == port {
                    true => drop(ledger.change(port, |entry| entry.local = None)),
                    false => ledger.moved(port, number),
                }
            }
            if !is_told {
                moved.push((port, Place { door: None, why_not }));
            }
        }
        moved
    }

    /// How many doors there may be more. Those that nobody listens behind give way.
    fn room_for(&mut self, wanted: usize, ledger: &Ledger) -> usize {
        let doors = self.doors().count();
        let wanting = (doors + wanted).saturating_sub(DOORS);
        let gone = self.ports.iter().filter(|(_, it)| it.place.door.is_some());
        let gone = gone.filter_map(|(port, it)| Some((it.gone_since?, *port)));
        let mut gone: Vec<(bool, Instant, u16)> =
            gone.map(|(since, port)| (ledger.of(port).is_pinned, since, port)).collect();
        gone.sort();
        for (.., port) in gone.iter().take(wanting) {
            self.ports.remove(port);
        }
        DOORS.saturating_sub(doors - gone.len().min(wanting))
    }

    /// Whether there is one that is elsewhere for another reason than its user's.
    pub fn is_moved(&self) -> bool {
        self.ports.values().any(Mapping::is_moved)
    }

    /// Whoever had the number of a port that was moved may have ended, or another may have it: one
    /// that somebody has all the same is looked for only if `thorough`, among all processes.
    /// Whether something is new.
    pub fn renew_reasons(&mut self, thorough: bool) -> bool {
        let (owners, mut is_new) = (Owners::default(), false);
        for (port, mapping) in self.ports.iter_mut().filter(|(_, it)| it.is_moved()) {
            let was_free = mapping.place.why_not == Some(WhyNot::Kept);
            if was_free != owners.has(*port) && !thorough {
                continue;
            }
            let why = Some(owners.why(*port));
            is_new |= mapping.place.why_not != why;
            mapping.place.why_not = why;
        }
        is_new
    }

    pub fn is_full(&self) -> bool {
        self.ports.values().any(|it| it.place.why_not == Some(WhyNot::Full))
    }

    fn put(&mut self, port: u16, place: Place) {
        if let Some(mapping) = self.ports.get_mut(&port) {
            mapping.place = place;
        }
    }

    fn why_not(&self, port: u16) -> Option<WhyNot> {
        self.ports.get(&port)?.place.why_not.clone()
    }

    pub fn number(&self, port: u16) -> Option<u16> {
        self.door(port).map(|door| door.number)
    }

    /// Keeps the number that it is pinned to before anybody listens there, for as long as one that
    /// is gone keeps its own. Whoever connects meanwhile is refused.
    pub fn expect(&mut self, port: u16, ledger: &Ledger, now: Instant) {
        if self.ports.contains_key(&port) || !ledger.of(port).is_pinned {
            return;
        }
        let owners = &Owners::default();
        let choice = Choice { ledger, is_anothers: &|_| false, owners };
        let mut place = match choice.unwanted(port) {
            Some(unwanted) => unwanted,
            None if self.doors().count() < DOORS => choice.first(port).unwrap_or_default(),
            None => full(),
        };
        place.door.iter_mut().for_each(Door::shut);
        let mapping = Mapping { place, gone_since: Some(now), ..Mapping::default() };
        self.ports.insert(port, mapping);
    }

    /// The user wants it elsewhere, or nowhere: its place is chosen anew.
    pub fn forget_place(&mut self, port: u16) {
        if let Some(mapping) = self.ports.get_mut(&port) {
            mapping.place = Place::default();
            if mapping.view.is_none() {
                self.ports.remove(&port);
            }
        }
    }

    /// The same of all of them.
    pub fn forget_places(&mut self) {
        self.ports.retain(|_, it| it.view.is_some());
        self.ports.values_mut().for_each(|it| it.place = Place::default());
    }

    /// Lets go of numbers that nobody has used for long. Whether there were some.
    pub fn let_go(&mut self, now: Instant) -> bool {
        let before = self.ports.len();
        let is_old = |since: Instant| now.saturating_duration_since(since) >= KEPT;
        self.ports.retain(|_, it| !it.gone_since.is_some_and(is_old));
        let mut gone: Vec<(Instant, u16)> =
            self.ports.iter().filter_map(|(port, it)| Some((it.gone_since?, *port))).collect();
        gone.sort();
        for (_, port) in gone.iter().take(gone.len().saturating_sub(KEPT_MOST)) {
            self.ports.remove(port);
        }
        self.ports.len() != before
    }

    /// Whether there is one that waits for a number that is taken.
    pub fn waits(&self) -> bool {
        let hopes = |why: &WhyNot| !matches!(why, WhyNot::Excluded | WhyNot::Off);
        let place = |it: &Mapping| it.place.door.is_none().then(|| it.place.why_not.clone());
        self.ports.values().filter_map(place).flatten().any(|why| hopes(&why))
    }

    /// Whether there is one whose number is only kept.
    pub fn keeps(&self) -> bool {
        self.ports.values().any(|it| it.gone_since.is_some())
    }

    /// Whether there is one that only half of this machine can reach.
    pub fn is_half(&self) -> bool {
        self.doors().any(|(_, door)| door.is_half())
    }

    /// Of those, whatever can be had now.
    pub fn complete(&mut self) {
        let doors = self.ports.values_mut().filter_map(|it| it.place.door.as_mut());
        doors.filter(|door| door.is_half()).for_each(Door::complete);
    }

    pub fn door(&self, port: u16) -> Option<&Door> {
        self.ports.get(&port)?.place.door.as_ref()
    }

    /// Doors, each with its port.
    pub fn doors(&self) -> impl Iterator<Item = (u16, &Door)> {
        self.ports.iter().filter_map(|(port, it)| Some((*port, it.place.door.as_ref()?)))
    }

    pub fn seen(&self, port: u16) -> Option<Arc<Seen>> {
        self.ports.get(&port).map(|it| it.seen.clone())
    }

    /// Where this laptop answers.
    pub fn mapped(&self) -> Mapped {
        Mapped { ports: self.doors().map(|(port, door)| (port, door.number)).collect() }
    }

    pub fn views(&self, ledger: &Ledger) -> Vec<MirrorView> {
        self.ports.iter().map(|(port, it)| it.view(*port, ledger)).collect()
    }

    /// How it is with one, which nobody may have told of.
    pub fn view(&self, port: u16, ledger: &Ledger) -> MirrorView {
        self.ports.get(&port).unwrap_or(&Mapping::default()).view(port, ledger)
    }
}

fn full() -> Place {
    Place { why_not: Some(WhyNot::Full), ..Place::default() }
}

impl Mapping {
    fn is_moved(&self) -> bool {
        let why = &self.place.why_not;
        self.place.door.is_some() && matches!(why, Some(WhyNot::Taken { .. } | WhyNot::Kept))
    }

    fn view(&self, port: u16, ledger: &Ledger) -> MirrorView {
        let tally = &self.seen.tally;
        MirrorView {
            port,
            server: self.view.clone(),
            local: self.place.door.as_ref().map(|door| door.number),
            why_not: self.place.why_not.clone(),
            is_pinned: ledger.of(port).is_pinned,
            state: self.view.as_ref().map_or(PortState::Gone, |_| self.seen.state()),
            bytes_up: tally.up.load(Ordering::Relaxed),
            bytes_down: tally.down.load(Ordering::Relaxed),
            connections: u32::try_from(tally.open.load(Ordering::Relaxed)).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};

    use super::*;
    use crate::host::paths::Paths;
    use crate::sys::listener;

    #[test]
    fn a_number_that_is_pinned_is_kept_before_anybody_listens() {
        let dir = std::env::temp_dir().join(format!("hopbox-map-{}", std::process::id()));
        let (mut ledger, _) = Ledger::open(&Paths::below(&dir), "mybox");
        let (mut map, now) = (Map::default(), Instant::now());
        // The kernel gives those below its own to nobody else.
        let first = 19_000 + (std::process::id() % 900) as u16;
        let port = (first..).find(|port| listener::is_free(*port)).unwrap();
        map.expect(port, &ledger, now);
        assert!(map.views(&ledger).is_empty(), "nobody wants it");
        ledger.change(port, |entry| (entry.local, entry.is_pinned) = (Some(port), true));
        map.expect(port, &ledger, now);
        let view = map.view(port, &ledger);
        assert_eq!((view.local, view.state), (Some(port), PortState::Gone));
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err(), "it is kept");
        let connects = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        assert!(!connects() || !cfg!(target_os = "linux"));
        let (addresses, owner) = (vec![IpAddr::from(Ipv4Addr::LOCALHOST)], Default::default());
        map.listens(PortView { port, addresses, owner, since_unix_ms: 0, hidden: 0 });
        assert!(map.settle(&mut ledger).is_empty() && connects());
        map.gone(port, now);
        map.forget_place(port);
        assert!(map.views(&ledger).is_empty());
        // Whoever has it is told of.
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        map.expect(port, &ledger, now);
        let view = map.view(port, &ledger);
        assert!(taken.is_err() || matches!(view.why_not, Some(WhyNot::Taken { .. })));
        assert!(taken.is_err() || view.local.is_none());
        // For a while.
        assert!(!map.let_go(now) && map.let_go(now + KEPT) && map.views(&ledger).is_empty());
    }
}
