//! Which side saw packets, when the tunnel did not come up: the server is asked over SSH, before
//! the try and after it. What its counters say of earlier days is nothing to go by.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::agent_status::{AgentState, AgentStatus, Counters};
use super::opener::{self, Opener};
use super::preflight::Survey;
use super::remote::{AGENT, AGENT_FILES, Remote};
use super::verify;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::rpc::types::firewall::{Effective, Protocol};
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
        survey.sudo.words()
    );
    let feed = survey.sudo.silence();
    let asked = remote.connection.stream(&script, feed, &mut |_| {}, STATUS_LIMIT).ok()?;
    AgentStatus::read(serde_json::from_slice(&asked.stdout).ok()?).ok()
}

/// What the server saw of a setup's try that failed, since `before`.
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
    match after.state {
        AgentState::Running(after) => {
            let seen = Seen::between(before, &after, host.local_ip);
            Case { target, survey, host, agent: &after, is_new: true }.judge(seen, failure)
        }
        AgentState::Stopped(why) => {
            let why = format!("the agent on {} is not running: {why}", host.endpoint.host);
            let next = target.by_hand("sudo journalctl -n 50 -u hop-agent");
            Failure { why, next, ..failure }
        }
    }
}

/// What the server says of a `hop up` that failed, with one more handshake for it to see. Where it
/// cannot be asked without a question to the user, the failure is what it was.
pub fn ask(paths: &Paths, host: &HostConfig, failure: Failure) -> Failure {
    asked(paths, host, &failure).unwrap_or(failure)
}

fn asked(paths: &Paths, host: &HostConfig, failure: &Failure) -> Option<Failure> {
    let silent = match failure.fault {
        Fault::NoHandshake => true,
        Fault::AgentSilent => false,
        _ => return None,
    };
    host.ssh.as_ref()?;
    let remote = Remote::glance(paths, host).ok()?;
    let survey = remote.survey().ok()?;
    let before = status(&remote, survey)?;
    if !before.is_running() {
        // Setup starts it, or says why it does not start.
        let why = format!("the agent on {} is not running", host.endpoint.host);
        return Some(Failure { why, next: fix!("hop setup {}", host.name), ..failure.clone() });
    }
    if silent {
        verify::knock(paths, host);
    }
    let AgentState::Running(after) = status(&remote, survey)?.state else { return None };
    let seen = match silent {
        true => Seen::between(Some(&before), &after, host.local_ip),
        false => Seen::Handshake,
    };
    let case = Case { target: &remote.target, survey, host, agent: &after, is_new: false };
    Some(case.judge(seen, failure.clone()))
}

/// How far this laptop's packets came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// Datagrams, but none with a key that the agent knows.
    Strange,
    /// Handshakes from before one that it has heard.
    Late,
    /// Ours, but no answer came back.
    Ours,
    /// Both sides have a session.
    Handshake,
}

impl Seen {
    fn between(before: Option<&AgentStatus>, after: &Counters, ours: Ipv4Addr) -> Seen {
        let nothing = Counters::default();
        let before = match before.map(|status| &status.state) {
            Some(AgentState::Running(before)) => Some(before),
            _ => None,
        };
        // An agent that was started anew has counted from nothing.
        let before = before.filter(|before| before.pid == after.pid).unwrap_or(&nothing);
        let shaken = after.handshake(ours);
        if shaken.is_some() && shaken != before.handshake(ours) {
            Seen::Handshake
        } else if after.old_timestamps > before.old_timestamps {
            Seen::Late
        } else if after.received(ours) > before.received(ours) {
            Seen::Ours
        } else if after.refused_datagrams > before.refused_datagrams {
            Seen::Strange
        } else {
            Seen::Nothing
        }
    }
}

/// What the verdict depends on.
struct Case<'a> {
    target: &'a Target,
    survey: &'a Survey,
    host: &'a HostConfig,
    agent: &'a Counters,
    /// Both sides have just agreed on their keys.
    is_new: bool,
}

impl Case<'_> {
    /// Why, and what to do.
    fn judge(&self, seen: Seen, failure: Failure) -> Failure {
        let Case { host, agent, .. } = self;
        let (name, at, port) = (&host.name, &host.endpoint.host, host.endpoint.port);
        let look = || self.target.by_hand(fix!("sudo {} status", AGENT));
        let (why, next) = match seen {
            Seen::Nothing => (self.why_nothing_came(), self.let_udp_in()),
            Seen::Strange => (
                format!("UDP packets reach {at}, but none that this laptop's key has made"),
                if self.is_new { look() } else { fix!("hop setup {}", name) },
            ),
            Seen::Late => (
                format!(
                    "{at} has heard of a later time from this key (this home directory was \
                     restored or copied, or its clock was ahead): hop rotate {name} gives it a \
                     new one"
                ),
                fix!("hop rotate {}", name),
            ),
            Seen::Ours => (
                format!(
                    "{at} sees this laptop's packets on UDP {port}, but its answers do not arrive \
                     here: let UDP in from that port"
                ),
                look(),
            ),
            Seen::Handshake => {
                let interface = agent.interface.as_deref().unwrap_or("wg0");
                let why = format!(
                    "{}; there was a handshake and the agent runs, so it is the server's own \
                     firewall that must let TCP {} in on {interface}",
                    failure.why, host.api_port
                );
                (why, self.let_in_on(interface))
            }
        };
        Failure { why, next, ..failure }
    }

    fn why_nothing_came(&self) -> String {
        let (at, port) = (&self.host.endpoint.host, self.host.endpoint.port);
        let elsewhere = "out of the network you are in; where UDP goes another way than ssh, name \
                         it with --endpoint";
        match &self.agent.effective {
            Some(Effective::Shadowed(chain)) => format!(
                "not one UDP packet reached {at}: the chain {chain} of its own firewall drops what \
                 comes to UDP {}",
                self.listens_at()
            ),
            // Rules of iptables-legacy are seen by no nft.
            Some(Effective::Accepted) if self.survey.get("firewall").is_empty() => format!(
                "not one UDP packet reached {at}, whose own firewall lets them in: UDP {port} must \
                 be open at your provider, and {elsewhere}"
            ),
            _ => format!(
                "not one UDP packet reached {at}: UDP {port} must be open at your provider, in the \
                 server's own firewall, and {elsewhere}"
            ),
        }
    }

    /// The endpoint's port may be a router's.
    fn listens_at(&self) -> u16 {
        self.agent.listen_port.unwrap_or(self.host.endpoint.port)
    }

    /// By the firewall that is in force there; a provider's knows no command of ours.
    fn let_udp_in(&self) -> Fix {
        let chain = match &self.agent.effective {
            Some(Effective::Shadowed(chain)) => Some(chain.as_str()),
            _ => None,
        };
        let opener = Opener { target: self.target, survey: self.survey };
        let found = opener.lets_in(chain, self.listens_at(), Protocol::Udp);
        found.unwrap_or_else(|| fix!("hop setup {}", self.host.name))
    }

    fn let_in_on(&self, interface: &str) -> Fix {
        match self.survey.get("firewall") {
            "ufw" => self.target.by_hand(fix!("sudo ufw allow in on {}", interface)),
            "firewalld" => {
                let trusted = fix!("--zone=trusted --add-interface={}", interface);
                self.target.by_hand(opener::firewalld(&trusted))
            }
            _ => self.target.by_hand("sudo nft list ruleset"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_came_since_the_try_began_counts() {
        let status = |pid: u32, rx: u64, strange: u64, at: Option<u64>| {
            let status = AgentStatus::read(json!({"running": true, "pid": pid,
                "refused_datagrams": strange, "drops": {"old_timestamp": strange / 100}, "peers": [
                {"address": "10.10.0.3", "rx_bytes": rx * 3 + 7, "last_handshake_unix_us": 9999},
                {"address": "10.10.0.1", "rx_bytes": rx, "last_handshake_unix_us": at}]}));
            status.unwrap()
        };
        let (before, ours) = (status(7, 500, 3, Some(1000)), Ipv4Addr::new(10, 10, 0, 1));
        for (after, seen) in [
            (status(7, 500, 3, Some(1000)), Seen::Nothing),
            (status(7, 500, 4, Some(1000)), Seen::Strange),
            (status(7, 500, 104, Some(1000)), Seen::Late),
            (status(7, 648, 3, Some(1000)), Seen::Ours),
            (status(7, 900, 9, Some(1001)), Seen::Handshake),
            (status(8, 0, 0, None), Seen::Nothing),
            (status(8, 148, 0, None), Seen::Ours),
            (status(8, 148, 0, Some(1001)), Seen::Handshake),
        ] {
            let AgentState::Running(after) = after.state else { panic!("{seen:?}") };
            assert_eq!(Seen::between(Some(&before), &after, ours), seen, "{after:?}");
        }
        let AgentState::Running(before) = before.state else { panic!() };
        let stranger = Ipv4Addr::new(10, 10, 0, 9);
        assert_eq!(Seen::between(None, &before, stranger), Seen::Strange);
    }
}
