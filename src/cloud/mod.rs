//! Firewalls of providers, asked from the laptop with a token of its user's. What they let in is
//! beside what a server's own firewall lets in: who is to be reached needs both.
//!
//! Reading order: `firewall` (what a firewall is to whoever wants a port; several as one) →
//! `trouble` (why a provider did not do it) → `token` → `curl` (one request over HTTPS) → `api`
//! (Hetzner's, question by question) → `mark` (a rule of ours among those of others) → `hetzner` (a
//! change that leaves the others as they are).
//!
//! Knows no hosts, sessions or agents, and no TLS: that is curl's.

pub mod api;
pub mod curl;
pub mod firewall;
pub mod hetzner;
mod mark;
pub mod token;
pub mod trouble;
