//! `hop-agent setup`: run over SSH by `hop setup`, as root, before the agent
//! serves. What they are told and what they answer is JSON on standard input and output, so that
//! no secret is ever an argument.

use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::{Value, json};

use super::config::{AgentConfig, Keys, Peer};
use super::exec::{bad, need_root, read_stdin};
use super::front::control;
use super::location::{self, dir_of, give_dir, make_dir};
use super::names::Names;
use super::store::Store;
use super::{allocate, exec, install, log, moved, port_owner, reserve};
use crate::base::address_plan;
use crate::base::address_plan::MTU;
use crate::base::failure::{Failure, Fault};
use crate::base::field::{self, key, login};
use crate::base::json::{Fields, ReadError};
use crate::base::key::KEY_BYTES;
use crate::rpc::client::CallError;
use crate::rpc::method::AgentReload;
use crate::rpc::types::{Message, Nothing};
use crate::rpc::{API_PORT, VERSION};
use crate::sys::bounded;

const GROUP: &str = "hopbox";

/// What a laptop asks for.
struct Request {
    public_key: [u8; KEY_BYTES],
    name: String,
    user: String,
    number: Option<u8>,
    taken: Vec<u8>,
    /// For a new network, the best first.
    free: Vec<u8>,
    /// The agent's public key, where the laptop knows one.
    expected_agent_key: Option<[u8; KEY_BYTES]>,
    /// A second port to listen at; 0 for none, `None` where nothing is to change.
    second_port: Option<u16>,
}

/// What networks let out that let out little: QUIC and DNS.
const SECOND_PORTS: [u16; 3] = [0, 53, 443];

fn parse(text: &str) -> Result<Request, ReadError> {
    let mut fields = Fields::parse(text)?;
    let public = |text: &str| key(text).map(|key| *key);
    fields.int::<u32>("version", 1..=1)?;
    let request = Request {
        public_key: fields.meant("public_key", public)?,
        name: fields.meant("name", field::label)?,
        user: fields.meant("user", login)?,
        number: fields.opt_int("number", 0..=255)?,
        taken: list(&mut fields, "numbers_taken")?.unwrap_or_default(),
        free: list(&mut fields, "numbers_free")?.unwrap_or_else(|| (0..=255).collect()),
        expected_agent_key: fields.opt_meant("expected_agent_key", public)?,
        second_port: fields.opt_int("second_port", 0..=443)?,
    };
    if request.second_port.is_some_and(|port| !SECOND_PORTS.contains(&port)) {
        return Err(fields.error("second_port", "must be 443, 53, or 0 for none"));
    }
    fields.finish()?;
    Ok(request)
}

/// A list of whole numbers from 0 to 255.
fn list(fields: &mut Fields, key: &str) -> Result<Option<Vec<u8>>, ReadError> {
    let Some(value) = fields.take(key) else { return Ok(None) };
    let number = |value: &Value| value.as_u64().and_then(|n| u8::try_from(n).ok());
    let list = value.as_array().filter(|list| list.len() <= 256);
    let numbers: Option<Vec<u8>> = list.and_then(|list| list.iter().map(number).collect());
    let bad = || fields.error(key, "must be a list of numbers from 0 to 255");
    numbers.ok_or_else(bad).map(Some)
}

/// Keys, configuration and unit for one more laptop. Run again for the same one, nothing changes.
pub fn setup(file: &Path) -> Result<Value, Failure> {
    need_root()?;
    let request = parse(&read_stdin()?).map_err(|error| bad(error.to_string()))?;
    let login = exec::user(&request.user)?;
    helper_is_there()?;
    if moved::take_in()? {
        install::renew_units()?;
        install::restart();
    }
    let file = &location::now(file);
    if request.expected_agent_key.is_some() && !dir_of(file).exists() {
        return Err(other_server(&request));
    }
    make_dir(dir_of(file), 0o700)?;
    let mut store = Store::open(file)?;
    // A second laptop with another login changes nothing for the first.
    let owner = store.owner_or(login);
    let runs_as = if owner == login { request.user.clone() } else { exec::user_name(owner.0)? };
    same_server(&store, &request)?;
    let is_first = !store.is_there();
    let mut config = if is_first { first(&request)? } else { store.load()? };
    let [.., number, _] = config.address.octets();
    let taken = request.taken.contains(&number);
    let moves = taken && !is_first && request.number.is_none();
    let moves = moves && renumber(&mut config, &request);
    if (taken && !moves) || request.number.is_some_and(|wanted| wanted != number) {
        let network = address_plan::network(number);
        let why = format!("this VPS has {network} already, and the laptop cannot use it");
        let next = "hop host ls";
        return Err(Failure::new(Fault::NumberTaken(number), "the addresses collide", why, next));
    }
    if let Some(port) = request.second_port {
        let port = Some(port).filter(|port| *port != 0);
        if port != config.second_port {
            port.map_or(Ok(()), may_listen)?;
            config.second_port = port;
        }
    }
    give_dir(dir_of(file), owner)?;
    let mut key_created = false;
    if is_first {
        let (key, created) = store.key()?;
        (config.keys, key_created) = (Keys::new(key), created);
    }
    let before = config.peers.len();
    let (peer, created) = store.add(&mut config, request.public_key, &request.name)?;
    if request.second_port.is_some() || !created && before == config.peers.len() {
        // Written all the same: an older form becomes the newer one.
        store.save(&config)?;
    }
    drop(store);
    install::units(&install::user_of(&runs_as, owner.0))?;
    if moves {
        reserve::keep(&config)?;
        install::restart();
    }
    match control::ask(&config.state_dir, AgentReload, &Nothing) {
        Ok(_) | Err(CallError::Unreachable(_)) => {}
        // An agent of an older release learns of the laptop when it is started anew.
        Err(error) => log(&format!("the running agent did not take it over: {error}")),
    }
    let mut answer = answer(&config, &peer, created, key_created);
    answer["user"] = runs_as.into();
    Ok(answer)
}

/// Refuses a port that somebody has, by the name of who has it.
fn may_listen(port: u16) -> Result<(), Failure> {
    if allocate::is_free(port) {
        return Ok(());
    }
    let who = port_owner::of_udp(port);
    let why = match &who {
        Some(who) => format!("{who} listens there"),
        None => "a program listens there".to_owned(),
    };
    Err(Failure::new(Fault::Busy, format!("UDP {port} is not free"), why, "ss -lun"))
}

/// Gives the network another number, one that the laptop can use; false where there is none, or
/// where other laptops would lose the one that they know.
fn renumber(config: &mut AgentConfig, request: &Request) -> bool {
    let others = config.peers.iter().any(|peer| peer.public_key != request.public_key);
    let free = request.free.iter().copied().filter(|number| !request.taken.contains(number));
    let Some(number) = allocate::number(&free.collect::<Vec<u8>>()).filter(|_| !others) else {
        return false;
    };
    let moved = |ip: Ipv4Addr| {
        let [a, b, _, last] = ip.octets();
        Ipv4Addr::new(a, b, number, last)
    };
    config.address = moved(config.address);
    config.peers.iter_mut().for_each(|peer| peer.address = moved(peer.address));
    // They are by address; the next start is told again.
    config.names = Names::new();
    true
}

fn answer(config: &AgentConfig, peer: &Peer, created: bool, key_created: bool) -> Value {
    let mut answer = peer.pair().to_json();
    let [.., number, _] = config.address.octets();
    let more = json!({
        "version": 1,
        "hop_version": VERSION,
        "created": created,
        "agent_key_created": key_created,
        "number": number,
        "agent_address": config.address.to_string(),
        "listen_port": config.listen_port,
        "api_port": config.api_port,
        "mtu": config.mtu,
        "interface": config.interface,
    });
    if let (Value::Object(answer), Value::Object(more)) = (&mut answer, more) {
        answer.extend(more);
    }
    if let Some(port) = config.second_port {
        answer["second_port"] = port.into();
    }
    answer
}

/// What a VPS without an agent gets.
fn first(request: &Request) -> Result<AgentConfig, Failure> {
    let number = match request.number {
        Some(number) => Some(number),
        None => {
            let free = |number: &&u8| !request.taken.contains(number);
            allocate::number(&request.free.iter().filter(free).copied().collect::<Vec<_>>())
        }
    };
    let none = |what: &str, next: &'static str| {
        Failure::new(Fault::Busy, what, "everything that may be used is in use", next)
    };
    Ok(AgentConfig {
        interface: allocate::interface(),
        address: Ipv4Addr::new(
            10,
            10,
            number.ok_or_else(|| none("no free addresses", "ip route"))?,
            2,
        ),
        listen_port: allocate::port().ok_or_else(|| none("no free UDP port", "ss -lun"))?,
        second_port: None,
        mtu: MTU,
        api_port: API_PORT,
        state_dir: location::DIR.into(),
        peers: Vec::new(),
        names: Names::new(),
        keys: Keys::default(),
    })
}

/// The group that the helper's installation makes; the agent's unit names it.
fn helper_is_there() -> Result<(), Failure> {
    let groups = bounded::text("/etc/group").unwrap_or_default();
    if groups.lines().any(|line| line.split(':').next() == Some(GROUP)) {
        return Ok(());
    }
    let why = format!("there is no group {GROUP}");
    Err(Failure::new(Fault::Helper, "the helper is not installed", why, "man hop-agent"))
}

/// Refuses a server that is not the one the laptop was set up for, such as one that was installed
/// anew: its agent has another key, or none.
fn same_server(store: &Store, request: &Request) -> Result<(), Failure> {
    let Some(expected) = &request.expected_agent_key else { return Ok(()) };
    if store.knows(expected)? { Ok(()) } else { Err(other_server(request)) }
}

fn other_server(request: &Request) -> Failure {
    let what = format!("this is another server than {} was set up for", request.name);
    let why = "its agent does not have the key that the laptop knows; nothing was changed";
    // The laptop, which knows its name for us, says it better.
    Failure::new(Fault::OtherServer, &what, why, "hop host ls")
}

#[cfg(test)]
mod tests;
