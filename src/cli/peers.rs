//! `hop host peers` and `hop host revoke`: the laptops that a host admits. Through the tunnel, or
//! over SSH when it is down.

use std::time::Duration;

use serde_json::json;

use super::command::{Call, Command, Group, Takes};
use super::grid::Grid;
use super::page::Page;
use super::target_host;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::base::key;
use crate::base::time_text::span;
use crate::deploy::remote::Remote;
use crate::fix;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::host::store;
use crate::rpc::client::CallError;
use crate::rpc::code::Code as Refusal;
use crate::rpc::method::{Method, PeersList, PeersRemove};
use crate::rpc::types::{Message, Nothing, PeerView, Peers, RemovePeer};
use crate::session::through;
use crate::text::cell;

const LIMIT: Duration = Duration::from_secs(5);

pub const LIST: Command = Command {
    name: "host peers",
    summary: "list the laptops that a host admits",
    usage: "hop host peers [host]",
    details: "Each laptop has its own key, address and token. A star marks this one. Asks the\n\
              agent through the tunnel, or over SSH when the tunnel is down.",
    example: "hop host peers mybox",
    group: Group::Hosts,
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
    example: "hop host revoke old-laptop -H mybox",
    group: Group::Hosts,
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
    call.out.wait(&format!("asking {name}"));
    let answer = Agent::of(&paths, &host).ask(call, PeersList, &Nothing, "peers list")?;
    call.out.done("");
    let page = table(&answer, &host, call.out.room());
    let listed = answer.to_json();
    let data = json!({"host": name, "peers": listed["peers"], "you": listed["you"]});
    call.out.answer("host.peers", data, page)?;
    Ok(Code::Done)
}

fn table(answer: &Peers, host: &HostConfig, room: Option<usize>) -> Page {
    let mut grid = Grid::new(["  PEER", "ADDRESS", "HANDSHAKE", "PUBLIC KEY"]);
    for peer in &answer.peers {
        let star = if is_us(answer, peer, host) { '*' } else { ' ' };
        let age = peer.seen.as_ref().and_then(|seen| seen.last_handshake_age_s);
        let seen = age.map_or("-".to_owned(), |age| format!("{} ago", span(age)));
        let (name, key) = (cell(&peer.name), key::encode(&peer.public_key));
        grid.row([
            format!("{star} {name}"),
            peer.address.to_string(),
            seen,
            key.as_str().to_owned(),
        ]);
    }
    grid.page(room)
}

fn is_us(answer: &Peers, peer: &PeerView, host: &HostConfig) -> bool {
    match answer.you {
        Some(key) => peer.public_key == key,
        None => peer.address == host.local_ip,
    }
}

fn revoke(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let peer = call.args.operands.first().cloned().unwrap_or_default();
    let name = target_host::host_beside(call, &paths)?;
    let host = store::load(&paths, &name)?;
    if !plain(&peer) {
        let why = "one is named by its name or its public key";
        return Err(unknown(&name, &peer, why.to_owned()));
    }
    let mut agent = Agent::of(&paths, &host);
    call.out.wait(&format!("asking {name}"));
    let admitted = agent.known_peers(call)?;
    call.out.done("");
    if let Some(admitted) = admitted {
        check(&admitted, &host, &peer)?;
    }
    call.consent(&format!("Lock {peer} out of {name}?"), fix!("hop host peers {}", name))?;
    let words = format!("peers remove {peer}");
    call.out.wait(&format!("asking {name}"));
    let gone = agent.ask(call, PeersRemove, &RemovePeer { peer }, &words)?;
    call.out.done("");
    let said = &gone.name;
    let text = format!("the ssh key of {said}, if it has one there, still opens {name}");
    call.out.warn("ssh_key_stays", &text);
    let data = json!({"host": name, "peer": gone.to_json()});
    call.out.answer("host.revoke", data, format!("{said} is locked out of {name}"))?;
    Ok(Code::Done)
}

/// An error where the host admits no such laptop, or it is this one.
fn check(admitted: &Peers, host: &HostConfig, peer: &str) -> Result<(), Failure> {
    let name = &host.name;
    let Some(found) = admitted.peers.iter().find(|it| it.is_called(peer)) else {
        let names: Vec<_> = admitted.peers.iter().map(|peer| cell(&peer.name)).collect();
        return Err(unknown(name, peer, format!("{name} admits {}", names.join(", "))));
    };
    if is_us(admitted, found, host) {
        let what = format!("{peer:?} is this laptop, which would lock itself out");
        let why = "that is for hop uninstall, which takes the rest away, too";
        let next = fix!("hop uninstall --remote -H {}", name);
        return Err(Failure::new(Fault::Busy, what, why, next));
    }
    Ok(())
}

fn unknown(name: &str, peer: &str, why: String) -> Failure {
    let what = format!("no laptop {peer:?} on {name}");
    Failure::new(Fault::NoPeer, what, why, fix!("hop host peers {}", name))
}

/// What goes into a command line on the other side.
fn plain(word: &str) -> bool {
    let byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+/=".contains(&byte);
    !word.is_empty() && word.len() <= 63 && word.bytes().all(byte) && !word.starts_with('-')
}

/// A host's agent, asked through the tunnel, else over SSH; then all that follows goes that way.
struct Agent<'a> {
    paths: &'a Paths,
    host: &'a HostConfig,
    remote: Option<Remote>,
}

/// How far a question came.
enum Reached<T> {
    /// Through the tunnel.
    Answer(T),
    /// Over SSH, where it is still to be asked.
    Server(Box<Remote>),
}

impl<'a> Agent<'a> {
    fn of(paths: &'a Paths, host: &'a HostConfig) -> Agent<'a> {
        Agent { paths, host, remote: None }
    }

    fn ask<M: Method>(
        &mut self,
        call: &mut Call,
        method: M,
        params: &M::Params,
        words: &str,
    ) -> Result<M::Answer, Failure> {
        let remote = match self.remote.take() {
            Some(remote) => remote,
            None => match self.reach(call, method, params)? {
                Reached::Answer(answer) => return Ok(answer),
                Reached::Server(remote) => *remote,
            },
        };
        self.remote.insert(remote).agent(call, words, b"", M::Answer::of)
    }

    /// Its laptops; `None` where sudo might ask for a password just for that.
    fn known_peers(&mut self, call: &mut Call) -> Result<Option<Peers>, Failure> {
        let remote = match self.reach(call, PeersList, &Nothing)? {
            Reached::Answer(peers) => return Ok(Some(peers)),
            Reached::Server(remote) => self.remote.insert(*remote),
        };
        match remote.may_ask_agent()? {
            true => remote.agent(call, "peers list", b"", Peers::of).map(Some),
            false => Ok(None),
        }
    }

    fn reach<M: Method>(
        &self,
        call: &mut Call,
        method: M,
        params: &M::Params,
    ) -> Result<Reached<M::Answer>, Failure> {
        let name = &self.host.name;
        let asked = through::with_token(self.paths, self.host)
            .map(|client| client.call(method, params, LIMIT));
        let why = match asked {
            Some(Ok(answer)) => return Ok(Reached::Answer(answer)),
            Some(Err(CallError::Remote { code, message, .. })) => {
                return Err(refused(name, code, message));
            }
            Some(Err(error)) => error.to_string(),
            None => format!("{name} is not up"),
        };
        if self.host.ssh.is_some() {
            let remote = Remote::open(call, self.paths, self.host)?;
            return Ok(Reached::Server(Box::new(remote)));
        }
        let what = format!("the agent on {name} cannot be reached");
        Err(Failure::new(Fault::Unreachable, what, why, fix!("hop up {}", name)))
    }
}

fn refused(name: &str, code: Refusal, message: String) -> Failure {
    let (fault, next) = match code {
        Refusal::NoSuchPeer => (Fault::NoPeer, fix!("hop host peers {}", name)),
        Refusal::Conflict => (Fault::Busy, fix!("hop uninstall --remote -H {}", name)),
        Refusal::UnknownMethod => (Fault::Remote, fix!("hop upgrade {}", name)),
        _ => (Fault::Remote, fix!("hop doctor {}", name)),
    };
    Failure::new(fault, format!("the agent on {name} refused"), message, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::config::tests::sample;
    use std::net::Ipv4Addr;

    #[test]
    fn a_laptop_is_known_by_name_key_and_the_key_that_a_rotation_gives_it() {
        let host = sample();
        let laptop = |name: &str, key: u8, address: Ipv4Addr| PeerView {
            name: name.to_owned(),
            public_key: [key; 32],
            next_key: Some([key + 1; 32]),
            address,
            agent_key: None,
            seen: None,
        };
        let other = laptop("old-laptop", 3, Ipv4Addr::new(10, 10, 0, 9));
        let us = laptop("us", 5, host.local_ip);
        for you in [None, Some([5; 32])] {
            let admitted = Peers { peers: vec![other.clone(), us.clone()], you };
            let fault = |peer: &str| check(&admitted, &host, peer).err().map(|error| error.fault);
            let key = |byte: u8| key::encode(&[byte; 32]);
            for known in ["old-laptop", &key(3), &key(4)] {
                assert_eq!(fault(known), None, "{known}");
            }
            for own in ["us", &key(5), &key(6)] {
                assert_eq!(fault(own), Some(Fault::Busy), "{own}");
            }
            for none in ["older", &key(7), ""] {
                assert_eq!(fault(none), Some(Fault::NoPeer), "{none}");
            }
        }
    }

    #[test]
    fn nothing_but_a_word_goes_to_the_other_side() {
        assert!(plain("laptop-2") && plain("dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="));
        for word in ["", "-x", "a b", "a;b", "$(x)", "a'b", "`x`", "a\nb", &"a".repeat(64)] {
            assert!(!plain(word), "{word:?}");
        }
    }
}
