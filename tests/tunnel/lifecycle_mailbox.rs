//! The way in for other threads, compiled here as it is, under many threads at once: whoever asks
//! gets an answer or an error, also when the other side ends in that very moment. It
//! takes its turn with the tests that count descriptors, so it needs root like them.

use crate::lab::alone;
use hopbox::sys::poll::{Interest, wait_one};
use hopbox::tunnel::{Offload, Status};
use mailbox::{COMMANDS, Command, Inlet, Outlet};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

#[path = "../../src/tunnel/mailbox.rs"]
mod mailbox;

/// What the mailbox passes on without looking at it.
mod stats {
    pub use hopbox::tunnel::Status;
}

mod request {
    #[derive(Default)]
    pub struct Request {
        pub replace_peers: bool,
    }
}

const ROUNDS: u64 = 1_000;
const TIME: Duration = Duration::from_secs(15);
const SENDERS: u64 = 6;
/// A question that is not answered after this long hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of questions, over all rounds.
#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    full: AtomicU64,
    ended: AtomicU64,
}

impl Tally {
    /// Whether the other side is still there.
    fn note<T>(&self, result: std::io::Result<T>) -> bool {
        let (counter, alive) = match result.as_ref().map_err(|e| e.kind()) {
            Ok(_) => (&self.answered, true),
            Err(ErrorKind::WouldBlock) => (&self.full, true),
            Err(ErrorKind::BrokenPipe) => (&self.ended, false),
            Err(other) => panic!("nobody answered: {other:?}"),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        alive
    }
}

/// Asks in turn for everything until the other side is gone, and then gets the same error again.
fn ask(outlet: &Outlet, tally: &Tally, mut n: u64) {
    loop {
        n += 1;
        let alive = match n % 5 {
            0 => tally.note(outlet.ask(Command::Get, PATIENCE)),
            1 => tally.note(outlet.ask(Command::Status, PATIENCE)),
            2 => tally.note(outlet.ask(|r| Command::Apply(Box::default(), r), PATIENCE)),
            3 if n % 2 == 0 => tally.note(outlet.post(Command::HandshakeAll)),
            4 if n % 2 == 0 => tally.note(outlet.post(Command::TryAt([7; 32], Vec::new()))),
            4 => tally.note(outlet.post(Command::Reconnect([7; 32], Vec::new()))),
            // More at once than the queue holds.
            _ => (0..=COMMANDS / 4).all(|_| tally.note(outlet.post(Command::NetworkChanged))),
        };
        if !alive {
            let again = outlet.ask(Command::Get, PATIENCE).map_err(|e| e.kind());
            return assert_eq!(again.err(), Some(ErrorKind::BrokenPipe));
        }
    }
}

/// Answers as the loop of the data plane does, and ends after `left` commands or when told to.
fn serve(inlet: Inlet, mut left: u64) {
    loop {
        wait_one(inlet.as_fd(), Interest::READ, None).expect("poll");
        inlet.drain();
        for _ in 0..COMMANDS {
            let Some(command) = inlet.take() else { break };
            match command {
                Command::Get(reply) => drop(reply.try_send(Zeroizing::default())),
                Command::Status(reply) => drop(reply.try_send(status())),
                Command::Apply(request, reply) => {
                    assert!(!request.replace_peers);
                    let _ = reply.try_send(Ok(()));
                }
                Command::NetworkChanged | Command::HandshakeAll => {}
                Command::Reconnect(peer, remotes) | Command::TryAt(peer, remotes) => {
                    assert!(peer == [7; 32] && remotes.is_empty());
                }
                Command::Stop => return,
            }
            left = left.saturating_sub(1);
            if left == 0 {
                return;
            }
        }
    }
}

fn status() -> Status {
    Status {
        interface: String::new(),
        running: true,
        listen_port: 0,
        second_port: None,
        path: None,
        mtu: 0,
        peers: Vec::new(),
        drops: Vec::new(),
        clamped_deadlines: 0,
        tun_offload: Offload::Nothing,
        refused_batches: 0,
    }
}

#[test]
fn whoever_asks_gets_an_answer_or_hears_that_nobody_is_there() {
    alone(storm);
}

fn storm() {
    let (began, tally, mut rounds) = (Instant::now(), Tally::default(), 0);
    while rounds < ROUNDS && began.elapsed() < TIME {
        let (outlet, inlet) = mailbox::pair().expect("mailbox");
        // Every other round ends by a stop that competes with the questions for its place.
        let commands = if rounds % 2 == 0 { u64::MAX } else { 1 + rounds * 7 % 300 };
        std::thread::scope(|scope| {
            scope.spawn(move || serve(inlet, commands));
            for n in 0..SENDERS {
                let (outlet, tally) = (&outlet, &tally);
                scope.spawn(move || ask(outlet, tally, n));
            }
            if commands == u64::MAX {
                while outlet.post(Command::Stop).is_err_and(|e| e.kind() == ErrorKind::WouldBlock) {
                    std::thread::yield_now();
                }
            }
        });
        rounds += 1;
    }
    let [answered, full, ended] =
        [&tally.answered, &tally.full, &tally.ended].map(|n| n.load(Ordering::Relaxed));
    println!(
        "{rounds} rounds in {:.1?}: {answered} answered, {full} refused as full, {ended} ended",
        began.elapsed()
    );
    assert!(rounds >= ROUNDS / 10, "only {rounds} rounds in {TIME:?}");
    assert!(answered > 0 && ended == rounds * SENDERS);
}

#[test]
fn a_handle_that_is_dropped_stops_the_other_side() {
    alone(|| {
        let (outlet, inlet) = mailbox::pair().expect("mailbox");
        drop(outlet);
        assert!(matches!(inlet.take(), Some(Command::Stop)));
    });
}
