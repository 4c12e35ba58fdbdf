//! What a daemon offers, seen from the socket. Must not know: what it is.

use crate::core::conn::Outcome;
use crate::core::operation::Operation;
use crate::core::peer_cred::Admission;
use crate::proto::OpError;
use serde_json::Value;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Instant;

pub trait Service: Sized + 'static {
    fn operations() -> &'static [Operation<Self>];

    /// Who may connect.
    fn admission(&self) -> &Admission;

    /// Reads the configuration again; where it is wrong the old one stays.
    fn reload(&mut self, config: &Path) -> Result<(), String>;

    /// Puts right what is not as it is written; the report for the audit log.
    fn reconcile(&mut self) -> Value;

    /// Nobody holds anything: there is nothing to look after.
    fn is_idle(&self) -> bool;

    /// Readable when the machine has changed.
    fn watches(&self) -> Vec<BorrowedFd<'_>>;

    /// The machine may have changed.
    fn look(&mut self, now: Instant);

    /// Time has passed.
    fn tick(&mut self, now: Instant);

    /// A new start is needed to go on.
    fn is_detached(&self) -> bool;

    /// A new start is needed to know who may connect.
    fn is_outdated(&self) -> bool;

    /// Whether the end of a connection would leave something to undo, and the undoing of it.
    fn holds(&self, conn: u64) -> bool;
    fn end_connection(&mut self, conn: u64);

    /// Readable when what was begun (`Done::Later`) goes on; then `advance` is called.
    fn awaited(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }
    fn advance(&mut self) {}

    /// What has come of something that was begun, and for which connection; each one once.
    fn finished(&mut self) -> Option<(u64, Outcome)> {
        None
    }

    /// Takes everything back.
    fn end_all(&mut self) -> Result<(), OpError>;

    /// What was done to the machine since the last call, for the audit log; and how that is called
    /// there if nobody has asked for it.
    const UNASKED: &'static str;
    fn take_changes(&mut self) -> Vec<String>;

    /// What `daemon.health` says of it besides, and what is the matter with it.
    fn health(&self) -> Value;
    fn limits(&self) -> Value;
    fn troubles(&self) -> Vec<String>;
}
