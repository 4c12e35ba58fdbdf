//! What lets a port of a server in that its own firewall drops: a command of whoever writes those
//! rules, since a rule that is put between theirs goes when they are written anew.

use std::collections::BTreeMap;

use super::preflight::Survey;
use super::remote::Remote;
use crate::fix;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::rpc::types::firewall::{Effective, Protocol, Rule};
use crate::ssh::target::Target;
use crate::text::fix::Fix;

/// Who writes rules of its own, and the table that they are in.
const WRITERS: [(&str, &str); 2] = [("ufw", "filter"), ("firewalld", "firewalld")];

pub struct Opener<'a> {
    pub target: &'a Target,
    pub survey: &'a Survey,
}

impl Opener<'_> {
    /// `chain` is the one that drops what comes, as family, table and name, where that is known.
    /// `None` where nothing there is known to drop it.
    pub fn lets_in(&self, chain: Option<&str>, port: u16, protocol: Protocol) -> Option<Fix> {
        let (firewall, word) = (self.survey.get("firewall"), protocol.word());
        let foreign = chain.map(|chain| chain.split(' ').collect::<Vec<_>>());
        let command = match foreign.as_deref() {
            Some([_, table, _]) if WRITERS.contains(&(firewall, table)) => None,
            Some([family, table, chain]) => Some(fix!(
                "sudo nft insert rule {} {} {} {} dport {} accept",
                family,
                table,
                chain,
                word,
                port
            )),
            Some(_) => Some("sudo nft list ruleset".into()),
            None => None,
        };
        let command = command.or_else(|| match firewall {
            "ufw" => Some(fix!("sudo ufw allow {}/{}", port, word)),
            "firewalld" => Some(firewalld(&match self.survey.get("zone") {
                "" => fix!("--add-port={}/{}", port, word),
                zone => fix!("--zone={} --add-port={}/{}", zone, port, word),
            })),
            _ => None,
        })?;
        Some(self.target.by_hand(command))
    }
}

/// For later, and from now on.
pub fn firewalld(what: &Fix) -> Fix {
    fix!("sudo firewall-cmd --permanent {} && sudo firewall-cmd --reload", what)
}

/// What lets in what is open and dropped all the same, by the names of the rules. Only where
/// something is does that ask the server, over SSH; nothing is told where that would ask the user.
pub fn of_rules(paths: &Paths, host: &HostConfig, rules: &[Rule]) -> BTreeMap<String, Fix> {
    let dropped = || {
        rules.iter().filter_map(|rule| match &rule.effective {
            // A command that opens one port to everybody is none for less, or for more.
            Effective::Shadowed(chain) if rule.spec.source == "any" => {
                let (first, last) = rule.spec.ports;
                (first == last).then_some((rule, chain, first))
            }
            _ => None,
        })
    };
    if host.ssh.is_none() || dropped().next().is_none() {
        return BTreeMap::new();
    }
    let Ok(remote) = Remote::glance(paths, host) else { return BTreeMap::new() };
    let Ok(survey) = remote.survey() else { return BTreeMap::new() };
    let opener = Opener { target: &remote.target, survey };
    let advised = dropped().filter_map(|(rule, chain, port)| {
        Some((rule.id.clone(), opener.lets_in(Some(chain), port, rule.spec.protocol)?))
    });
    advised.collect()
}
