//! The tunnel's ports in the server's firewall: opened at the start, and looked at again whenever
//! somebody asks how it is, on a thread of its own, since what makes it may hang. Whoever asks is
//! told what was seen last, and never waits.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::agent::{firewall, log};
use crate::rpc::types::firewall::{Effective, Opened};

/// Between two looks, however often it is asked for.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Shared {
    seen: Option<Opened>,
    is_wanted: bool,
    has_ended: bool,
}

type Room = Arc<(Mutex<Shared>, Condvar)>;

/// Ends its thread when it is dropped, as soon as that returns from what it does.
pub struct PortRule(Room);

fn locked(room: &Room) -> MutexGuard<'_, Shared> {
    room.0.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PortRule {
    /// `second`: the one besides, if there is one.
    pub fn keep(port: u16, second: Option<u16>) -> PortRule {
        PortRule::begin(move || match firewall::open_tunnel(port, second) {
            Ok(effective) => Opened::Is(effective),
            Err(not) => Opened::Not(not.why()),
        })
    }

    fn begin(look: impl Fn() -> Opened + Send + 'static) -> PortRule {
        let room = Room::default();
        let own = room.clone();
        let begun = thread::Builder::new().name("port rule".to_owned()).spawn(move || {
            while is_wanted_again(&own) {
                let seen = look();
                let before = locked(&own).seen.replace(seen.clone());
                if before.as_ref() != Some(&seen) {
                    log(&told(&seen));
                }
                thread::sleep(PAUSE);
            }
        });
        if let Err(error) = begun {
            log(&format!("the firewall is not looked at: {error}"));
        }
        PortRule(room)
    }

    /// What was seen last; it is looked at again for whoever asks next.
    pub fn seen(&self) -> Option<Opened> {
        let mut shared = locked(&self.0);
        shared.is_wanted = true;
        self.0.1.notify_one();
        shared.seen.clone()
    }
}

/// Waits for that; false at the end. The first time it is.
fn is_wanted_again(room: &Room) -> bool {
    let mut shared = locked(room);
    while shared.seen.is_some() && !shared.is_wanted && !shared.has_ended {
        shared = room.1.wait(shared).unwrap_or_else(PoisonError::into_inner);
    }
    shared.is_wanted = false;
    !shared.has_ended
}

fn told(seen: &Opened) -> String {
    match seen {
        Opened::Is(Effective::Accepted) => "the firewall lets the tunnel's port in".to_owned(),
        Opened::Is(Effective::Shadowed(chain)) => {
            format!("the firewall drops what comes to the tunnel's port, by the chain {chain}")
        }
        Opened::Is(Effective::Unknown(chain)) => {
            format!("whether the firewall lets the tunnel's port in depends on the chain {chain}")
        }
        Opened::Not(why) => format!("no rule of the firewall for the tunnel's port: {why}"),
    }
}

impl Drop for PortRule {
    fn drop(&mut self) {
        locked(&self.0).has_ended = true;
        self.0.1.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn it_is_looked_at_once_and_then_for_whoever_asks() {
        let (tell, told) = mpsc::channel();
        let rule = PortRule::begin(move || {
            let _ = tell.send(());
            Opened::Is(Effective::Accepted)
        });
        let looked = || told.recv_timeout(Duration::from_secs(30)).is_ok();
        assert!(looked());
        // Asked for while it is looked at, and not: there is one more look, and a last answer.
        let seen = || {
            (0..3000).find_map(|_| {
                thread::sleep(Duration::from_millis(10));
                rule.seen()
            })
        };
        assert_eq!(seen(), Some(Opened::Is(Effective::Accepted)));
        assert!(looked());
        drop(rule);
        while told.recv_timeout(Duration::from_secs(30)).is_ok() {}
        assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Disconnected), "its thread has ended");
    }
}
