//! Facts → verdicts, lowest layer first: the first fault is the one to mend.

use std::net::IpAddr;
use std::time::Duration;

use super::{Agent, Check, Facts, Files, Handshake, Net, Outer, Reply, Serving, Session};
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::helper::guards::{Guard, Lack};
use crate::host::config::{HostConfig, Transport};
use crate::rpc::VERSION;
use crate::session::http_proxy;
use crate::session::path_mtu::PathMtu;
use crate::session::ping::Train;
use crate::session::transport::{Rung, Told, Why};
use crate::text::fix::Fix;

/// With keepalives every 25 s a handshake that is older than this has been tried in vain.
const OLD_HANDSHAKE: Duration = Duration::from_secs(180);

/// Every check, lowest layer first. A check that could not be made is not among them.
pub fn judge(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![files(facts), key(facts), storage(&facts.paths), clock(&facts.paths)];
    checks.push(match &facts.helper {
        Ok(Serving { version, .. }) => {
            Check::fine("helper", format!("helper {version} serves this user"))
        }
        Err(bad) => Check::fault(
            "helper",
            bad.fault,
            "the helper cannot be used",
            &bad.why,
            bad.fix.clone(),
        ),
    });
    let session = session(facts);
    // That a host went down is the consequence of whatever else is found, so it is told last.
    let is_down = matches!(facts.session, Session::None { .. } | Session::Lost);
    if !is_down {
        checks.push(session.clone());
    }
    if let (Ok(host), Some(net)) = (&facts.config, &facts.net) {
        checks.extend(outside(facts, host, net));
        checks.extend(inside(facts, host, net));
    }
    checks.extend(is_down.then_some(session));
    if let Ok(serving) = &facts.helper {
        checks.extend(serving.missing.iter().map(|(guard, lack)| guards(*guard, *lack)));
    }
    checks.push(proxy(facts));
    checks
}

/// No fault of the tunnel's, and in the way of whoever uses it.
fn proxy(facts: &Facts) -> Check {
    let Some((variable, name)) = &facts.http_proxy else {
        return Check::fine("proxy", "no HTTP proxy is asked for this machine's own names");
    };
    let cause = format!("programs here ask an HTTP proxy for {name}, which it cannot reach");
    let evidence = format!("{variable} is set, and no_proxy does not name {name} for all programs");
    Check::fault("proxy", "http_proxy", cause, evidence, http_proxy::exception())
}

/// What a tunnel works without, and is less safe.
fn guards(guard: Guard, lack: Lack) -> Check {
    match guard {
        // Without both the helper makes no device.
        Guard::Ipv6Off => Check::fine("guards", format!("{}: {}", guard.without(), lack.why())),
        _ => Check::fault("guards", guard.fault(), guard.without(), lack.why(), lack.fix()),
    }
}

fn files(facts: &Facts) -> Check {
    let error = match &facts.config {
        Ok(_) => return Check::fine("host file", facts.paths.host.display().to_string()),
        Err(error) => error,
    };
    let name = match error {
        Failure { fault: Fault::Open, .. } => "host_file_open",
        Failure { fault: Fault::Newer, .. } => "host_file_newer",
        Failure { fault: Fault::NotFound, .. } => "host_file_missing",
        _ => "host_file_damaged",
    };
    Check::fault("host file", name, &error.what, &error.why, error.next.clone())
}

fn key(facts: &Facts) -> Check {
    let error = match &facts.key {
        Ok(()) => return Check::fine("key", "this machine's key can be read"),
        Err(error) => error,
    };
    let name = match error {
        Failure { fault: Fault::Open, .. } => "key_open",
        Failure { fault: Fault::NotFound, .. } => "key_missing",
        _ => "key_damaged",
    };
    // A key that is gone cannot be had back: the VPS has to be told a new one.
    let next = if error.fault == Fault::Open { error.next.clone() } else { setup(facts) };
    Check::fault("key", name, &error.what, &error.why, next)
}

fn storage(files: &Files) -> Check {
    match &files.state {
        None => Check::fine("storage", "state and log can be written"),
        Some((dir, why, next)) => {
            let cause = format!("nothing can be written in {}", dir.display());
            Check::fault("storage", "storage", cause, why, next.clone())
        }
    }
}

/// No fault: a handshake's time is above the last one's, whatever the clock says.
fn clock(files: &Files) -> Check {
    let found = files.future.as_ref().map(|(path, by)| {
        let hours = by.as_secs().div_ceil(3600);
        format!("was set back: {} was written {hours} h from now", path.display())
    });
    Check::fine("clock", found.unwrap_or_else(|| "no file of ours is from the future".to_owned()))
}

fn session(facts: &Facts) -> Check {
    let host = &facts.host;
    let up = fix!("hop up {}", host);
    match &facts.session {
        Session::Live { interface, .. } => Check::fine("session", format!("up on {interface}")),
        // As its user wants it.
        Session::None { ended: None } => Check::fine("session", format!("{host} is down")),
        Session::None { ended: Some(why) } => {
            let cause = format!("the last session of {host} ended by itself");
            Check::fault("session", "ended", cause, why, up)
        }
        Session::Lost => {
            let cause = "the session was killed";
            Check::fault(
                "session",
                "killed",
                cause,
                "its last note says up, and nobody answers",
                up,
            )
        }
        Session::Starting => {
            let next = fix!("tail {}", facts.paths.log);
            Check::fault("session", "starting", "the session is still starting", "it says so", next)
        }
        Session::Elsewhere(found) => {
            let cause = "a session is up that cannot be asked from here";
            let next = fix!("hop down {} && hop up {}", host, host);
            Check::fault("session", "elsewhere", cause, found.told(host), next)
        }
        Session::Hung(why) => {
            let next = fix!("hop down {}", host);
            Check::fault("session", "hung", "the session does not answer any more", why, next)
        }
    }
}

/// The way to the VPS.
fn outside(facts: &Facts, host: &HostConfig, net: &Net) -> Vec<Check> {
    let name = &host.endpoint.host;
    let mut checks = vec![match &net.resolved {
        Ok(_) if name.parse::<IpAddr>().is_ok() => {
            Check::fine("address", format!("{name} is an address"))
        }
        Ok(all) => Check::fine("address", format!("{name} is {}", list(all))),
        Err(why) => {
            let cause = format!("the address of {name} cannot be found");
            Check::fault(
                "address",
                "dns",
                cause,
                why,
                fix!("cat /etc/resolv.conf && getent hosts {}", name),
            )
        }
    }];
    let first = net.resolved.iter().flatten().next();
    // Says so also where there is no route at all.
    let way = first.map_or("ip route".into(), |to| fix!("ip route get {}", to));
    match &net.to_endpoint {
        None => {}
        Some(Err(why)) => {
            let cause = format!("this machine has no route to {name}");
            checks.push(Check::fault("way out", "no_route", cause, why, way));
        }
        Some(Ok((source, Some(interface)))) => {
            let cause = format!("a VPN takes the packets to {name} for itself");
            let evidence = format!("they would leave from {source} through {interface}");
            checks.push(Check::fault("way out", "vpn_takes_endpoint", cause, evidence, way));
        }
        Some(Ok((source, None))) => {
            checks.push(Check::fine("way out", format!("packets to {name} leave from {source}")));
        }
    }
    if let Some(outer) = &net.outer {
        checks.push(match told(facts).and_then(|told| told.rung.map(|rung| (told.why, rung))) {
            // What answers does not answer over UDP.
            Some((why, Rung::Ssh)) => Check::fine("UDP", unused(why, outer)),
            _ => udp(facts, host, net, outer),
        });
    }
    checks.push(transport(facts, host, net));
    checks
}

fn told(facts: &Facts) -> Option<&Told> {
    match &facts.session {
        Session::Live { transport, .. } => transport.as_ref(),
        _ => None,
    }
}

fn unused(why: Why, outer: &Outer) -> String {
    match why {
        Why::Asked => "is not used: SSH alone is asked for".to_owned(),
        _ => format!("{} gives no answer here, and SSH stands in", outer.to),
    }
}

/// The way that datagrams go, or may.
fn transport(facts: &Facts, host: &HostConfig, net: &Net) -> Check {
    match &net.over_ssh {
        Some(Ok(())) => return Check::fine("transport", "SSH: a handshake over it is answered"),
        Some(Err(failure)) => {
            let cause = "SSH cannot stand in for UDP";
            let why = format!("{}: {}", failure.what, failure.why);
            return Check::fault("transport", "ssh_transport", cause, why, failure.next.clone());
        }
        None => {}
    }
    if let Some(told) = told(facts) {
        let words = told.in_words(&host.endpoint.to_string());
        return match (&told.rung, &told.ssh) {
            (None, Some((why, next))) => {
                let cause = "SSH cannot stand in for UDP";
                Check::fault("transport", "ssh_transport", cause, why, next.clone())
            }
            _ => Check::fine("transport", words),
        };
    }
    Check::fine(
        "transport",
        match (host.transport, &host.ssh) {
            (Transport::Udp, _) => "UDP alone, as the host file says",
            (Transport::Ssh, _) => "SSH alone, as the host file says",
            (Transport::Auto, Some(_)) => "UDP, and SSH where that gets no answer",
            (Transport::Auto, None) => "UDP: setup did not go over SSH",
        },
    )
}

fn udp(facts: &Facts, host: &HostConfig, net: &Net, outer: &Outer) -> Check {
    let port = host.endpoint.port;
    let answers = match &facts.session {
        Session::Live { handshake_age, .. } => {
            matches!(net.agent, Some(Agent::Healthy { .. }))
                || handshake_age.is_some_and(|age| age < OLD_HANDSHAKE)
                    && outer.port == Reply::Silent
                    && outer.beside == Reply::Closed
        }
        // No handshake was tried beside a session that may have one.
        Session::Hung(_) | Session::Elsewhere(_) | Session::Starting => outer.port == Reply::Silent,
        Session::None { .. } | Session::Lost => net.handshake == Some(Handshake::Done),
    };
    if matches!(facts.session, Session::Live { rival: true, .. }) {
        let cause = "another machine uses this machine's key";
        let evidence = format!(
            "{} answers sessions that are not this machine's: its home directory was copied or \
             restored elsewhere; a new key is this machine's alone, and the other one needs hop \
             setup {}",
            outer.to, host.name
        );
        return Check::fault(
            "UDP",
            "key_in_two_places",
            cause,
            evidence,
            fix!("hop rotate {}", host.name),
        );
    }
    if answers {
        return Check::fine("UDP", format!("{} takes part in the protocol", outer.to));
    }
    if let Reply::Refused(why) = &outer.port {
        let cause = format!("a firewall on this machine forbids UDP to port {port}");
        return Check::fault("UDP", "udp_forbidden_here", cause, why, "sudo nft list ruleset");
    }
    if outer.port == Reply::Closed {
        let cause = format!("hop-agent is not running on {}", host.name);
        let evidence = format!("{} says that nobody listens on UDP {port}", outer.to.ip());
        return Check::fault("UDP", "agent_stopped", cause, evidence, setup(facts));
    }
    if let Some(Handshake::Rejected(reason)) = &net.handshake {
        let cause = "the preshared keys or the agent's key do not belong together";
        let evidence = format!("{} answers, and the answer is not for us ({reason})", outer.to);
        return Check::fault("UDP", "keys", cause, evidence, setup(facts));
    }
    if outer.beside == Reply::Closed {
        let cause = format!(
            "the keys of this machine and {} do not belong together, it has heard of a later time \
             from this key, or UDP {port} alone is filtered",
            host.name
        );
        let evidence = format!(
            "other UDP ports of {} say that they are closed; {port} takes handshakes and is silent",
            outer.to.ip()
        );
        return Check::fault("UDP", "keys_or_port", cause, evidence, setup(facts));
    }
    if outer.ping == Some(false) {
        let cause = format!("{} cannot be reached at all", outer.to.ip());
        let evidence = "neither UDP nor ping comes back".to_owned();
        return Check::fault("UDP", "unreachable", cause, evidence, fix!("ping {}", outer.to.ip()));
    }
    let cause = format!(
        "a firewall drops UDP {port}: at the provider of {}, on the server, or on the way",
        host.name
    );
    let evidence = match outer.ping {
        Some(_) => format!("{} answers ping, and no UDP comes back", outer.to.ip()),
        None => format!("no UDP comes back from {}", outer.to.ip()),
    };
    let evidence = match &net.over_ssh {
        Some(Ok(())) => format!("{evidence}; until it does, hop up goes over SSH, which works"),
        _ => evidence,
    };
    // Which of them it is the server can tell, over SSH.
    Check::fault("UDP", "udp_blocked", cause, evidence, setup(facts))
}

/// Whether much passes where a little does. Nothing else tells it: a handshake and a ping are
/// small, and the ladder takes UDP for good by them.
fn throttled(facts: &Facts, host: &HostConfig, train: Train) -> Check {
    let Train { sent, came } = train;
    let evidence = format!("{came} of {sent} packets come back at 0.5 Mbit/s");
    let rung = told(facts).and_then(|told| told.rung);
    if !train.is_throttled() {
        return Check::fine("rate", evidence);
    }
    let name = &host.name;
    match (rung, &host.ssh) {
        (Some(Rung::Udp), Some(_)) => {
            let cause = "UDP passes, and only a little of it: somebody on the way throttles it";
            let next = fix!("hop down {} && hop up {} --transport {}", name, name, "ssh");
            Check::fault("rate", "udp_throttled", cause, evidence, next)
        }
        _ => {
            let cause = "most of what is sent to the server is lost on the way";
            Check::fault("rate", "loss", cause, evidence, fix!("ping {}", host.peer_ip))
        }
    }
}

/// What a session has: interface, route, name, size; and the agent, who is asked without one, too.
fn inside(facts: &Facts, host: &HostConfig, net: &Net) -> Vec<Check> {
    let mut checks = Vec::new();
    let again = fix!("hop down {} && hop up {}", host.name, host.name);
    let live = matches!(facts.session, Session::Live { .. });
    match &net.interface {
        Some(Ok(())) => checks.push(Check::fine("interface", "is up with its address")),
        Some(Err(why)) => {
            let cause = "somebody changed the tunnel's interface";
            checks.push(Check::fault("interface", "interface", cause, why, &again));
        }
        None => {}
    }
    checks.extend(route(&facts.session, host, net, live));
    // Without interface or route nobody can answer: that is no fault of the agent's.
    let cut_off = checks.iter().any(|check| check.fault.is_some());
    if let Some(agent) = net.agent.as_ref().filter(|a| !cut_off || !matches!(a, Agent::Silent(_))) {
        checks.extend(agent_checks(facts, host, agent));
    }
    if let Some(found) = &net.name {
        checks.push(name_check(host, found, &again));
    }
    checks.extend(net.train.map(|train| throttled(facts, host, train)));
    checks.extend(net.mtu.map(|passes| size(facts, host, passes)));
    checks
}

/// Whether the tunnel keeps to what passes.
fn size(facts: &Facts, host: &HostConfig, passes: u16) -> Check {
    let told = match &facts.session {
        Session::Live { path_mtu, .. } => path_mtu.filter(|told| told.is_answered),
        _ => None,
    };
    let kept = told.map_or(host.mtu, |told| told.mtu);
    match told.filter(PathMtu::is_limited) {
        _ if passes < kept => Check::fault(
            "size",
            "mtu",
            format!("packets over {passes} bytes are lost on the way"),
            format!("the tunnel sends up to {kept}, and pings of that size do not return"),
            fix!("hop down {} && hop up {}", host.name, host.name),
        ),
        Some(told) => Check::fine("size", format!("packets: {}", told.in_words())),
        None => Check::fine("size", format!("packets of {passes} bytes pass whole")),
    }
}

fn route(session: &Session, host: &HostConfig, net: &Net, live: bool) -> Option<Check> {
    let peer = host.peer_ip;
    match (&net.to_peer, live) {
        (Ok((source, _)), true) if *source == IpAddr::V4(host.local_ip) => {
            Some(Check::fine("route", format!("{peer} is reached through the tunnel")))
        }
        (Ok((source, through)), true) => {
            let way = through.as_ref().map_or(String::new(), |name| format!(" through {name}"));
            let cause = format!("another route, such as a VPN's, takes the packets to {peer}");
            let evidence = format!("they would leave from {source}{way}");
            Some(Check::fault(
                "route",
                "route_taken",
                cause,
                evidence,
                fix!("ip route get {}", peer),
            ))
        }
        (Err(why), true) => {
            let next = fix!("hop down {} && hop up {}", host.name, host.name);
            let cause = format!("the route to {peer} is gone");
            Some(Check::fault("route", "route_gone", cause, why, next))
        }
        // Our own, of a session that cannot be asked from here.
        (Ok((_, Some(name))), false) if is_at(session, name) => None,
        (Ok((source, Some(name))), false) => {
            let cause = format!("a VPN has {peer}, which {} needs, on {name}", host.name);
            let evidence = format!("packets to {peer} would leave from {source}");
            Some(Check::fault(
                "route",
                "address_taken",
                cause,
                evidence,
                fix!("ip route get {}", peer),
            ))
        }
        (_, false) => None,
    }
}

fn is_at(session: &Session, device: &str) -> bool {
    matches!(session, Session::Elsewhere(found) if found.interface.as_deref() == Some(device))
}

fn agent_checks(facts: &Facts, host: &HostConfig, agent: &Agent) -> Vec<Check> {
    let (version, token) = match agent {
        Agent::Silent(why) => {
            let cause = format!("the agent on {} does not answer through the tunnel", host.name);
            return vec![Check::fault("agent", "agent_silent", cause, why, setup(facts))];
        }
        Agent::Healthy { version, token } => (version, token),
    };
    let mut checks = vec![if version == VERSION {
        Check::fine("agent", format!("agent {version} is healthy"))
    } else {
        let cause = "agent and hop are of different versions";
        let evidence = format!("the agent is {version}, this hop is {VERSION}");
        Check::fault("agent", "agent_version", cause, evidence, fix!("hop upgrade {}", host.name))
    }];
    checks.push(match token {
        Ok(()) => Check::fine("token", "the agent takes this machine's token"),
        Err(why) => {
            let cause = "the agent does not take this machine's token";
            Check::fault("token", "token", cause, why, setup(facts))
        }
    });
    checks
}

fn name_check(host: &HostConfig, found: &Result<Vec<IpAddr>, String>, again: &Fix) -> Check {
    let name = host.hop_name();
    match found {
        Ok(all) if all.first() == Some(&IpAddr::V4(host.peer_ip)) => {
            Check::fine("name", format!("{name} is {}", host.peer_ip))
        }
        Ok(all) => {
            let cause = format!("{name} means another machine");
            let evidence = format!("it is {}, and should be {}", list(all), host.peer_ip);
            Check::fault(
                "name",
                "name_elsewhere",
                cause,
                evidence,
                fix!("sudo ${EDITOR:-vi} {}", "/etc/hosts"),
            )
        }
        Err(why) => {
            let cause = format!("this machine does not know {name}");
            Check::fault("name", "name_missing", cause, why, again.clone())
        }
    }
}

/// What a host file says need not be given once more; one that is damaged is the first fault.
fn setup(facts: &Facts) -> Fix {
    fix!("hop setup {}", facts.host)
}

fn list(all: &[IpAddr]) -> String {
    all.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
