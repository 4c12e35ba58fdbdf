//! Who holds which device and which name, and the undoing of both.

mod leases;
mod look;
mod names;
mod patience;
mod reconcile;

pub use leases::{Caller, HOSTS_MAX, HOSTS_PER_UID, LEASES_MAX, LEASES_PER_UID, Leases};
