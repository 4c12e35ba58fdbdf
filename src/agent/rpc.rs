//! The method table of `POST /rpc` and of the local socket: name → function. No logic of its own.

use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use super::config::{self, Peer};
use super::hub::Caller;
use super::request::Refusal;
use crate::base::failure::{Failure, Fault};
use crate::base::field::key;
use crate::base::json::{Fields, ReadError};
use crate::base::key::{self, KEY_BYTES};
use crate::rpc::{VERSION, code, method};

/// What the methods act on.
pub trait Desk: Send + Sync {
    /// The laptop that has this token and may use it from this address.
    fn caller(&self, token: &str, from: Ipv4Addr) -> Option<Caller>;
    /// Whether a laptop has this address. This, [`Desk::is_called`] and [`Desk::caller`] answer at
    /// once, whatever else is being done.
    fn is_laptop(&self, from: Ipv4Addr) -> bool;
    /// Whether a laptop calls this server `<name>.hop`.
    fn is_called(&self, name: &str) -> bool;
    fn status(&self) -> Value;
    fn peers(&self) -> Vec<Value>;
    fn add(&self, public_key: [u8; KEY_BYTES], name: &str) -> Result<(Peer, bool), Failure>;
    fn remove(&self, which: &str) -> Result<Peer, Failure>;
    fn rotate(&self, old: &[u8; KEY_BYTES], new: [u8; KEY_BYTES]) -> Result<Peer, Failure>;
    fn reload(&self) -> Result<(), Failure>;
}

/// A method gets its parameters, all of which it must read, and gives a result.
type Method = fn(&dyn Desk, Caller, Fields) -> Result<Value, Refusal>;

const METHODS: &[(&str, Method)] = &[
    (method::AGENT_VERSION, agent_version),
    (method::AGENT_STATUS, agent_status),
    (method::PEERS_LIST, peers_list),
    (method::PEERS_ADD, peers_add),
    (method::PEERS_REMOVE, peers_remove),
    (method::KEYS_ROTATE, keys_rotate),
    (RELOAD, reload),
];

/// On the local socket alone: the files have changed.
pub const RELOAD: &str = "agent.reload";

/// Runs the method a request's body names.
pub fn call(desk: &dyn Desk, caller: Caller, body: &str) -> Result<Value, Refusal> {
    let bad = |error: ReadError| {
        Refusal::of(400, code::BAD_REQUEST, format!("the body is no request: {error}"))
    };
    let mut fields = Fields::parse(body).map_err(bad)?;
    let name = fields.string("method").map_err(bad)?;
    let params = fields.take("params").unwrap_or(Value::Object(Map::new()));
    fields.finish().map_err(bad)?;
    let Some((_, method)) = METHODS.iter().find(|(known, _)| *known == name) else {
        // An answer like any other: the client reached the right agent, only a newer or older one.
        return Err(Refusal::of(200, code::UNKNOWN_METHOD, format!("no method {name:?}")));
    };
    let params = Fields::of(params, "params").map_err(bad_params)?;
    method(desk, caller, params)
}

fn bad_params(error: ReadError) -> Refusal {
    Refusal::of(200, code::BAD_PARAMS, error.to_string())
}

fn failed(failure: Failure) -> Refusal {
    let code = match failure.fault {
        Fault::NoPeer => code::NO_SUCH_PEER,
        Fault::Busy => code::CONFLICT,
        _ => code::FAILED,
    };
    Refusal::of(200, code, format!("{}: {}", failure.what, failure.why))
}

fn agent_version(_: &dyn Desk, _: Caller, params: Fields) -> Result<Value, Refusal> {
    params.finish().map_err(bad_params)?;
    Ok(json!({"version": VERSION}))
}

fn agent_status(desk: &dyn Desk, _: Caller, params: Fields) -> Result<Value, Refusal> {
    params.finish().map_err(bad_params)?;
    Ok(desk.status())
}

/// `you` is the caller's public key as it is listed: during a rotation, the one before.
fn peers_list(desk: &dyn Desk, caller: Caller, params: Fields) -> Result<Value, Refusal> {
    params.finish().map_err(bad_params)?;
    let peers = desk.peers();
    let you = match caller {
        Caller::Laptop(key) => {
            let key = key::encode(&key);
            let listed = peers.iter().find(|peer| has_key(peer, &key));
            Some(listed.map_or(json!(key.as_str()), |peer| peer["public_key"].clone()))
        }
        Caller::Local => None,
    };
    Ok(json!({"peers": peers, "you": you}))
}

fn peers_add(desk: &dyn Desk, _: Caller, mut params: Fields) -> Result<Value, Refusal> {
    let public_key = params.meant("public_key", public).map_err(bad_params)?;
    let name = params.meant("name", config::label).map_err(bad_params)?;
    params.finish().map_err(bad_params)?;
    let (peer, created) = desk.add(public_key, &name).map_err(failed)?;
    let mut answer = pair(&peer);
    answer["created"] = json!(created);
    Ok(answer)
}

fn peers_remove(desk: &dyn Desk, caller: Caller, mut params: Fields) -> Result<Value, Refusal> {
    let which = params.string("peer").map_err(bad_params)?;
    params.finish().map_err(bad_params)?;
    if let Caller::Laptop(own) = caller {
        let own = key::encode(&own);
        let is_it = |peer: &Value| NAMES.iter().any(|name| peer[*name] == which.as_str());
        if desk.peers().iter().any(|peer| has_key(peer, &own) && is_it(peer)) {
            // The answer could not reach it any more.
            let why = "a laptop cannot remove itself over its own tunnel";
            return Err(Refusal::of(200, code::CONFLICT, why));
        }
    }
    desk.remove(&which).map(|peer| gone(&peer)).map_err(failed)
}

/// What a laptop in a list may be named by.
const NAMES: [&str; 3] = ["name", "public_key", "next_key"];

fn has_key(listed: &Value, key: &str) -> bool {
    listed["public_key"] == key || listed["next_key"] == key
}

/// A laptop in a list. No secrets.
pub fn entry(peer: &Peer, next: Option<&Peer>) -> Value {
    json!({
        "name": peer.name,
        "public_key": key::encode(&peer.public_key).as_str(),
        "next_key": next.map(|next| key::encode(&next.public_key).to_string()),
        "address": peer.address.to_string(),
        "agent_key": key::encode(&peer.agent_key).as_str(),
    })
}

pub fn gone(peer: &Peer) -> Value {
    let key = key::encode(&peer.public_key);
    json!({"name": peer.name, "public_key": key.as_str(), "address": peer.address.to_string()})
}

/// `old` may be left out by a laptop: it is its own.
fn keys_rotate(desk: &dyn Desk, caller: Caller, mut params: Fields) -> Result<Value, Refusal> {
    let new = params.meant("public_key", public).map_err(bad_params)?;
    let old = params.opt_meant("old", public).map_err(bad_params)?;
    params.finish().map_err(bad_params)?;
    let old = match (caller, old) {
        (Caller::Laptop(own), None) => own,
        (Caller::Laptop(own), Some(old)) if own == old => own,
        (Caller::Local, Some(old)) => old,
        (Caller::Laptop(_), Some(_)) => {
            return Err(Refusal::of(200, code::CONFLICT, "a laptop rotates its own keys only"));
        }
        (Caller::Local, None) => {
            return Err(Refusal::of(200, code::BAD_PARAMS, "\"params.old\": is missing"));
        }
    };
    desk.rotate(&old, new).map(|peer| pair(&peer)).map_err(failed)
}

fn reload(desk: &dyn Desk, caller: Caller, params: Fields) -> Result<Value, Refusal> {
    params.finish().map_err(bad_params)?;
    if caller != Caller::Local {
        return Err(Refusal::of(200, code::UNKNOWN_METHOD, format!("no method {RELOAD:?}")));
    }
    desk.reload().map(|()| json!({})).map_err(failed)
}

/// What a laptop must know to use its pair. It goes through the tunnel, or over SSH.
pub fn pair(peer: &Peer) -> Value {
    json!({
        "name": peer.name,
        "agent_public_key": key::encode(&peer.agent_key).as_str(),
        "preshared_key": peer.preshared_key.as_ref().map(|key| key::encode(key).to_string()),
        "token": peer.token.as_str(),
        "laptop_address": peer.address.to_string(),
    })
}

fn public(text: &str) -> Result<[u8; KEY_BYTES], String> {
    key(text).map(|key| *key)
}

#[cfg(test)]
mod tests;
