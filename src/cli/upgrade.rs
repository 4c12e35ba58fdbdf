//! `hop upgrade`: helper and agent of a host become those of this hop, or stay what they were.

use std::path::Path;

use serde_json::json;

use super::command::{Call, Command, Flag, Group, Takes};
use super::target_host;
use crate::base::exit::Code;
use crate::base::failure::Failure;
use crate::deploy::{local_helper, upgrade, verify};
use crate::host::store;
use crate::rpc::VERSION;

pub const COMMAND: Command = Command {
    name: "upgrade",
    summary: "bring a host's helper and agent to the version of this hop",
    usage: "hop upgrade [host] [--agent-dir DIR]",
    details: "Sends the programs that differ over SSH, puts them in place, restarts the agent and\n\
              asks it through the tunnel. Connections through the tunnel survive. If it does not\n\
              answer with the right version, the programs before are put back. This machine's\n\
              helper is brought along, with sudo. Nothing is downloaded: a newer hop comes from\n\
              the package manager or make install.",
    example: "hop upgrade mybox",
    group: Group::Upkeep,
    flags: &[Flag {
        short: None,
        long: "agent-dir",
        value: Some("DIR"),
        help: "where hop-agent and hop-helper for the server are (else libexec/hopbox/agents)",
    }],
    operands: (0, 1),
    takes: Takes::Host,
    hidden: false,
    run,
};

fn run(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let name = target_host::host(call, &paths)?;
    let host = store::load(&paths, &name)?;
    call.out.plan(5);
    verify::can_show(&paths, &host)?;
    let own_helper = local_helper::same_version(call)?;
    let agent_dir = call.args.value("agent-dir").map(str::to_owned);
    let done = upgrade::run(call, &paths, &host, agent_dir.as_deref().map(Path::new))?;
    let before = done.before.as_deref();
    let text = match done.changed {
        true => {
            format!("{name} has version {VERSION} now; before: {}", before.unwrap_or("no agent"))
        }
        false => format!("{name} has version {VERSION} already"),
    };
    let data = json!({
        "host": name, "version": VERSION, "before": before, "changed": done.changed,
        "own_helper_changed": own_helper,
    });
    call.out.answer("upgrade", data, &text)?;
    Ok(Code::Done)
}
