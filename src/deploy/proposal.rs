//! What setup would do to a server: what it would send, and what an agent would take there.

use std::collections::BTreeSet;

use super::artifacts::Programs;
use super::numbers;
use super::options::Options;
use super::preflight::Survey;
use super::versions::{self, Policy};
use crate::base::address_plan::{self, Route, Uses};
use crate::base::failure::{Failure, Fault};
use crate::host::paths::Paths;
use crate::ssh::right::Right;

/// What an agent that is not there yet would take. It sees more as root, such as what another
/// WireGuard that is not running is configured to have, and may choose something else.
pub struct Proposal {
    pub interface: String,
    pub port: u16,
    pub number: u8,
}

impl Proposal {
    fn of(survey: &Survey, wanted: &[u8]) -> Result<Proposal, &'static str> {
        let words = |fact| survey.get(fact).split_whitespace();
        let links: BTreeSet<&str> = words("links").collect();
        let ports = words("udp").filter_map(|port| u16::from_str_radix(port, 16).ok());
        let ports: BTreeSet<u16> = ports.collect();
        let route = |words: &str| {
            let mut words = words.split(',');
            Route::from_hex(words.next()?, words.next()?, words.next()?)
        };
        let own = words("own").filter_map(|ip| ip.parse().ok());
        let uses = Uses::of(words("routes").filter_map(route), own);
        Ok(Proposal {
            interface: address_plan::interface(|name| links.contains(name))
                .ok_or("no free name for an interface")?,
            port: address_plan::port(|port| ports.contains(&port))
                .ok_or("no free UDP port from 51820 on")?,
            number: address_plan::pick(wanted, &uses)
                .ok_or("no 10.10.N.0/24 that is free on both machines")?,
        })
    }

    pub fn in_short(&self) -> String {
        format!(", UDP {} and {} are free", self.port, address_plan::network(self.number))
    }
}

/// What a setup would do.
pub struct Plan {
    pub machine: String,
    pub kernel: String,
    pub user: String,
    /// The programs that would be sent.
    pub send: Vec<&'static str>,
    pub asks_password: bool,
    /// `None`: the agent there keeps what it has.
    pub take: Option<Proposal>,
}

pub fn plan(
    paths: &Paths,
    options: &Options,
    survey: &Survey,
    programs: Programs,
) -> Result<Plan, Failure> {
    let missing = versions::missing(survey, programs, Policy::KeepWorking);
    // What installs the helpers is a part of them.
    let send = missing.iter().map(|program| program.name).filter(|name| *name != "hop-install");
    Ok(Plan {
        machine: survey.machine().to_owned(),
        kernel: survey.get("kernel").to_owned(),
        user: survey.get("user").to_owned(),
        send: send.collect(),
        asks_password: survey.sudo == Right::Asks,
        take: of(paths, options, survey)?,
    })
}

/// `None` where an agent is, which keeps what it has.
pub fn of(paths: &Paths, options: &Options, survey: &Survey) -> Result<Option<Proposal>, Failure> {
    if !survey.get("agent").is_empty() {
        return Ok(None);
    }
    let numbers = numbers::of(paths, &options.name)?;
    Proposal::of(survey, &numbers.free).map(Some).map_err(|why| {
        let what = format!("{} cannot be set up", options.target.address);
        Failure::new(Fault::Busy, what, format!("there is {why}"), "ip route")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_uses_is_not_taken() {
        let survey = |facts: &str| {
            Survey::parse(&format!("hopbox-survey=1\nsudo=free\n{facts}end=yes\n")).unwrap()
        };
        let wanted: Vec<u8> = (0..=255).collect();
        let fresh = Proposal::of(&survey("links=eth0 lo\n"), &wanted).ok().unwrap();
        assert_eq!((fresh.interface.as_str(), fresh.port, fresh.number), ("wg0", 51820, 0));
        let facts = "links=hopbox0 lo wg0\nudp=0035 CA6C CA6D\nown=10.10.1.9\n\
                     routes=00000000,0101A8C0,00000000 00000A0A,00000000,00FFFFFF\n";
        let busy = Proposal::of(&survey(facts), &wanted).ok().unwrap();
        assert_eq!((busy.interface.as_str(), busy.port, busy.number), ("hopbox1", 51822, 2));
        assert!(Proposal::of(&survey(facts), &[0, 1]).is_err());
    }
}
