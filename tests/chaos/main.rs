//! Chaos: a tunnel over a bad line. What arrives is always right, and after a fault everything
//! flows again within the protocol's limits.
//!
//! `cargo test --test chaos` runs a part that takes 90 seconds. `make chaos` (HOP_CHAOS=full) runs
//! the whole, long outages included, with wireguard-go at either end too, HOP_RUNS times (3) with
//! new seeds. HOP_SEED=0x… repeats a run. Needs root.

mod faults;
#[allow(dead_code)] // the engines are started by site.rs, which freezes and kills them
#[path = "../e2e/netns.rs"]
mod netns;
mod outages;
mod relay;
mod rng;
mod run;
mod site;
mod traffic;
mod userspace;
mod weather;
