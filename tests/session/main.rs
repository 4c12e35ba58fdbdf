//! Sessions that live, between machines in namespaces: started, disturbed, killed, and several at
//! once. Needs root. `HOP_SESSION=full` runs what takes minutes at its full length.

mod advice;
mod autostart;
mod beside;
mod bridge;
mod bridge_pages;
mod contexts;
mod cuts;
mod desk;
mod disk;
mod doctor;
mod figures;
mod flooded;
mod hidden;
mod hosts;
mod intruder;
mod kills;
mod live;
mod many_ports;
mod mirror;
mod monitor;
mod moved;
mod network;
mod odd_servers;
mod osc52;
mod path_mtu;
mod port_figures;
mod ports;
mod programs;
mod real_ports;
mod real_services;
mod rotate;
mod run;
mod same_port;
mod service_figures;
mod service_flood;
mod services;
mod shielded;
mod snap;
mod ssh_pipe;
mod ssh_price;
mod sshd;
mod storm;
mod stranger;
mod transport;
mod twins;
mod userspace;
mod wait;
mod workspace;
mod world;

/// Packets that are made by hand.
#[allow(dead_code)] // some of it is for the tunnel's own tests
#[path = "../../src/tunnel/test_packets.rs"]
mod test_packets;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Tests that measure have the machine for themselves.
static MACHINE: RwLock<()> = RwLock::new(());

fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}

fn full() -> bool {
    std::env::var_os("HOP_SESSION").is_some_and(|value| value == "full")
}
