//! `hop host peers` and `hop host revoke`: the laptops that a host admits. Through the tunnel, or
//! over SSH when it is down.

use std::time::Duration;

use serde_json::{Value, json};

use super::command::{Call, Command, Takes};
use super::page::Page;
use super::remote::Remote;
use super::target_host;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::config::{self, HostConfig};
use crate::host::paths::Paths;
use crate::rpc::client::CallError;
use crate::rpc::method;
use crate::session::through;
use crate::text::cell;

const LIMIT: Duration = Duration::from_secs(5);

pub const LIST: Command = Command {
    name: "host peers",
    summary: "list the laptops that a host admits",
    usage: "hop host peers [host]",
    details: "Each laptop has its own key, address and token. A star marks this one. Asks the\n\
              agent through the tunnel, or over SSH when the tunnel is down.",
    flags: &[],
    operands: (0, 1),
    takes: Takes::Host,
    hidden: false,
    run: list,
};

pub const REVOKE: Command = Command {
    name: "host revoke",
    summary: "lock a laptop out of a host",
    usage: "hop host revoke <peer>",
    details: "The peer is named as hop host peers shows it, by name or public key. Its tunnel ends\n\
              at once; nothing on that laptop is changed. For this laptop there is hop uninstall.",
    flags: &[],
    operands: (1, 1),
    takes: Takes::Word,
    hidden: false,
    run: revoke,
};

fn list(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let name = target_host::host(call, &paths)?;
    let host = config::load(&paths, &name)?;
    let answer = ask(call, &paths, &host, method::PEERS_LIST, json!({}), "peers list")?;
    let peers: Vec<Value> = answer["peers"].as_array().cloned().unwrap_or_default();
    let page = table(&peers, &answer["you"], &host);
    call.out.answer(
        "host.peers",
        json!({"host": name, "peers": peers, "you": answer["you"]}),
        page,
    )?;
    Ok(Code::Done)
}

fn table(peers: &[Value], you: &Value, host: &HostConfig) -> Page {
    let word = |value: &Value| cell(value.as_str().unwrap_or("-")).into_owned();
    let width =
        peers.iter().map(|peer| word(&peer["name"]).chars().count()).max().unwrap_or(0).max(4);
    let mut page = Page::default();
    page.add(format!("  {:width$}  {:15}  {:11}  PUBLIC KEY", "PEER", "ADDRESS", "HANDSHAKE"));
    let own = host.local_ip.to_string();
    for peer in peers {
        let is_us = match you {
            Value::String(key) => peer["public_key"] == key.as_str(),
            _ => peer["address"] == own.as_str(),
        };
        let star = if is_us { '*' } else { ' ' };
        let seen = match peer["last_handshake_age_s"].as_u64() {
            Some(age) => format!("{age} s ago"),
            None => "-".to_owned(),
        };
        let (name, address, key) =
            (word(&peer["name"]), word(&peer["address"]), word(&peer["public_key"]));
        page.add(format!("{star} {name:width$}  {address:15}  {seen:11}  {key}"));
    }
    page
}

fn revoke(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let peer = call.args.operands.first().cloned().unwrap_or_default();
    let name = target_host::host_beside(call, &paths)?;
    let host = config::load(&paths, &name)?;
    if !plain(&peer) {
        let why = "a peer is named by its name or its public key";
        return Err(Failure::usage(format!("no peer {peer:?}"), why, "hop host peers"));
    }
    call.consent(&format!("Lock {peer} out of {name}?"), fix!("hop host peers {}", name))?;
    let words = format!("peers remove {peer}");
    let params = json!({"peer": peer});
    let gone = ask(call, &paths, &host, method::PEERS_REMOVE, params, &words)?;
    let said = gone["name"].as_str().unwrap_or(&peer).to_owned();
    let text = format!("the ssh key of {said}, if it has one there, still opens {name}");
    call.out.warn("ssh_key_stays", &text);
    let data = json!({"host": name, "peer": gone});
    call.out.answer("host.revoke", data, format!("{said} is locked out of {name}"))?;
    Ok(Code::Done)
}

/// What goes into a command line on the other side.
fn plain(word: &str) -> bool {
    let byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+/=".contains(&byte);
    !word.is_empty() && word.len() <= 63 && word.bytes().all(byte) && !word.starts_with('-')
}

/// The agent's answer through the tunnel, else over SSH.
fn ask(
    call: &mut Call,
    paths: &Paths,
    host: &HostConfig,
    method: &str,
    params: Value,
    words: &str,
) -> Result<Value, Failure> {
    let name = &host.name;
    let client = through::with_token(paths, host);
    let answer = client.map(|client| client.call(method, params, LIMIT));
    if let Some(Ok(answer)) = answer {
        return Ok(answer);
    }
    if let Some(Err(CallError::Remote { code, message })) = &answer {
        let (fault, next) = match code.as_str() {
            "no_such_peer" => (Fault::NoPeer, fix!("hop host peers {}", name)),
            "conflict" => (Fault::Busy, fix!("hop uninstall --remote -H {}", name)),
            "unknown_method" => (Fault::Remote, fix!("hop upgrade {}", name)),
            _ => (Fault::Remote, fix!("hop doctor {}", name)),
        };
        return Err(Failure::new(fault, format!("the agent on {name} refused"), message, next));
    }
    if host.ssh.is_none() {
        let what = format!("the agent on {name} cannot be reached");
        let why = match answer {
            Some(Err(error)) => error.to_string(),
            _ => format!("{name} is not up"),
        };
        return Err(Failure::new(Fault::Unreachable, what, why, fix!("hop up {}", name)));
    }
    Remote::open(call, paths, host)?.agent(call, words, b"")
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn nothing_but_a_word_goes_to_the_other_side() {
        assert!(plain("laptop-2") && plain("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="));
        for word in ["", "-x", "a b", "a;b", "$(x)", "a'b", "`x`", "a\nb", &"a".repeat(64)] {
            assert!(!plain(word), "{word:?}");
        }
    }
}
