//! Who holds which device and which name, and the undoing of both.

mod leases;
mod look;
mod names;
mod patience;
mod service;

pub use leases::Leases;
