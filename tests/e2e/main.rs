//! Real devices, real sockets, and strangers at the other end. Needs root.
//!
//! Comments name the rules (R…) that a test shows, the scenario (E…), and the place in the kernel's
//! own list of scenarios (netns 1–37) where it has one.

mod base;
mod capture;
mod configuration;
mod ecn;
mod flood;
mod flooder;
mod interop;
mod loops;
mod mtu;
mod nat;
mod netns;
mod policy;
mod quick;
mod quiet;
mod roaming;
mod sticky;
mod traffic;
mod tunnel;
