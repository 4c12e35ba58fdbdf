//! What a session tells while it comes up: steps with their measured time, then ready or trouble.
//!
//! The same events are printed by `hop up --foreground` and sent as JSON lines over a pipe by a
//! background session to the `hop up` that started it.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};

use crate::base::failure::{Failure, Fault};
use crate::base::json::Fields;
use crate::rpc::types::TunnelMode;
use crate::session::transport::Told;
use crate::text::fix::Fix;

/// Hears what a session does.
pub trait Report {
    /// A step is done and took this long.
    fn step(&mut self, text: &str, took: Duration);
    /// What is waited for now.
    fn waits(&mut self, text: &str);
    /// Something to know that is no step.
    fn note(&mut self, text: &str);
    /// The host is usable.
    fn ready(&mut self, facts: &Facts);
}

/// What an up tunnel is, in figures. All of it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub host: String,
    pub name: String,
    pub interface: String,
    /// Its index; a session of an older version does not tell.
    pub ifindex: Option<u32>,
    pub endpoint: String,
    pub local_ip: Ipv4Addr,
    pub peer_ip: Ipv4Addr,
    pub agent_version: String,
    pub tunnel_mode: TunnelMode,
    /// The way that its datagrams go; a session of an older version does not tell.
    pub transport: Option<Told>,
    /// Round trip of the first handshake, if it was seen.
    pub handshake: Option<Duration>,
    /// From asking the agent to its first answer, the handshake included.
    pub answered: Duration,
    /// From the first step to usable.
    pub total: Duration,
}

impl Facts {
    pub fn to_json(&self) -> Value {
        json!({
            "host": self.host,
            "name": self.name,
            "interface": self.interface,
            "ifindex": self.ifindex,
            "endpoint": self.endpoint,
            "local_ip": self.local_ip.to_string(),
            "peer_ip": self.peer_ip.to_string(),
            "agent_version": self.agent_version,
            "tunnel_mode": self.tunnel_mode.word(),
            "transport": self.transport.as_ref().map(Told::to_json),
            "handshake_us": self.handshake.map(micros),
            "answered_us": micros(self.answered),
            "total_us": micros(self.total),
        })
    }

    pub fn from_json(value: Value) -> Option<Facts> {
        let mut fields = Fields::of(value, "").ok()?;
        let handshake = match fields.take("handshake_us") {
            Some(Value::Number(number)) => Some(Duration::from_micros(number.as_u64()?)),
            _ => None,
        };
        Some(Facts {
            host: fields.string("host").ok()?,
            name: fields.string("name").ok()?,
            interface: fields.string("interface").ok()?,
            ifindex: fields.take("ifindex").and_then(|index| index.as_u64()?.try_into().ok()),
            endpoint: fields.string("endpoint").ok()?,
            local_ip: fields.parsed("local_ip", "an address").ok()?,
            peer_ip: fields.parsed("peer_ip", "an address").ok()?,
            agent_version: fields.string("agent_version").ok()?,
            tunnel_mode: TunnelMode::read(&mut fields),
            transport: fields.take("transport").and_then(Told::from_json),
            handshake,
            answered: Duration::from_micros(fields.int("answered_us", 0..=u64::MAX).ok()?),
            total: Duration::from_micros(fields.int("total_us", 0..=u64::MAX).ok()?),
        })
    }
}

/// One line of the progress pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Step(String, Duration),
    Waits(String),
    Note(String),
    Ready(Facts),
    Failed(Failure),
}

impl Event {
    pub fn to_line(&self) -> String {
        let value = match self {
            Event::Step(text, took) => json!({"step": text, "took_us": micros(*took)}),
            Event::Waits(text) => json!({"waits": text}),
            Event::Note(text) => json!({"note": text}),
            Event::Ready(facts) => json!({"ready": facts.to_json()}),
            Event::Failed(failure) => json!({"failed": failure.to_json()}),
        };
        format!("{value}\n")
    }

    pub fn from_line(line: &str) -> Option<Event> {
        let mut fields = Fields::parse(line).ok()?;
        if let Some(text) = fields.opt_string("step").ok()? {
            let took = fields.int("took_us", 0..=u64::MAX).ok()?;
            return Some(Event::Step(text, Duration::from_micros(took)));
        }
        if let Some(text) = fields.opt_string("waits").ok()? {
            return Some(Event::Waits(text));
        }
        if let Some(text) = fields.opt_string("note").ok()? {
            return Some(Event::Note(text));
        }
        if let Some(ready) = fields.take("ready") {
            return Facts::from_json(ready).map(Event::Ready);
        }
        let mut failed = fields.opt_object("failed").ok()??;
        Some(Event::Failed(Failure {
            fault: Fault::told(&mut failed),
            what: failed.string("what").ok()?,
            why: failed.string("why").ok()?,
            also: Vec::new(),
            next: Fix::carried(&failed.string("fix").ok()?).unwrap_or("hop doctor".into()),
        }))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::config::Transport;
    use crate::session::transport::Rung;

    #[test]
    fn events_survive_the_pipe() {
        let facts = Facts {
            host: "mybox".to_owned(),
            name: "mybox.hop".to_owned(),
            interface: "hopbox0".to_owned(),
            ifindex: Some(7),
            endpoint: "203.0.113.7:51820".to_owned(),
            local_ip: Ipv4Addr::new(10, 10, 0, 1),
            peer_ip: Ipv4Addr::new(10, 10, 0, 2),
            agent_version: "0.1.0".to_owned(),
            tunnel_mode: TunnelMode::Kernel,
            transport: Some(Told::new(Transport::Auto, Some(Rung::Ssh), None)),
            handshake: Some(Duration::from_micros(1200)),
            answered: Duration::from_micros(3400),
            total: Duration::from_micros(9000),
        };
        let events = [
            Event::Step("tunnel device \"hopbox0\"\n".to_owned(), Duration::from_micros(800)),
            Event::Waits("for the agent".to_owned()),
            Event::Note("the log is elsewhere".to_owned()),
            Event::Ready(Facts {
                handshake: None,
                ifindex: None,
                transport: None,
                ..facts.clone()
            }),
            Event::Ready(facts),
            Event::Failed(Failure::new(Fault::Helper, "a", "b", "c")),
        ];
        for event in events {
            let line = event.to_line();
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(Event::from_line(line.trim_end()), Some(event));
        }
        assert_eq!(Event::from_line("{}"), None);
        assert_eq!(Event::from_line("not json"), None);
    }
}
