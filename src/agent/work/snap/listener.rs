//! Who hears how far something is, and may go before it is done.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::json;

use crate::agent::work::beat::has_gone;
use crate::base::line_socket::put;
use crate::rpc::types::Message;
use crate::rpc::types::snap::{Created, Far, Stage, Told};

/// One that takes nothing holds nothing up.
const TAKE_WITHIN: Duration = Duration::from_secs(2);

pub trait Listener {
    fn tell(&self, told: Told<Created>);
    fn is_wanted(&self) -> bool;

    fn stage(&self, stage: Stage) {
        self.tell(Told::Stage(stage));
    }

    fn note(&self, note: String) {
        self.tell(Told::Note(note));
    }

    fn far(&self, far: Far) {
        self.tell(Told::Far(far));
    }
}

/// A laptop.
pub struct OnStream<'a>(&'a UnixStream);

impl OnStream<'_> {
    pub fn of(stream: &UnixStream) -> OnStream<'_> {
        let _ = stream.set_write_timeout(Some(TAKE_WITHIN));
        OnStream(stream)
    }
}

impl Listener for OnStream<'_> {
    fn tell(&self, told: Told<Created>) {
        // Whoever has gone is found out at the next look.
        let _ = put(self.0, &json!({"event": told.to_json()}).to_string());
    }

    fn is_wanted(&self) -> bool {
        !has_gone(self.0)
    }
}
