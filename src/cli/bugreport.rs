//! `hop bugreport`: what somebody who is to help needs to see, in one file that may be shown to
//! strangers: no key, no token, no name of the user, no address of the outside world.

use std::path::Path;

use serde_json::{Value, json};

use super::command::{Call, Command, Flag, Group, Takes};
use super::status;
use crate::base::exit::Code;
use crate::base::failure::Failure;
use crate::helper::Helper;
use crate::helper::socket_path;
use crate::host::paths::Paths;
use crate::host::store;
use crate::rpc::VERSION;
use crate::session::diagnose;
use crate::sys::bounded;

pub const COMMAND: Command = Command {
    name: "bugreport",
    summary: "print what a report of a fault needs, without secrets",
    usage: "hop bugreport [--with-addresses]",
    details: "Prints versions, system, helper, and for every host its settings, state, what\n\
              hop doctor finds and the end of its log. Keys, tokens, the names of users and home\n\
              directories are left out, and so are the addresses and names of servers unless\n\
              --with-addresses is given. Nothing is sent anywhere. With --json one JSON object.",
    example: "hop bugreport >report.json",
    group: Group::Trouble,
    flags: &[Flag {
        short: None,
        long: "with-addresses",
        value: None,
        help: "show endpoints as they are",
    }],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run,
};

/// Of each log.
const TAIL_BYTES: u64 = 16 * 1024;
/// Hosts that are looked at in depth; the others are only counted.
const HOSTS: usize = 8;

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let names = store::names(&paths)?;
    let mut redactor = Redactor::new(&paths);
    let mut hosts = Vec::new();
    for name in names.iter().take(HOSTS) {
        call.out.wait(&format!("looking at {name}"));
        hosts.push(host(&paths, name, &mut redactor, call.args.has("with-addresses")));
    }
    call.out.done("");
    let report = json!({
        "version": VERSION,
        "system": system(),
        "helper": helper(),
        "hosts_in_all": names.len(),
        "hosts": hosts,
    });
    let report = redactor.redact(report);
    call.out.document("bugreport", report)?;
    Ok(Code::Done)
}

fn system() -> Value {
    let read = |path: &str| bounded::text(path).unwrap_or_default();
    let release = read("/etc/os-release");
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    json!({
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "name": name.map(|name| name.trim_matches('"')),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "tun": Path::new("/dev/net/tun").exists(),
    })
}

fn helper() -> Value {
    match Helper::connect(&socket_path()) {
        Err(error) => json!({"error": error.to_string()}),
        Ok(mut helper) => {
            let version = helper.version().to_owned();
            let health = helper.health().unwrap_or_else(|error| json!(error.to_string()));
            json!({"version": version, "health": health})
        }
    }
}

/// One host without its secrets; what must not be seen anywhere is given to the redactor.
fn host(paths: &Paths, name: &str, redactor: &mut Redactor, with_addresses: bool) -> Value {
    let settings = match store::load(paths, name) {
        Err(error) => json!({"error": error.why}),
        Ok(host) => {
            if !with_addresses {
                redactor.hide(&host.endpoint.host, "<endpoint>");
            }
            if let Some(user) = &host.user {
                redactor.hide(user, "<login>");
            }
            if let Some(identity) = &host.identity {
                redactor.hide(identity, "<identity>");
            }
            redactor.hide(&host.token, "<token>");
            for ssh in host.ssh.iter().filter(|_| !with_addresses) {
                redactor.hide(&ssh.address, "<ssh>");
                redactor.hide(ssh.hostname.as_deref().unwrap_or_default(), "<ssh>");
            }
            json!({
                "endpoint": host.endpoint.to_string(),
                "local_ip": host.local_ip.to_string(),
                "peer_ip": host.peer_ip.to_string(),
                "number": host.number,
                "mtu": host.mtu,
                "keepalive_s": host.keepalive_s,
                "api_port": host.api_port,
                "transport": host.transport.word(),
                "second_port": host.second_port,
                "preshared_key": host.preshared_key.is_some(),
            })
        }
    };
    let facts = diagnose::gather(paths, name, &mut |_| {});
    if let (false, Some(net)) = (with_addresses, &facts.net) {
        for ip in net.resolved.iter().flatten() {
            redactor.hide(&ip.to_string(), "<endpoint>");
        }
        if let Some(Ok((source, _))) = &net.to_endpoint {
            redactor.hide(&source.to_string(), "<own address>");
        }
    }
    let checks = diagnose::judge(&facts);
    json!({
        "host": name,
        "settings": settings,
        "status": status::look(paths, name, &std::sync::OnceLock::new()),
        "doctor": checks.iter().map(super::doctor::to_json).collect::<Vec<_>>(),
        "log": tail(&paths.log_file(name)),
    })
}

/// The last whole lines of a log.
fn tail(path: &Path) -> Vec<String> {
    let text = bounded::tail(path, TAIL_BYTES).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Words that must not be seen, and what stands in for them.
struct Redactor(Vec<(String, &'static str)>);

impl Redactor {
    fn new(paths: &Paths) -> Redactor {
        let mut redactor = Redactor(Vec::new());
        // The longer first: the home directory holds the user's name.
        let hosts = paths.hosts_dir();
        if let Some(dir) = hosts.parent() {
            redactor.hide(&dir.to_string_lossy(), "<config>");
        }
        for (variable, word) in [("HOME", "~"), ("USER", "<user>"), ("LOGNAME", "<user>")] {
            redactor.hide(&std::env::var(variable).unwrap_or_default(), word);
        }
        redactor
    }

    fn hide(&mut self, text: &str, word: &'static str) {
        // A user named "a" would leave nothing legible.
        if text.len() >= 3 && !matches!(text, "root" | "hop") {
            self.0.push((text.to_owned(), word));
        }
    }

    fn redact(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.redact_text(text)),
            Value::Array(list) => list.into_iter().map(|value| self.redact(value)).collect(),
            Value::Object(map) => map.into_iter().map(|(k, v)| (k, self.redact(v))).collect(),
            other => other,
        }
    }

    fn redact_text(&self, text: String) -> String {
        let hidden = self.0.iter().fold(text, |text, (from, to)| text.replace(from, to));
        hidden.split_inclusive(' ').map(without_key).collect()
    }
}

/// A word that looks like a key is none of anybody's business, whatever it is.
fn without_key(word: &str) -> String {
    let other = |c: char| !c.is_ascii_alphanumeric() && !"+/".contains(c);
    let keys = word.split(other).map(|run| format!("{run}=")).filter(|key| key.len() == 44);
    keys.fold(word.to_owned(), |word, key| word.replace(&key, "<key>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_redacted_is_gone_wherever_it_stands() {
        let mut redactor = Redactor(Vec::new());
        redactor.hide("/home/gandalf", "~");
        redactor.hide("gandalf", "<user>");
        redactor.hide("a", "<user>");
        let key = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
        let value = json!({"log": [format!("peer={key}, /home/gandalf/x of gandalf a"), 7]});
        let shown = redactor.redact(value).to_string();
        assert_eq!(shown, r#"{"log":["peer=<key>, ~/x of <user> a",7]}"#);
    }
}
