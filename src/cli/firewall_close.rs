//! `hop firewall close`: a port is closed at the provider and on the server, and stays so only
//! where the tunnel is there after it.

use std::time::Duration;

use serde_json::json;

use super::command::{Call, Command, Group, Takes};
use super::firewall::{ask, list_command, short};
use super::firewall_local::{self, Local};
use super::service_names::There;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::cloud::firewall::{Composite, Firewall, Grant, Guarded, told};
use crate::deploy::provider;
use crate::host::store;
use crate::rpc::method::FirewallList;
use crate::rpc::types::firewall::Rule;
use crate::rpc::types::{Message, Nothing};

/// For the agent to answer through the tunnel after a change.
const ANSWERS: Duration = Duration::from_secs(10);

pub const CLOSE: Command = Command {
    name: "firewall close",
    summary: "close a port that is open to everybody",
    usage: "hop firewall close <port>",
    details: "As hop firewall ls has it: tcp/8080, or the rule's own name. It is closed at the\n\
              provider, where one is declared, and on the server, which opens it again unless\n\
              this laptop says, through the tunnel and within 30 s, that it still gets there. The\n\
              tunnel's port stays open as long as there is an agent; hop uninstall closes it.",
    example: "hop firewall close tcp/8080 -H mybox",
    group: Group::Hosts,
    flags: &[],
    operands: (1, 1),
    takes: Takes::Word,
    hidden: false,
    run: close,
};

fn close(call: &mut Call) -> Result<Code, Failure> {
    let there = There::of(call)?;
    let word = call.args.operands.first().cloned().unwrap_or_default();
    let host = store::load(&call.paths()?, &there.host)?;
    let mut hetzner = provider::of(&host);
    let mut local = Local(&there);
    let rules = ask(&there, FirewallList, &Nothing)?.rules;
    let of_rule = |rule: &Rule| Grant { id: rule.id.clone(), spec: rule.spec.clone() };
    let mut grants: Vec<Grant> = rules.iter().map(of_rule).collect();
    let mut unread = None;
    match hetzner.as_mut().map(Firewall::list).transpose() {
        Ok(more) => {
            let is_new = |grant: &Grant| rules.iter().all(|rule| rule.spec != grant.spec);
            grants.extend(more.into_iter().flatten().filter(is_new));
        }
        // What is open on the server is closed there all the same.
        Err(failure) => unread = Some(failure),
    }
    let grant = one(&grants, &word).map_err(|why| {
        let what = format!("no port {word:?} is open on {}", there.host);
        let none = Failure::new(Fault::NotFound, what, why, list_command(&there));
        unread.take().unwrap_or(none)
    })?;
    let (spec, port) = (&grant.spec, short(&grant.spec.text()));
    let question = format!("Close {port} of {} on {}?", short(&spec.app), there.host);
    call.consent(&question, list_command(&there))?;
    if firewall_local::is_tunnels(spec) {
        let what = format!("{port} on {} stays open", there.host);
        let why = "it is the tunnel's own port";
        return Err(Failure::new(Fault::Busy, what, why, list_command(&there)));
    }
    let is_there = || there.client.health(ANSWERS).map(drop).map_err(|error| error.to_string());
    let mut guarded =
        hetzner.as_mut().map(|hetzner| Guarded { firewall: hetzner, is_there: &is_there });
    let mut all: Vec<&mut dyn Firewall> = vec![&mut local];
    if let Some(guarded) = &mut guarded {
        all.push(guarded);
    }
    let count = all.len();
    let mut missed = Composite(all).revoke(spec);
    if let Some(hetzner) = &hetzner {
        provider::tell_overlap(call, hetzner);
    }
    if count == 1 {
        if let Some((_, failure)) = missed.pop() {
            return Err(failure);
        }
    }
    if !missed.is_empty() {
        let what = format!("{port} of {} is not closed everywhere", there.host);
        return Err(told(&what, missed, count, list_command(&there)));
    }
    let rule = rules.iter().find(|rule| rule.id == grant.id).map(Message::to_json);
    let rule = rule.unwrap_or_else(|| json!({"rule_id": null, "spec": spec.to_json()}));
    let data = json!({"host": there.host, "rule": rule});
    call.out.answer("firewall.close", data, format!("{port} is closed on {}", there.host))?;
    Ok(Code::Done)
}

/// The one that a word names, which is the only one at its ports.
fn one<'a>(grants: &'a [Grant], word: &str) -> Result<&'a Grant, String> {
    let named: Vec<&Grant> =
        grants.iter().filter(|grant| grant.id == word || grant.spec.text() == word).collect();
    match named[..] {
        [grant] => Ok(grant),
        [] if grants.is_empty() => Err("hopbox has opened nothing there".to_owned()),
        [] => {
            let known: Vec<String> = grants.iter().map(|grant| grant.spec.text()).collect();
            Err(format!("open are {}", short(&known.join(", "))))
        }
        _ => {
            let known: Vec<&str> = named.iter().map(|grant| grant.id.as_str()).collect();
            Err(format!("there are several: {}", short(&known.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::types::firewall::{Protocol, Spec};

    #[test]
    fn a_port_is_named_as_it_is_listed() {
        let grant = |id: &str, port| {
            let spec = Spec::of(Protocol::Tcp, port, "app", "");
            Grant { id: id.to_owned(), spec }
        };
        let grants = [grant("rule-1", 80), grant("rule-2", 81), grant("rule-3", 81)];
        assert_eq!(one(&grants, "tcp/80").unwrap().id, "rule-1");
        assert_eq!(one(&grants, "rule-3").unwrap().id, "rule-3");
        assert_eq!(one(&grants, "tcp/81").unwrap_err(), "there are several: rule-2, rule-3");
        assert_eq!(one(&grants, "80").unwrap_err(), "open are tcp/80, tcp/81, tcp/81");
        assert!(one(&[], "tcp/80").is_err());
    }
}
