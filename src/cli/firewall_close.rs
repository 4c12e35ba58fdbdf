//! `hop firewall close`: a port is closed for a while, and for good once that was confirmed through
//! the tunnel. Whoever has cut himself off by it, or has died, has the port open again.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::command::{Call, Command, Group, Takes};
use super::firewall::{ask, list_command, refused, short};
use super::service_names::There;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::rpc::client::CallError;
use crate::rpc::method::{FirewallClose, FirewallConfirm, FirewallList};
use crate::rpc::types::firewall::{Closing, Confirm, Rule};
use crate::rpc::types::{Message, Nothing};

/// How long the server waits for the confirmation, in seconds.
const CONFIRM_S: u64 = 30;
/// For one try of it.
const TRY: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);

pub const CLOSE: Command = Command {
    name: "firewall close",
    summary: "close a port that is open to everybody",
    usage: "hop firewall close <port>",
    details: "As hop firewall ls has it: tcp/8080, or the rule's own name. The server opens it\n\
              again unless this laptop says, through the tunnel and within 30 s, that it still\n\
              gets there. The tunnel's port stays open as long as there is an agent; hop\n\
              uninstall closes it.",
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
    let rules = ask(&there, FirewallList, &Nothing)?.rules;
    let rule = one(&rules, &word).map_err(|why| {
        let what = format!("no port {word:?} is open on {}", there.host);
        Failure::new(Fault::NotFound, what, why, list_command(&there))
    })?;
    let (port, app) = (short(&rule.spec.text()), short(&rule.spec.app));
    call.consent(&format!("Close {port} of {app} on {}?", there.host), list_command(&there))?;
    close_there(&there, rule)?;
    let data = json!({"host": there.host, "rule": rule.to_json()});
    call.out.answer("firewall.close", data, format!("{port} is closed on {}", there.host))?;
    Ok(Code::Done)
}

/// The rule that a word names, which is the only one at its ports.
fn one<'a>(rules: &'a [Rule], word: &str) -> Result<&'a Rule, String> {
    let named: Vec<&Rule> =
        rules.iter().filter(|rule| rule.id == word || rule.spec.text() == word).collect();
    match named[..] {
        [rule] => Ok(rule),
        [] if rules.is_empty() => Err("hopbox has opened nothing there".to_owned()),
        [] => {
            let known: Vec<String> = rules.iter().map(|rule| rule.spec.text()).collect();
            Err(format!("open are {}", short(&known.join(", "))))
        }
        _ => {
            let known: Vec<&str> = named.iter().map(|rule| rule.id.as_str()).collect();
            Err(format!("there are several: {}", short(&known.join(", "))))
        }
    }
}

/// In the server's own firewall. Each question is a connection of its own, so that the confirmation
/// shows that there can be one.
fn close_there(there: &There, rule: &Rule) -> Result<(), Failure> {
    let began = Instant::now();
    let closing = Closing { id: rule.id.clone(), confirm_s: Some(CONFIRM_S) };
    let closed = match there.client.call(FirewallClose, &closing, TRY) {
        Ok(closed) => closed,
        Err(error) if error.is_passing() => return Err(cut_off(there, rule, &error)),
        Err(error) => return Err(refused(there, error)),
    };
    let Some(id) = closed.confirm else { return Ok(()) };
    confirm(there, rule, &Confirm { id }, began + Duration::from_secs(CONFIRM_S))
}

fn confirm(there: &There, rule: &Rule, which: &Confirm, end: Instant) -> Result<(), Failure> {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match there.client.call(FirewallConfirm, which, left.min(TRY)) {
            Ok(Nothing) => return Ok(()),
            Err(error) if error.is_passing() && !left.is_zero() => thread::sleep(PAUSE),
            Err(error) if error.is_passing() => return Err(cut_off(there, rule, &error)),
            // Of an earlier try the answer may have been lost.
            Err(error) => {
                let rules = ask(there, FirewallList, &Nothing)?.rules;
                let is_open = rules.iter().any(|other| other.id == rule.id);
                return if is_open { Err(refused(there, error)) } else { Ok(()) };
            }
        }
    }
}

fn cut_off(there: &There, rule: &Rule, error: &CallError) -> Failure {
    let (port, host) = (short(&rule.spec.text()), &there.host);
    let what = format!("{port} on {host} is not closed for good");
    let why = format!(
        "{error}; unless the server has heard the confirmation, it opens {port} again within \
         {CONFIRM_S} s"
    );
    Failure::new(Fault::Unreachable, what, why, fix!("hop doctor {}", host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::types::firewall::{Effective, Protocol, Spec};

    #[test]
    fn a_port_is_named_as_it_is_listed() {
        let rule = |id: &str, port| {
            let spec = Spec::of(Protocol::Tcp, port, "app", "");
            Rule { id: id.to_owned(), spec, since: 7, effective: Effective::Accepted }
        };
        let rules = [rule("rule-1", 80), rule("rule-2", 81), rule("rule-3", 81)];
        assert_eq!(one(&rules, "tcp/80").unwrap().id, "rule-1");
        assert_eq!(one(&rules, "rule-3").unwrap().id, "rule-3");
        assert_eq!(one(&rules, "tcp/81").unwrap_err(), "there are several: rule-2, rule-3");
        assert_eq!(one(&rules, "80").unwrap_err(), "open are tcp/80, tcp/81, tcp/81");
        assert!(one(&[], "tcp/80").is_err());
    }
}
