//! The proof: this laptop's own `hop up` reaches the agent through the tunnel. Where it does not,
//! the server is asked over SSH what it saw.

use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::super::fail::{Code, Failure};
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::rpc::client::Client;
use crate::session::{control, daemon};
use crate::ssh::run::Connection;

const HEALTH_LIMIT: Duration = Duration::from_secs(5);
const STATUS_LIMIT: Duration = Duration::from_secs(20);
/// Where the helper's group is new to this user, the login does not have it yet; sg(1) does.
pub const GROUP: &str = "hopbox";

/// What a verified tunnel said of itself.
pub struct Verified {
    pub agent_version: String,
    pub handshake_us: Option<u64>,
}

/// Brings the host up, has the agent answer, and takes it down again if it was not up before.
pub fn tunnel(paths: &Paths, host: &HostConfig, by_group: bool) -> Result<Verified, Failure> {
    let was_up = daemon::facts(paths, &host.name).is_some();
    let data = up(host, by_group)?;
    if was_up {
        // The agent may have been started anew, and know no session of ours.
        let _ = control::rekey(&paths.socket(&host.name));
    }
    let health = Client::new(&host.peer_ip.to_string(), host.api_port, None).health(HEALTH_LIMIT);
    if !was_up {
        let _ = control::down(&paths.socket(&host.name));
    }
    let health = health.map_err(|error| {
        let what = format!("the agent on {} does not answer through the tunnel", host.name);
        let next = format!("hop doctor {}", host.name);
        Failure::new(Code::Unreachable, what, error.to_string(), next)
    })?;
    Ok(Verified { agent_version: health.version, handshake_us: data["handshake_us"].as_u64() })
}

fn up(host: &HostConfig, by_group: bool) -> Result<Value, Failure> {
    let failed = |why: String| {
        let next = format!("hop up {}", host.name);
        Failure::new(Code::Failed, "the tunnel could not be tried", why, next)
    };
    let own = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let mut process = command(&own, &host.name, by_group);
    let out = process.stdin(Stdio::null()).output().map_err(|error| failed(error.to_string()))?;
    let envelope: Value = serde_json::from_slice(&out.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&out.stderr);
        failed(said.lines().last().unwrap_or("it said nothing").to_owned())
    })?;
    if envelope["ok"] == true {
        return Ok(envelope["data"].clone());
    }
    let text = |key: &str| envelope["error"][key].as_str().unwrap_or_default().to_owned();
    let code = Code::from_word(&text("code"));
    Err(Failure::new(code, "the tunnel does not work yet", text("message"), text("fix")))
}

fn command(own: &Path, host: &str, by_group: bool) -> Process {
    if !by_group {
        let mut process = Process::new(own);
        process.args(["--json", "--no-input", "up", host]);
        return process;
    }
    let path = own.display().to_string().replace('\'', r"'\''");
    let mut process = Process::new("sg");
    process.args([GROUP, "-c", &format!("exec '{path}' --json --no-input up {host}")]);
    process
}

/// Who can be asked about the other side.
pub struct Server<'a> {
    pub connection: &'a Connection,
    /// The connection by hand.
    pub ssh: &'a str,
    /// Before a command of root's. This login may lack the group that may read the agent's files.
    pub sudo: &'a str,
    /// The tool that it has for its firewall.
    pub firewall: &'a str,
}

/// What the server saw, when the tunnel did not come up.
pub fn explain(server: &Server<'_>, host: &HostConfig, failure: Failure) -> Failure {
    // Where sudo would ask, the login may still be the agent's own.
    let status = "/usr/libexec/hopbox/hop-agent status --json";
    let script = format!("sh -c '{} {status} 2>/dev/null || {status}'", server.sudo);
    let asked = server.connection.run(&script, b"", STATUS_LIMIT);
    let Ok(status) = asked.map(|done| done.text()) else { return failure };
    let Ok(status) = serde_json::from_str::<Value>(&status) else { return failure };
    let (port, ssh) = (host.endpoint.port, server.ssh);
    let open = match server.firewall {
        "ufw" => format!("{ssh} sudo ufw allow {port}/udp"),
        "firewall-cmd" => format!("{ssh} sudo firewall-cmd --add-port={port}/udp"),
        _ => format!("hop setup {}", host.name),
    };
    let (why, next) = judge(&status, host, port, open, ssh);
    Failure { why, next, ..failure }
}

fn judge(
    status: &Value,
    host: &HostConfig,
    port: u16,
    open: String,
    ssh: &str,
) -> (String, String) {
    let address = &host.endpoint.host;
    if status["running"] == false {
        let why = status["why"].as_str().unwrap_or("it ended");
        let next = format!("{ssh} sudo journalctl -n 50 -u hop-agent");
        return (format!("the agent on {address} is not running: {why}"), next);
    }
    if status["heard"] == false {
        let why = format!(
            "not one UDP packet reached {address}: let UDP {port} in, in the provider's firewall \
             and in the server's own, and out of the network you are in"
        );
        return (why, open);
    }
    let ours = host.local_ip.to_string();
    let peers = status["peers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours = peers.iter().find(|peer| peer["address"] == ours.as_str());
    let known = ours.is_some_and(|peer| peer["rx_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    let next = format!("{ssh} sudo /usr/libexec/hopbox/hop-agent status");
    if known {
        let why = format!(
            "{address} sees this laptop's packets on UDP {port}, but its answers do not arrive \
             here: let UDP in from that port"
        );
        return (why, next);
    }
    let why = format!("UDP packets reach {address}, but none that this laptop's key has made");
    (why, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::config::Endpoint;
    use serde_json::json;

    #[test]
    fn the_side_that_saw_nothing_is_named() {
        let host = HostConfig {
            name: "mybox".to_owned(),
            endpoint: Endpoint { host: "203.0.113.7".to_owned(), port: 51821 },
            public_key: [0; 32],
            preshared_key: None,
            local_ip: "10.10.0.1".parse().unwrap(),
            peer_ip: "10.10.0.2".parse().unwrap(),
            number: 0,
            mtu: 1420,
            keepalive_s: 25,
            api_port: 4200,
            token: String::new().into(),
            user: None,
            identity: None,
            ssh: None,
        };
        let judged = |status: Value| judge(&status, &host, 51821, "open".to_owned(), "ssh x");
        let (why, next) = judged(json!({"running": true, "heard": false}));
        assert!(why.contains("not one UDP packet reached 203.0.113.7") && next == "open", "{why}");
        let (why, _) = judged(json!({"running": true, "heard": true,
            "peers": [{"address": "10.10.0.3", "rx_bytes": 5}, {"address": "10.10.0.1", "rx_bytes": 148}]}));
        assert!(why.contains("do not arrive here"), "{why}");
        let (why, _) = judged(json!({"running": true, "heard": true,
            "peers": [{"address": "10.10.0.1", "rx_bytes": 0}]}));
        assert!(why.contains("none that this laptop's key"), "{why}");
        let (why, next) = judged(json!({"running": false, "why": "it crashed"}));
        assert!(why.contains("it crashed") && next.contains("journalctl"), "{why}");
    }

    #[test]
    fn a_path_survives_the_group_shell() {
        let process = command(Path::new("/opt/it's/hop"), "mybox", true);
        let words: Vec<_> = process.get_args().map(|word| word.to_string_lossy()).collect();
        assert_eq!(words[2], r"exec '/opt/it'\''s/hop' --json --no-input up mybox");
    }
}
