//! Firewalls of providers, by a real curl(1) against a server that behaves like one.

mod command;
mod faults;
mod provider;
