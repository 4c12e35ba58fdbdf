//! What this daemon is: its configuration, and its families of operations, side by side. Must not
//! know: how one of them works.

use crate::net::config::Config;
use crate::server::errands::Errands;
use crate::server::firewall::Firewall;
use crate::server::nginx::Sites;

pub struct Host {
    pub config: Config,
    pub firewall: Firewall,
    pub errands: Errands,
    pub sites: Sites,
}
