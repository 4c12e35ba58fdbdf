//! Ports at which this login's programs listen, and those of its workspaces' containers: told to
//! whoever watches, and connected with. Another user's are neither seen nor reached.
//!
//! Nobody is told by the kernel that something listens, so it is asked, every 200 ms as long as
//! somebody watches, and not at all else.
//!
//! Reading order: `table` (what is told) → `owners` (which process), `owner` (what there is of it),
//! `checkout` and `checkouts` (what it works in), `published` (containers) → `connect`, `mapped`
//! (what laptops say).
//!
//! Must not know: who asks, and how it is told.

mod checkout;
mod checkouts;
mod connect;
pub mod mapped;
mod owner;
mod owners;
mod published;
mod table;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

pub use connect::connect;
pub use table::api_is_at;

use crate::rpc::types::Message;
use crate::rpc::types::ports::{PortEvent, PortView, Ports};

pub const TICK: Duration = Duration::from_millis(200);
/// Of an answer, which has to fit into a line.
const LIST_BYTES: usize = 900 * 1024;

/// By port.
type Views = BTreeMap<u16, PortView>;

/// Who listens now, as far as one answer tells of it; a stream tells of all.
pub fn list() -> Ports {
    let (mut bytes, views) = (0, table::now());
    let fits = |view: &&PortView| {
        bytes += view.to_json().to_string().len() + 1;
        bytes <= LIST_BYTES
    };
    Ports { ports: views.values().take_while(fits).cloned().collect() }
}

/// Until nobody wants it any more. Who takes little is told less: what changed twice between two
/// looks is told as it is then.
pub fn watch(
    tell: &mut dyn FnMut(&PortEvent) -> io::Result<()>,
    rest: &mut dyn FnMut() -> io::Result<()>,
) {
    let mut known = table::recent();
    let mut told = known.values().try_for_each(|view| tell(&listens(view)));
    told = told.and_then(|()| tell(&PortEvent::Settled));
    while told.is_ok() && rest().is_ok() {
        let now = table::recent();
        told = changes(&known, &now).iter().try_for_each(&mut *tell);
        known = now;
    }
}

fn listens(view: &PortView) -> PortEvent {
    PortEvent::Listens(Box::new(view.clone()))
}

fn changes(before: &Views, now: &Views) -> Vec<PortEvent> {
    let gone = before.keys().filter(|port| !now.contains_key(port));
    let new = now.iter().filter(|(port, view)| before.get(port) != Some(view));
    let gone = gone.map(|port| PortEvent::Gone(*port));
    gone.chain(new.map(|(_, view)| listens(view))).collect()
}
