//! `hop status`: what the live session of a host says about its tunnel. Exit 0 while it is up,
//! 3 otherwise.

use serde_json::{Value, json};

use super::fail::{Code, Failure};
use super::{Call, Command, Takes, choose};
use crate::session::control;

pub const COMMAND: Command = Command {
    name: "status",
    summary: "show what a host's tunnel is doing",
    usage: "hop status [host] [-v]",
    details: "Asks the live session. Exits 0 while the host is up and 3 otherwise. Packets that\n\
              were dropped are listed by reason; with -v also the reasons that never occurred.",
    flags: &[],
    operands: (0, 1),
    takes: Takes::Host,
    hidden: false,
    run,
};

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let name = choose::host(call, &paths)?;
    let socket = paths.socket(&name);
    let live = control::status(&socket).map_err(|error| {
        let what = format!("the session of {name} does not answer");
        let next = format!("cat {}", paths.log_file(&name).display());
        Failure::new(Code::Busy, what, format!("{}: {error}", socket.display()), next)
    })?;
    let data = live.unwrap_or_else(|| json!({"host": name, "state": "down"}));
    let text = table(&name, &data, call.out.is_verbose());
    let is_up = data["state"] == "up";
    call.out.answer("status", data, &text)?;
    Ok(if is_up { Code::Done } else { Code::No })
}

fn table(name: &str, data: &Value, verbose: bool) -> String {
    let mut text = format!("{name} is {}\n", word(&data["state"]));
    let mut row = |what: &str, value: String| text.push_str(&format!("  {what:15} {value}\n"));
    if data["state"] != "up" {
        return text;
    }
    row("name", format!("{} → {}", word(&data["name"]), word(&data["peer_ip"])));
    row("interface", word(&data["interface"]));
    row("endpoint", word(&data["endpoint"]));
    row("agent", word(&data["agent_version"]));
    row(
        "handshake",
        match data["handshake_age_s"].as_u64() {
            Some(age) => format!("{age} s ago"),
            None => "none yet".to_owned(),
        },
    );
    row("received", format!("{} bytes", word(&data["rx_bytes"])));
    row("sent", format!("{} bytes", word(&data["tx_bytes"])));
    let drops = data["drops"].as_object().into_iter().flatten();
    for (reason, count) in drops.filter(|(_, count)| verbose || count.as_u64() != Some(0)) {
        row("dropped", format!("{} ({reason})", word(count)));
    }
    text
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}
