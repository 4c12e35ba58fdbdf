//! The loop of the process: the server's news, who connects, who asks. One thread, one sleep.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::choice::Place;
use super::connect::{Changed, Connections, Wanted};
use super::control::Control;
use super::ledger::{Entry, Ledger};
use super::map::{DOORS, Map};
use super::view::{MirrorAsk, MirrorViews, PortChange, WhyNot};
use super::watch::{self, News, Teller};
use crate::host::paths::Paths;
use crate::rpc::client::Client;
use crate::rpc::types::Message;
use crate::rpc::types::ports::{Mapped, PortEvent};
use crate::session::companion::Life;
use crate::sys::poll::{self, Interest, Wake};
use crate::sys::process;

/// Connections of one address before others have their turn.
const AT_ONCE: usize = 16;
/// News before who connects has its turn.
const NEWS_AT_ONCE: usize = 256;
/// After a connection that there was no descriptor for.
const TIRED: Duration = Duration::from_millis(50);
/// How often a number or a family that could not be had is tried again, and old ones looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Changes are told together.
const TOLD_EVERY: Duration = Duration::from_millis(50);

struct Mirror<'a> {
    paths: &'a Paths,
    host: &'a str,
    life: &'a Life,
    map: Map,
    ledger: Ledger,
    news: Receiver<News>,
    connections: Connections,
    teller: Teller,
    client: Option<Arc<Client>>,
    /// Those told of since the stream began, until all are.
    fresh: Option<BTreeSet<u16>>,
    told: Mapped,
    /// The server is asked at this moment.
    is_live: bool,
    /// More listen there than are answered for.
    is_full: bool,
    wake: Arc<Wake>,
    has_changed: Arc<AtomicBool>,
    looked: Instant,
    shown: Instant,
}

/// Stays until the session ends.
pub fn run(paths: &Paths, host: &str, life: &Life) -> io::Result<()> {
    process::raise_descriptor_limit();
    let (ledger, why) = Ledger::open(paths, host);
    why.iter().for_each(|why| life.say(why));
    let mut control = match Control::open(paths, host) {
        Ok(control) => Some(control),
        Err(failure) => {
            life.say(&format!("nobody can ask: {}: {}", failure.what, failure.why));
            None
        }
    };
    let (wake, has_changed) = (Arc::new(Wake::new()?), Arc::default());
    let mut mirror = Mirror {
        paths,
        host,
        life,
        map: Map::default(),
        ledger,
        news: watch::start(paths.clone(), host.to_owned(), wake.clone())?,
        connections: Connections::start(on_change(&wake, &has_changed))?,
        teller: Teller::start()?,
        client: None,
        fresh: None,
        told: Mapped::default(),
        is_live: false,
        is_full: false,
        wake,
        has_changed,
        looked: Instant::now(),
        shown: Instant::now(),
    };
    while !life.is_over() {
        let came = mirror.wait(control.as_ref())?;
        mirror.turn(&came, control.as_mut());
    }
    Ok(())
}

impl Mirror<'_> {
    /// Until something happens; at which ports somebody is then.
    fn wait(&self, control: Option<&Control>) -> io::Result<Vec<u16>> {
        let mut fds =
            vec![(self.life.as_fd(), Interest::READ), (self.wake.as_fd(), Interest::READ)];
        fds.extend(control.iter().flat_map(|control| control.fds()));
        let others = fds.len();
        let doors = self.map.doors().flat_map(|(port, door)| door.fds().map(move |fd| (port, fd)));
        let (ports, doors): (Vec<u16>, Vec<_>) = doors.unzip();
        fds.extend(doors.into_iter().map(|fd| (fd, Interest::READ)));
        let map = &self.map;
        let looks = map.waits() || map.keeps() || map.is_half() || map.is_moved();
        let look = looks.then_some(self.looked + LOOK_EVERY);
        let show = self.has_changed.load(Ordering::Acquire).then_some(self.shown + TOLD_EVERY);
        let due = look.into_iter().chain(show).min();
        let left = due.map(|due| due.saturating_duration_since(Instant::now()));
        let mut seen = Vec::new();
        poll::wait(&fds, &mut seen, left)?;
        self.wake.drain();
        let came = ports.into_iter().zip(seen.into_iter().skip(others));
        let mut came: Vec<u16> = came.filter(|(_, it)| it.any()).map(|(port, _)| port).collect();
        came.dedup();
        Ok(came)
    }

    fn turn(&mut self, came: &[u16], control: Option<&mut Control>) {
        self.accept(came);
        self.hear();
        self.look();
        if let Some(client) = &self.client {
            self.connections.begin(client);
        }
        if let Some(control) = control {
            control.serve(|asked| self.answer(asked));
            let is_due = self.shown.elapsed() >= TOLD_EVERY;
            if is_due && self.has_changed.swap(false, Ordering::AcqRel) {
                self.shown = Instant::now();
                control.tell(&self.views());
            }
        }
    }

    fn changed(&self) {
        self.has_changed.store(true, Ordering::Release);
    }

    /// What the server says.
    fn hear(&mut self) {
        let now = Instant::now();
        let mut is_any = false;
        for count in 1..=NEWS_AT_ONCE {
            match self.news.try_recv() {
                Ok(News::Began(client)) => {
                    (self.client, self.fresh) = (Some(client), Some(BTreeSet::new()));
                    // It may be another agent, which has to be told all.
                    self.told = Mapped::default();
                    self.is_live = true;
                }
                Ok(News::Lost) => self.is_live = false,
                Ok(News::Event(event)) => self.event(event, now),
                Err(_) => break,
            }
            is_any = true;
            if count == NEWS_AT_ONCE {
                self.wake.wake();
            }
        }
        if is_any {
            // All that listen are known before the first number is chosen.
            if self.fresh.is_none() {
                self.settle();
            }
            self.changed();
        }
    }

    fn event(&mut self, event: PortEvent, now: Instant) {
        match event {
            PortEvent::Listens(view) => {
                self.fresh.iter_mut().for_each(|fresh| fresh.extend([view.port]));
                self.map.listens(*view);
            }
            PortEvent::Gone(port) => {
                self.fresh.iter_mut().for_each(|fresh| fresh.retain(|it| *it != port));
                self.map.gone(port, now);
            }
            PortEvent::Settled => {
                if let Some(fresh) = self.fresh.take() {
                    self.map.gone_but(&fresh, now);
                }
            }
        }
    }

    /// Finds places, and says once which are others than one would expect.
    fn settle(&mut self) {
        for (port, place) in self.map.settle(&mut self.ledger) {
            self.life.say(&said(self.host, port, self.map.number(port), &place));
        }
        let was_full = std::mem::replace(&mut self.is_full, self.map.is_full());
        if self.is_full && !was_full {
            let host = self.host;
            self.life.say(&format!("{DOORS} ports of {host} are here: no more are answered for"));
        }
        if let Err(error) = self.ledger.save(self.paths) {
            self.life.say(&format!("what is where is not remembered: {error}"));
        }
        let mapped = self.map.mapped();
        if let Some(client) = self.client.as_ref().filter(|_| mapped != self.told) {
            self.teller.tell(client, mapped.clone());
            self.told = mapped;
        }
    }

    /// Now and then: a number that was taken may be free, and one that is kept need not be.
    fn look(&mut self) {
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        self.map.complete();
        if self.map.let_go(self.looked) | self.map.renew_reasons(false) {
            self.changed();
        }
        if self.map.waits() && self.fresh.is_none() {
            let before = self.map.mapped();
            self.settle();
            if self.map.mapped() != before {
                self.changed();
            }
        }
    }

    fn accept(&mut self, ports: &[u16]) {
        let mut came = Vec::new();
        let mut is_tired = false;
        for (port, door) in ports.iter().filter_map(|port| Some((*port, self.map.door(*port)?))) {
            match door.accept(AT_ONCE) {
                Ok(streams) => {
                    came.extend(streams.into_iter().map(|it| (port, door.is_open(), it)))
                }
                Err(_) => is_tired = true,
            }
        }
        for (port, is_open, near) in came {
            match (self.client.as_ref().filter(|_| is_open), self.map.seen(port)) {
                (Some(_), Some(seen)) => self.connections.add(Wanted { port, near, seen }),
                _ => crate::sys::loopback::reset(near),
            }
        }
        if is_tired {
            thread::sleep(TIRED);
        }
    }

    fn views(&self) -> MirrorViews {
        MirrorViews { ports: self.map.views(&self.ledger), is_live: self.is_live }
    }

    fn answer(&mut self, asked: MirrorAsk) -> Result<Value, String> {
        match asked {
            MirrorAsk::List | MirrorAsk::Watch => {
                if self.map.renew_reasons(true) {
                    self.changed();
                }
                Ok(self.views().to_json())
            }
            MirrorAsk::Auto(is_on) => {
                if self.ledger.set_auto(is_on) {
                    self.map.forget_places();
                }
                self.after_change()?;
                Ok(self.views().to_json())
            }
            MirrorAsk::Change(change) => {
                self.change(change);
                self.after_change()?;
                Ok(self.map.view(change.port(), &self.ledger).to_json())
            }
        }
    }

    fn after_change(&mut self) -> Result<(), String> {
        let saved = self.ledger.save(self.paths);
        if self.fresh.is_none() {
            self.settle();
        }
        self.changed();
        saved.map_err(|error| format!("it is not remembered: {error}"))
    }

    fn change(&mut self, change: PortChange) {
        let port = change.port();
        let number = self.map.number(port);
        self.change_one(port, |entry| match change {
            PortChange::Pin { local, .. } => {
                let local = local.or(entry.local).or(number).unwrap_or(port);
                (entry.local, entry.is_pinned, entry.is_excluded) = (Some(local), true, false);
            }
            PortChange::Unpin(_) => (entry.local, entry.is_pinned) = (None, false),
            PortChange::Exclude(_) => (entry.is_excluded, entry.is_pinned) = (true, false),
            PortChange::Include(_) => entry.is_excluded = false,
        });
        self.map.expect(port, &self.ledger, Instant::now());
    }

    fn change_one(&mut self, port: u16, how: impl FnOnce(&mut Entry)) {
        if self.ledger.change(port, how) {
            self.map.forget_place(port);
        }
    }
}

fn on_change(wake: &Arc<Wake>, has_changed: &Arc<AtomicBool>) -> Changed {
    let (wake, has_changed) = (wake.clone(), has_changed.clone());
    Arc::new(move |is_new| {
        has_changed.fetch_or(is_new, Ordering::AcqRel);
        wake.wake();
    })
}

/// For the log.
fn said(host: &str, port: u16, number: Option<u16>, place: &Place) -> String {
    let why = match &place.why_not {
        Some(WhyNot::Taken { by: Some(by) }) => format!("{by} has {port} here"),
        Some(WhyNot::Taken { by: None }) => format!("{port} is taken here"),
        Some(WhyNot::Privileged) => format!("{port} is for root alone here"),
        Some(WhyNot::SshForward { by }) => {
            let by = by.as_deref().unwrap_or("ssh");
            format!("a forwarding of your {by} has {port} here")
        }
        Some(WhyNot::Full) => "no number is free, or there are too many".to_owned(),
        Some(WhyNot::Excluded | WhyNot::Off | WhyNot::Pinned | WhyNot::Kept) | None => {
            "as asked".to_owned()
        }
    };
    match number {
        Some(number) => format!("port {port} of {host} is at localhost:{number}: {why}"),
        None => format!("port {port} of {host} is nowhere here: {why}"),
    }
}
