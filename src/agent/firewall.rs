//! Ports of this server in its firewall, as hop-helper-server lets them in. For both of the agent's
//! processes, and for what root runs. Must not know: who asks for which.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::json::ReadError;
use crate::helper::HelperError;
use crate::helper::firewall::Firewall;
use crate::rpc::types::firewall::{
    APP, Closed, Closing, Effective, History, OF, Protocol, Rule, Rules, Spec, TUNNEL, app_of,
    of_tunnel,
};
use crate::rpc::types::{Message, Nothing};

/// Why something was not done.
pub enum NotDone {
    /// There is no such rule.
    Unknown,
    /// It is the tunnel's own: who asks could not be answered.
    Tunnel,
    /// There is no helper for it.
    Absent(String),
    /// The one that there is does not know how.
    Older(String),
    Failed(String),
}

pub type Done<T> = Result<T, NotDone>;

impl NotDone {
    pub fn why(self) -> String {
        match self {
            NotDone::Unknown => "no such port is open".to_owned(),
            NotDone::Tunnel => "it is the tunnel's own port".to_owned(),
            NotDone::Absent(why) | NotDone::Older(why) | NotDone::Failed(why) => why,
        }
    }
}

impl From<HelperError> for NotDone {
    fn from(error: HelperError) -> NotDone {
        match error {
            HelperError::Missing { .. } => {
                NotDone::Absent(format!("there is no hop-helper-server: {error}"))
            }
            _ if error.is_older() => {
                NotDone::Older(format!("hop-helper-server is older than the agent: {error}"))
            }
            _ => NotDone::Failed(error.to_string()),
        }
    }
}

impl From<ReadError> for NotDone {
    fn from(error: ReadError) -> NotDone {
        NotDone::Failed(format!("the helper's answer: {error}"))
    }
}

/// The rules of this user, all of them for root. One that cannot be read is none of ours.
fn rules(firewall: &mut Firewall, app: Option<&str>) -> Done<Rules> {
    let (rules, more) = firewall.rules(app)?;
    Ok(Rules { rules: rules.into_iter().filter_map(|rule| Rule::of(rule).ok()).collect(), more })
}

pub fn list() -> Done<Rules> {
    rules(&mut Firewall::connect()?, None)
}

pub fn history() -> Done<History> {
    let told = Firewall::connect()?.history()?;
    Ok(History::of(told)?)
}

/// Returns what was open. Where it waits for a confirmation, the helper alone keeps the time.
pub fn close(Closing { id, confirm_s }: &Closing) -> Done<Closed> {
    let mut firewall = Firewall::connect()?;
    let all = rules(&mut firewall, None)?.rules;
    let rule = all.into_iter().find(|rule| rule.id == *id).ok_or(NotDone::Unknown)?;
    if rule.spec.app == APP {
        return Err(NotDone::Tunnel);
    }
    let confirm = match confirm_s {
        Some(within_s) => Some(firewall.try_close(id, *within_s)?),
        None => {
            firewall.close(id)?;
            None
        }
    };
    Ok(Closed { rule, confirm })
}

pub fn confirm(name: &str) -> Done<Nothing> {
    Firewall::connect()?.confirm(name)?;
    Ok(Nothing)
}

/// Has the tunnel's ports open, and no other one that was the tunnel's before. Says what the rest
/// of the machine makes of the first.
pub fn open_tunnel(port: u16, second: Option<u16>) -> Done<Effective> {
    let mut firewall = Firewall::connect()?;
    let (first, second) = (of_tunnel(port), second.map(of_tunnel));
    let ours = rules(&mut firewall, Some(APP))?.rules;
    let (good, other): (Vec<Rule>, Vec<Rule>) = ours
        .into_iter()
        .partition(|rule| rule.spec == first || Some(&rule.spec) == second.as_ref());
    for rule in other.iter().filter(|rule| rule.spec.description == TUNNEL) {
        firewall.close(&rule.id)?;
    }
    let mut have = |spec: &Spec| -> Done<Effective> {
        match good.iter().find(|rule| rule.spec == *spec) {
            Some(rule) => Ok(rule.effective.clone()),
            None => Ok(open(&mut firewall, spec)?.effective),
        }
    };
    let effective = have(&first)?;
    second.map_or(Ok(()), |second| have(&second).map(drop))?;
    Ok(effective)
}

fn open(firewall: &mut Firewall, spec: &Spec) -> Done<Rule> {
    Ok(Rule::of(firewall.open(spec.to_json())?)?)
}

/// Closes what the agent has opened; by root, when there is none any more.
pub fn close_all() -> Done<()> {
    let mut firewall = Firewall::connect()?;
    loop {
        // It tells no more at once than fit into a reply.
        let mut ours = rules(&mut firewall, None)?.rules;
        ours.retain(|rule| rule.spec.app == APP || rule.spec.app.starts_with(OF));
        if ours.is_empty() {
            return Ok(());
        }
        ours.iter().try_for_each(|rule| firewall.close(&rule.id))?;
    }
}

/// Ports of a workspace that are open to everybody, each with its service.
pub fn open_of(workspace: &str) -> Done<BTreeMap<u16, String>> {
    let rules = rules(&mut Firewall::connect()?, Some(&app_of(workspace)))?.rules;
    Ok(rules.into_iter().filter_map(|rule| Some((port(&rule)?, rule.spec.description))).collect())
}

/// Of a rule as `publish` makes them.
fn port(rule: &Rule) -> Option<u16> {
    let (first, last) = rule.spec.ports;
    let is_ours = rule.spec.protocol == Protocol::Tcp && rule.spec.source == "any";
    (is_ours && first == last).then_some(first)
}

/// Opens them for a service, all of them or none.
pub fn publish(workspace: &str, service: &str, ports: &BTreeSet<u16>) -> Done<Vec<Rule>> {
    let (mut firewall, app) = (Firewall::connect()?, app_of(workspace));
    let mut opened: Vec<Rule> = Vec::new();
    for port in ports {
        let spec = Spec::of(Protocol::Tcp, *port, &app, service);
        match open(&mut firewall, &spec) {
            Ok(rule) => opened.push(rule),
            Err(error) => {
                opened.iter().for_each(|rule| drop(firewall.close(&rule.id)));
                return Err(error);
            }
        }
    }
    Ok(opened)
}

/// That one is closed already is no error.
pub fn unpublish(workspace: &str, ports: &BTreeSet<u16>) -> Done<()> {
    let mut firewall = Firewall::connect()?;
    let rules = rules(&mut firewall, Some(&app_of(workspace)))?.rules;
    let them = rules.iter().filter(|rule| port(rule).is_some_and(|port| ports.contains(&port)));
    them.map(|rule| &rule.id).try_for_each(|id| Ok(firewall.close(id)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_that_does_not_know_an_operation_is_older() {
        let of = |code: &str| HelperError::Op {
            code: code.to_owned(),
            message: "there is no such operation".to_owned(),
            field: None,
            retry: false,
            of_another: false,
        };
        let NotDone::Older(why) = of("unknown_op").into() else { panic!("not older") };
        assert!(why.starts_with("hop-helper-server is older than the agent"), "{why}");
        assert!(matches!(of("kernel_error").into(), NotDone::Failed(_)));
    }
}
