//! The protocol as a whole, under two virtual clocks: what goes out, what comes in, and when.
//!
//! Rule ids (`R01`–`R102`) above a test name the rules it shows.

mod packet;
mod sim;
mod stranger;

mod abuse;
mod clocks;
mod config;
mod cookies;
mod crossing;
mod data;
mod ecn;
mod floods;
mod handshake;
mod identities;
mod keepalives;
mod lifecycle;
mod model;
mod rekey;
mod replay;
mod roaming;
mod routing;
mod timers;
