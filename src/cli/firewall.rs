//! `hop firewall ls` and `history`: ports of a server that hopbox has let in for this login.

use std::time::Duration;

use serde_json::{Value, json};

use super::command::{Call, Command, Group, Takes};
use super::grid::Grid;
use super::page::{Line, Page};
use super::service_names::There;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::base::time_text::date_time;
use crate::cloud::api::{Action, Status};
use crate::cloud::firewall::{Firewall, Grant};
use crate::deploy::{opener, provider};
use crate::fix;
use crate::host::store;
use crate::rpc::client::CallError;
use crate::rpc::code::Code as Refusal;
use crate::rpc::method::{FirewallHistory, FirewallList, Method};
use crate::rpc::types::firewall::{Change, History, Rule, Rules};
use crate::rpc::types::{Message, Nothing};
use crate::text::fix::Fix;
use crate::text::shown;

/// A change of a firewall may take its time there.
const LIMIT: Duration = Duration::from_secs(20);
/// Most that is shown of what others wrote, in characters.
const SHOWN: usize = 200;

pub const LS: Command = Command {
    name: "firewall ls",
    summary: "ports of a host that are open to everybody",
    usage: "hop firewall ls [host]",
    details: "What hopbox has let in there for your login: the tunnel's own port, in a table of\n\
              its own in nftables. EFFECT says what the rest of that firewall makes of it:\n\
              accepted; shadowed, which is dropped by the chain that is named; unknown, where it\n\
              depends on more than rules. What lets in what is shadowed is told below, where the\n\
              server can be asked over SSH without a question. A firewall of the provider is not\n\
              seen from there: what is open in it is told where it is declared (hop firewall\n\
              backend).",
    example: "hop firewall ls mybox",
    group: Group::Hosts,
    flags: &[],
    operands: (0, 1),
    takes: Takes::Host,
    hidden: false,
    run: ls,
};

pub const HISTORY: Command = Command {
    name: "firewall history",
    summary: "what was opened and closed, the last one first",
    usage: "hop firewall history [host]",
    details: "The changes of your login, from the log that root keeps there, which is rotated:\n\
              200 at most. A change that failed is there with why it did.",
    example: "hop firewall history --json",
    group: Group::Hosts,
    flags: &[],
    operands: (0, 1),
    takes: Takes::Host,
    hidden: false,
    run: history,
};

fn ls(call: &mut Call) -> Result<Code, Failure> {
    let there = There::of_named(call)?;
    let Rules { rules, more } = ask(&there, FirewallList, &Nothing)?;
    if more {
        let text = "there are more than the server tells at once";
        call.out.warn("more_rules", text);
    }
    let mut page = match rules.is_empty() {
        true => Page::from(format!("hopbox has opened nothing on {}", there.host)),
        false => table(&rules, call.out.room()),
    };
    let mut code = Code::Done;
    let host = store::load(&call.paths()?, &there.host)?;
    let fixes = opener::of_rules(&call.paths()?, &host, &rules);
    let listed = rules.iter().map(|rule| with_fix(rule, fixes.get(&rule.id)));
    let mut data = json!({"host": there.host, "rules": listed.collect::<Vec<_>>()});
    fixes.values().for_each(|fix| page.add(Line::from(format!("fix: {fix}")).whole()));
    if let Some(provider) = &host.provider {
        let name = provider.backend.word();
        match provider::of(&host).map(|mut hetzner| hetzner.list()).transpose() {
            Ok(grants) => {
                let grants = grants.unwrap_or_default();
                let specs: Vec<Value> = grants.iter().map(|grant| grant.spec.to_json()).collect();
                data["provider"] =
                    json!({"backend": name, "firewall": provider.firewall, "rules": specs});
                page.add("");
                page.add(format!("At {name}, in its firewall {}:", provider.firewall));
                page.append(at_provider(&grants, call.out.room()));
            }
            Err(failure) => {
                call.out.warn("provider_not_read", &format!("{}: {}", failure.what, failure.why));
                code = Code::Partial;
            }
        }
    }
    call.out.answer("firewall.ls", data, page)?;
    Ok(code)
}

fn with_fix(rule: &Rule, fix: Option<&Fix>) -> Value {
    let mut told = rule.to_json();
    told["fix"] = fix.map(|fix| json!(**fix)).into();
    told
}

fn history(call: &mut Call) -> Result<Code, Failure> {
    let there = There::of_named(call)?;
    let History { entries } = ask(&there, FirewallHistory, &Nothing)?;
    let mut page = match entries.is_empty() {
        true => Page::from(format!("nothing was changed on {}", there.host)),
        false => told(&entries, call.out.room()),
    };
    let listed: Vec<Value> = entries.iter().map(Message::to_json).collect();
    let mut data = json!({"host": there.host, "entries": listed});
    let mut code = Code::Done;
    let host = store::load(&call.paths()?, &there.host)?;
    if let Some(hetzner) = provider::of(&host) {
        match hetzner.api().actions_since(0) {
            Ok(actions) => {
                data["provider"] = actions.iter().map(action_json).collect();
                page.add("");
                page.add(format!("At {}, whoever it was:", hetzner.name()));
                page.append(actions_told(&actions, call.out.room()));
            }
            Err(trouble) => {
                let text = format!("the changes at {} cannot be read: {trouble}", hetzner.name());
                call.out.warn("provider_not_read", &text);
                code = Code::Partial;
            }
        }
    }
    call.out.answer("firewall.history", data, page)?;
    Ok(code)
}

fn at_provider(grants: &[Grant], room: Option<usize>) -> Page {
    if grants.is_empty() {
        return Page::from("hopbox has opened nothing there");
    }
    let mut grid = Grid::new(["PORT", "FOR", "FROM"]);
    for Grant { spec, .. } in grants {
        grid.row([short(&spec.text()), short(&spec.app), short(&spec.source)]);
    }
    grid.page(room)
}

fn word(status: &Status) -> String {
    match status {
        Status::Running => "running".to_owned(),
        Status::Success => "done".to_owned(),
        Status::Failed(why) => format!("failed: {}", short(why)),
    }
}

fn action_json(action: &Action) -> Value {
    let Action { id, command, status, started } = action;
    json!({"id": id, "command": command, "status": word(status), "started": started})
}

fn actions_told(actions: &[Action], room: Option<usize>) -> Page {
    if actions.is_empty() {
        return Page::from("nothing was changed there");
    }
    let mut grid = Grid::new(["WHEN", "WHAT", "STATE"]);
    for action in actions.iter().take(SHOWN) {
        grid.row([short(&action.started), short(&action.command), word(&action.status)]);
    }
    grid.page(room)
}

pub fn list_command(there: &There) -> Fix {
    fix!("hop firewall ls {}", there.host)
}

pub fn ask<M: Method>(there: &There, method: M, params: &M::Params) -> Result<M::Answer, Failure> {
    there.client.call(method, params, LIMIT).map_err(|error| refused(there, error))
}

pub fn refused(there: &There, error: CallError) -> Failure {
    let code = match &error {
        CallError::Remote { code, .. } => Some(*code),
        _ => None,
    };
    let failure = there.failed(error);
    match code {
        Some(Refusal::NoFirewall) => {
            Failure { fault: Fault::No, next: fix!("hop setup {}", there.host), ..failure }
        }
        Some(Refusal::Conflict | Refusal::NotFound) => {
            Failure { next: list_command(there), ..failure }
        }
        _ => failure,
    }
}

fn table(rules: &[Rule], room: Option<usize>) -> Page {
    let mut grid = Grid::new(["PORT", "FOR", "EFFECT", "FROM", "SINCE", "RULE"]);
    for rule in rules {
        let effect = match rule.effective.chain().filter(|chain| !chain.is_empty()) {
            Some(chain) => format!("{}: {chain}", rule.effective.word()),
            None => rule.effective.word().to_owned(),
        };
        grid.row([
            short(&rule.spec.text()),
            short(&rule.spec.app),
            short(&effect),
            short(&rule.spec.source),
            date_time(rule.since),
            short(&rule.id),
        ]);
    }
    grid.page(room)
}

fn told(entries: &[Change], room: Option<usize>) -> Page {
    let mut grid = Grid::new(["WHEN", "WHAT"]);
    for entry in entries {
        let what = match entry.is_ok {
            true => entry.changes.join("; "),
            false => format!("{}: {}", entry.op, entry.code.as_deref().unwrap_or("failed")),
        };
        grid.row([date_time(entry.at), short(&what)]);
    }
    grid.page(room)
}

pub fn short(text: &str) -> String {
    shown(&text.chars().take(SHOWN).collect::<String>()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::types::firewall::{Effective, Protocol, Spec};

    fn rule(id: &str, port: u16) -> Rule {
        let spec = Spec::of(Protocol::Tcp, port, "a\u{1b}[2Jpp", "");
        let effective = Effective::Shadowed("ip f \u{9b}c\n".to_owned());
        Rule { id: id.to_owned(), spec, since: 7, effective }
    }

    #[test]
    fn what_a_server_says_is_data() {
        let change = Change {
            at: 7,
            uid: 0,
            op: "x\r".to_owned(),
            is_ok: true,
            code: None,
            changes: vec!["open \u{1b}]0;x\u{7} ".repeat(500)],
        };
        let failed = Change { is_ok: false, ..change.clone() };
        for page in [table(&[rule("r\u{202e}", 80)], None), told(&[change, failed], None)] {
            let text = page.render(false, None);
            assert!(!text.contains(|c: char| c != '\n' && c.is_control()), "{text:?}");
            assert!(!text.contains('\u{202e}') && text.len() < 4000, "{text:?}");
        }
    }
}
