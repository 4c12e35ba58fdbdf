//! A session's socket: one JSON line in, one out.
//!
//! | asked | answered with | when |
//! |---|---|---|
//! | `facts` | the facts of `hop up` | at once |
//! | `status` | every layer as it is now | when a fresh question to the agent is answered or late |
//! | `mended` | the same | when no layer is broken, or not within 6.5 s |
//! | `events` | all that happened and is remembered | at once |
//! | `rekey` | `{"rekeyed":true}` | when the tunnel has the keys that are on the disk |
//! | `down` | `{"state":"down"}` | when everything has been undone |
//! | `stay` | `{"state":"stay"}` | at once; the connection ends when the session's end begins |
//!
//! The socket lies in a directory that only its user can enter, so whoever can connect may ask.
//! `server` is the session's end, `client` whoever asks.

mod client;
mod server;

pub use client::{Live, answers, down, events, facts, live, mended, rekey, status, stay};
pub use server::{Ask, Control, Farewell, listen};

#[cfg(test)]
mod tests;
