//! `hop host ls`: the hosts and whether each is up.

use serde_json::{Value, json};

use super::fail::{Code, Failure};
use super::{Call, Command, Takes};
use crate::host::config::{self, HostConfig};
use crate::session::daemon;
use crate::session::up::name_of;

pub const LS: Command = Command {
    name: "host ls",
    summary: "list the hosts",
    usage: "hop host ls",
    details: "A star marks the default host.",
    flags: &[],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run: ls,
};

pub fn ls(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let default = config::default_host(&paths)?;
    let mut rows = Vec::new();
    for name in config::names(&paths)? {
        let host = config::load(&paths, &name)?;
        let is_up = daemon::facts(&paths, &name).is_some();
        rows.push((default.as_deref() == Some(name.as_str()), is_up, host));
    }
    let data = json!({"hosts": rows.iter().map(row_json).collect::<Vec<Value>>()});
    if rows.is_empty() {
        call.out.say("no hosts yet; hop setup <name> -a <address> makes one");
        call.out.answer("host.ls", data, "")?;
    } else {
        call.out.answer("host.ls", data, &table(&rows))?;
    }
    Ok(Code::Done)
}

type Row = (bool, bool, HostConfig);

fn row_json((is_default, is_up, host): &Row) -> Value {
    json!({
        "host": host.name,
        "name": name_of(host),
        "endpoint": host.endpoint.to_string(),
        "peer_ip": host.peer_ip.to_string(),
        "state": state(*is_up),
        "default": is_default,
    })
}

fn state(is_up: bool) -> &'static str {
    if is_up { "up" } else { "down" }
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|(_, _, host)| host.name.len()).max().unwrap_or(0).max(4);
    let mut text = format!("  {:width$}  STATE  {:15}  ENDPOINT\n", "HOST", "ADDRESS");
    for (is_default, is_up, host) in rows {
        let star = if *is_default { '*' } else { ' ' };
        let (name, address, state) = (&host.name, host.peer_ip.to_string(), state(*is_up));
        text += &format!("{star} {name:width$}  {state:5}  {address:15}  {}\n", host.endpoint);
    }
    text
}
