//! `hop rotate`: new keys for a host, on both sides, while it is up or over SSH.

use serde_json::json;

use super::command::{Call, Command, Group, Takes};
use super::target_host;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::base::time_text::took;
use crate::deploy::remote::Remote;
use crate::fix;
use crate::host::paths::Paths;
use crate::rpc::client::CallError;
use crate::rpc::types::{Message, Pair};
use crate::session::rotate::{self, Rotation};

pub const COMMAND: Command = Command {
    name: "rotate",
    summary: "give a host and this laptop new keys",
    usage: "hop rotate [host]",
    details: "Both sides make new key pairs, and a new preshared key and token with them. It goes\n\
              through the tunnel, or over SSH when the tunnel is down. Connections stay: packets\n\
              wait for one handshake. The agent accepts the old pair until it has heard the new\n\
              one, and keeps its old key in agent.key.bak. Interrupted anywhere, the two sides\n\
              still have a pair in common; run it again. Other laptops are not disturbed. The\n\
              token of a provider (hop firewall backend) is not among them: it is made anew\n\
              there, and written into its file.",
    example: "hop rotate mybox",
    group: Group::Upkeep,
    flags: &[],
    operands: (0, 1),
    takes: Takes::Host,
    hidden: false,
    run,
};

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let name = target_host::host(call, &paths)?;
    call.out.plan(3);
    call.out.begin("asking the agent");
    let mut rotation = rotate::offer(&paths, &name)?;
    let (answer, way) = ask(call, &paths, &rotation)?;
    let agent_too = rotation.accept(&paths, answer)?;
    call.out.done(&format!("through {way}"));
    call.out.begin("taking the new keys");
    let is_up = rotation.switch(&paths)?;
    call.out.done(if is_up { "" } else { "not up: hop up will" });
    let mut confirmed = None;
    if is_up {
        call.out.begin("waiting for the agent to confirm");
        let time = rotation.confirm(&paths)?;
        call.out.done("");
        confirmed = Some(time);
    }
    if !agent_too {
        let text = "the agent's own key stays: another laptop still needs the one before it";
        call.out.warn("agent_key_kept", text);
    }
    let text = match confirmed {
        Some(time) => format!("{name} has new keys; confirmed after {}", took(time)),
        None => format!("{name} has new keys; the next hop up confirms them"),
    };
    let data = json!({
        "host": name, "through": way, "agent_key_changed": agent_too,
        "confirmed": confirmed.is_some(),
        "confirmed_us": confirmed.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
    });
    call.out.answer("rotate", data, &text)?;
    Ok(Code::Done)
}

/// Through the tunnel; over SSH when the agent cannot be reached that way.
fn ask(
    call: &mut Call,
    paths: &Paths,
    rotation: &Rotation,
) -> Result<(Pair, &'static str), Failure> {
    let name = rotation.host.name.clone();
    let why = match rotation.ask_agent(paths) {
        None => format!("{name} is not up"),
        Some(Ok(answer)) => return Ok((answer, "the tunnel")),
        Some(Err(CallError::Remote { word, message, .. })) => {
            let what = format!("the agent on {name} refused");
            let next = fix!("hop upgrade {}", name);
            return Err(Failure::new(Fault::Remote, what, format!("{message} ({word})"), next));
        }
        Some(Err(error)) => error.to_string(),
    };
    if rotation.host.ssh.is_none() {
        let what = format!("the agent on {name} cannot be reached");
        let why = format!("{why}; and setup did not go over SSH");
        return Err(Failure::new(Fault::Unreachable, what, why, fix!("hop up {}", name)));
    }
    let remote = Remote::open(call, paths, &rotation.host)?;
    let request = rotation.request().to_string();
    let pair = remote.agent(call, "rotate", request.as_bytes(), Pair::of)?;
    Ok((pair, "SSH"))
}
