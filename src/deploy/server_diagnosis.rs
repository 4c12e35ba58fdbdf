//! Which side saw packets, when the tunnel did not come up: the server is asked over SSH, before
//! the try and after it. What its counters say of earlier days is nothing to go by.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::agent_status::{AgentState, AgentStatus, Counters};
use super::preflight::Survey;
use super::remote::{AGENT, AGENT_FILES, Remote};
use crate::base::exit::Code;
use crate::base::failure::Failure;
use crate::fix;
use crate::host::config::HostConfig;
use crate::ssh::target::Target;
use crate::text::fix::Fix;

const STATUS_LIMIT: Duration = Duration::from_secs(20);

/// The agent's status; `None` where this login may not ask.
pub fn status(remote: &Remote, survey: &Survey) -> Option<AgentStatus> {
    // Where sudo would ask, the login may still be the agent's own, but lack the group that may
    // read its files. Exit 3 is an answer, too.
    let [new, old] = AGENT_FILES;
    let script = format!(
        "sh -c 'if [ -r {new} ] || [ -r {old} ]; then {AGENT} status --json; \
         else {}{AGENT} status --json; fi 2>/dev/null'",
        survey.sudo.words(false)
    );
    let feed = survey.sudo.silence();
    let asked = remote.connection.stream(&script, feed, &mut |_| {}, STATUS_LIMIT).ok()?;
    AgentStatus::read(serde_json::from_slice(&asked.stdout).ok()?).ok()
}

/// What the server saw of a try that failed.
pub fn explain(
    remote: &Remote,
    survey: &Survey,
    host: &HostConfig,
    before: Option<&AgentStatus>,
    failure: Failure,
) -> Failure {
    // The laptop's own trouble, and an answer that came, need no word of the server.
    if matches!(failure.code(), Code::Helper | Code::Busy | Code::Remote) {
        return failure;
    }
    let (target, login) = (&remote.target, survey.get("user"));
    let Some(after) = status(remote, survey) else {
        let why = format!(
            "{}; what the server saw could not be asked: {login} is not the agent's user there, \
             and sudo wants a password",
            failure.why
        );
        return Failure { why, next: target.by_hand(fix!("sudo {} status", AGENT)), ..failure };
    };
    let after = match after.state {
        AgentState::Running(counters) => counters,
        AgentState::Stopped(why) => {
            let why = format!("the agent on {} is not running: {why}", host.endpoint.host);
            let next = target.by_hand("sudo journalctl -n 50 -u hop-agent");
            return Failure { why, next, ..failure };
        }
    };
    let before = before.and_then(|status| match &status.state {
        AgentState::Running(counters) => Some(counters),
        AgentState::Stopped(_) => None,
    });
    let seen = Seen::between(before, &after, host.local_ip);
    let (why, next) = judge(seen, (target, survey.get("firewall")), host, &after, &failure.why);
    Failure { why, next, ..failure }
}

/// How far this laptop's packets came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// Datagrams, but none with a key that the agent knows.
    Strange,
    /// Ours, but no answer came back.
    Ours,
    /// Both sides have a session.
    Handshake,
}

impl Seen {
    fn between(before: Option<&Counters>, after: &Counters, ours: Ipv4Addr) -> Seen {
        // An agent that was started anew has counted from nothing.
        let nothing = Counters::default();
        let before = before.filter(|before| before.pid == after.pid).unwrap_or(&nothing);
        let shaken = after.handshake(ours);
        if shaken.is_some() && shaken != before.handshake(ours) {
            Seen::Handshake
        } else if after.received(ours) > before.received(ours) {
            Seen::Ours
        } else if after.refused_datagrams > before.refused_datagrams {
            Seen::Strange
        } else {
            Seen::Nothing
        }
    }
}

/// Why, and what to do.
fn judge(
    seen: Seen,
    (target, firewall): (&Target, &str),
    host: &HostConfig,
    agent: &Counters,
    before: &str,
) -> (String, Fix) {
    let by_hand = |command: Fix| target.by_hand(command);
    let (address, port) = (&host.endpoint.host, host.endpoint.port);
    let look = by_hand(fix!("sudo {} status", AGENT));
    // What the agent listens on; the endpoint's port may be a router's.
    let listens = agent.listen_port.unwrap_or(port);
    match seen {
        Seen::Nothing => {
            let why = format!(
                "not one UDP packet reached {address}: let UDP {port} in, in the provider's \
                 firewall and in the server's own, and out of the network you are in; where UDP \
                 goes another way than ssh, name it with --endpoint"
            );
            let next = match firewall {
                "ufw" => by_hand(fix!("sudo ufw allow {}/udp", listens)),
                "firewall-cmd" => by_hand(firewalld(&fix!("--add-port={}/udp", listens))),
                _ => fix!("hop setup {}", host.name),
            };
            (why, next)
        }
        Seen::Strange => {
            let why =
                format!("UDP packets reach {address}, but none that this laptop's key has made");
            (why, look)
        }
        Seen::Ours => {
            let why = format!(
                "{address} sees this laptop's packets on UDP {port}, but its answers do not \
                 arrive here: let UDP in from that port"
            );
            (why, look)
        }
        Seen::Handshake => {
            let interface = agent.interface.as_deref().unwrap_or("wg0");
            let why = format!(
                "{before}; there was a handshake and the agent runs, so it is the server's own \
                 firewall that must let TCP {} in on {interface}",
                host.api_port
            );
            let next = match firewall {
                "ufw" => by_hand(fix!("sudo ufw allow in on {}", interface)),
                "firewall-cmd" => {
                    by_hand(firewalld(&fix!("--zone=trusted --add-interface={}", interface)))
                }
                _ => by_hand("sudo nft list ruleset".into()),
            };
            (why, next)
        }
    }
}

/// For later, and from now on.
fn firewalld(what: &Fix) -> Fix {
    fix!("sudo firewall-cmd --permanent {} && sudo firewall-cmd --reload", what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_came_since_the_try_began_counts() {
        let status = |pid: u32, rx: u64, strange: u64, at: Option<u64>| {
            let status = AgentStatus::read(json!({"running": true, "pid": pid,
                "refused_datagrams": strange, "peers": [
                {"address": "10.10.0.3", "rx_bytes": rx * 3 + 7, "last_handshake_unix_us": 9999},
                {"address": "10.10.0.1", "rx_bytes": rx, "last_handshake_unix_us": at}]}));
            match status.unwrap().state {
                AgentState::Running(counters) => counters,
                AgentState::Stopped(why) => panic!("{why}"),
            }
        };
        let (before, ours) = (status(7, 500, 3, Some(1000)), Ipv4Addr::new(10, 10, 0, 1));
        for (after, seen) in [
            (status(7, 500, 3, Some(1000)), Seen::Nothing),
            (status(7, 500, 4, Some(1000)), Seen::Strange),
            (status(7, 648, 3, Some(1000)), Seen::Ours),
            (status(7, 900, 9, Some(1001)), Seen::Handshake),
            (status(8, 0, 0, None), Seen::Nothing),
            (status(8, 148, 0, None), Seen::Ours),
            (status(8, 148, 0, Some(1001)), Seen::Handshake),
        ] {
            assert_eq!(Seen::between(Some(&before), &after, ours), seen, "{after:?}");
        }
        let stranger = Ipv4Addr::new(10, 10, 0, 9);
        assert_eq!(Seen::between(None, &before, stranger), Seen::Strange);
    }
}
