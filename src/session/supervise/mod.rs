//! While a host is up.

mod recover;
mod status;
mod supervisor;

pub use supervisor::{End, Supervisor};
