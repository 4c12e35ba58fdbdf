//! `hop host peers` and `hop host revoke`: the laptops that a host admits. Through the tunnel, or
//! over SSH when it is down.

use std::time::Duration;

use serde_json::json;

use super::command::{Call, Command, Takes};
use super::page::Page;
use super::target_host;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::base::key;
use crate::deploy::remote::Remote;
use crate::fix;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::host::store;
use crate::rpc::client::CallError;
use crate::rpc::code::Code as Refusal;
use crate::rpc::method::{Method, PeersList, PeersRemove};
use crate::rpc::types::{Message, Nothing, Peers, RemovePeer};
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
    let host = store::load(&paths, &name)?;
    let answer = ask(call, &paths, &host, PeersList, &Nothing, "peers list")?;
    let page = table(&answer, &host);
    let listed = answer.to_json();
    let data = json!({"host": name, "peers": listed["peers"], "you": listed["you"]});
    call.out.answer("host.peers", data, page)?;
    Ok(Code::Done)
}

fn table(answer: &Peers, host: &HostConfig) -> Page {
    let peers = &answer.peers;
    let width = peers.iter().map(|peer| cell(&peer.name).chars().count()).max();
    let width = width.unwrap_or(0).max(4);
    let mut page = Page::default();
    page.add(format!("  {:width$}  {:15}  {:11}  PUBLIC KEY", "PEER", "ADDRESS", "HANDSHAKE"));
    for peer in peers {
        let is_us = match answer.you {
            Some(key) => peer.public_key == key,
            None => peer.address == host.local_ip,
        };
        let star = if is_us { '*' } else { ' ' };
        let age = peer.seen.as_ref().and_then(|seen| seen.last_handshake_age_s);
        let seen = age.map_or("-".to_owned(), |age| format!("{age} s ago"));
        let (name, address) = (cell(&peer.name), peer.address);
        let key = key::encode(&peer.public_key);
        page.add(format!("{star} {name:width$}  {address:15}  {seen:11}  {}", key.as_str()));
    }
    page
}

fn revoke(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let peer = call.args.operands.first().cloned().unwrap_or_default();
    let name = target_host::host_beside(call, &paths)?;
    let host = store::load(&paths, &name)?;
    if !plain(&peer) {
        let why = "a peer is named by its name or its public key";
        return Err(Failure::usage(format!("no peer {peer:?}"), why, "hop host peers"));
    }
    call.consent(&format!("Lock {peer} out of {name}?"), fix!("hop host peers {}", name))?;
    let words = format!("peers remove {peer}");
    let params = RemovePeer { peer };
    let gone = ask(call, &paths, &host, PeersRemove, &params, &words)?;
    let said = &gone.name;
    let text = format!("the ssh key of {said}, if it has one there, still opens {name}");
    call.out.warn("ssh_key_stays", &text);
    let data = json!({"host": name, "peer": gone.to_json()});
    call.out.answer("host.revoke", data, format!("{said} is locked out of {name}"))?;
    Ok(Code::Done)
}

/// What goes into a command line on the other side.
fn plain(word: &str) -> bool {
    let byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+/=".contains(&byte);
    !word.is_empty() && word.len() <= 63 && word.bytes().all(byte) && !word.starts_with('-')
}

/// The agent's answer through the tunnel, else over SSH.
fn ask<M: Method>(
    call: &mut Call,
    paths: &Paths,
    host: &HostConfig,
    method: M,
    params: &M::Params,
    words: &str,
) -> Result<M::Answer, Failure> {
    let name = &host.name;
    let client = through::with_token(paths, host);
    let answer = match client.map(|client| client.call(method, params, LIMIT)) {
        Some(Ok(answer)) => return Ok(answer),
        Some(Err(error)) => Some(error),
        None => None,
    };
    if let Some(CallError::Remote { code, message, .. }) = answer {
        let (fault, next) = match code {
            Refusal::NoSuchPeer => (Fault::NoPeer, fix!("hop host peers {}", name)),
            Refusal::Conflict => (Fault::Busy, fix!("hop uninstall --remote -H {}", name)),
            Refusal::UnknownMethod => (Fault::Remote, fix!("hop upgrade {}", name)),
            _ => (Fault::Remote, fix!("hop doctor {}", name)),
        };
        return Err(Failure::new(fault, format!("the agent on {name} refused"), message, next));
    }
    if host.ssh.is_none() {
        let what = format!("the agent on {name} cannot be reached");
        let why = answer.map_or_else(|| format!("{name} is not up"), |error| error.to_string());
        return Err(Failure::new(Fault::Unreachable, what, why, fix!("hop up {}", name)));
    }
    let said = Remote::open(call, paths, host)?.agent(call, words, b"")?;
    M::Answer::of(said).map_err(|error| {
        let what = format!("the agent on {name} gave an answer that is none");
        Failure::new(Fault::Remote, what, error.to_string(), fix!("hop upgrade {}", name))
    })
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
