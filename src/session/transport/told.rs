//! The way in use and why, for a status, for `hop up` and for `hop doctor`.

use serde_json::{Value, json};

use crate::base::failure::Failure;
use crate::base::json::Fields;
use crate::host::config::Transport;
use crate::text::fix::Fix;

/// A way that datagrams travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    Udp,
    Ssh,
}

impl Rung {
    pub fn word(self) -> &'static str {
        match self {
            Rung::Udp => "udp",
            Rung::Ssh => "ssh",
        }
    }

    fn of_word(word: &str) -> Option<Rung> {
        [Rung::Udp, Rung::Ssh].into_iter().find(|rung| rung.word() == word)
    }
}

/// Why that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The host file or `hop up` names it.
    Asked,
    UdpPasses,
    /// No handshake is answered over UDP.
    UdpSilent,
    /// Nothing carries just now.
    Silent,
}

impl Why {
    const ALL: [Why; 4] = [Why::Asked, Why::UdpPasses, Why::UdpSilent, Why::Silent];

    pub fn word(self) -> &'static str {
        match self {
            Why::Asked => "asked",
            Why::UdpPasses => "udp_passes",
            Why::UdpSilent => "udp_silent",
            Why::Silent => "silent",
        }
    }

    fn of_word(word: &str) -> Option<Why> {
        Why::ALL.into_iter().find(|why| why.word() == word)
    }
}

/// Packets that waited too long for room in a connection over SSH, at this end of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TooLong {
    pub lost: u64,
    /// Their senders know such marks (ECN).
    pub marked: u64,
}

/// The way that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub choice: Transport,
    /// `None` while nothing carries.
    pub rung: Option<Rung>,
    pub why: Why,
    /// UDP goes to this port, which is the host's second one.
    pub second_port: Option<u16>,
    /// While there is a connection over SSH.
    pub too_long: Option<TooLong>,
    /// Why SSH cannot stand in, if it was tried and could not, and what helps.
    pub ssh: Option<(String, Fix)>,
}

impl Told {
    pub fn new(choice: Transport, rung: Option<Rung>, ssh: Option<&Failure>) -> Told {
        let why = match (choice, rung) {
            (_, None) => Why::Silent,
            (Transport::Auto, Some(Rung::Udp)) => Why::UdpPasses,
            (Transport::Auto, Some(Rung::Ssh)) => Why::UdpSilent,
            (Transport::Udp | Transport::Ssh, Some(_)) => Why::Asked,
        };
        let ssh =
            ssh.map(|failure| (format!("{}: {}", failure.what, failure.why), failure.next.clone()));
        Told { choice, rung, why, second_port: None, too_long: None, ssh }
    }

    /// In words, for `hop status` and others: `server` is where UDP would go.
    pub fn in_words(&self, server: &str) -> String {
        match (self.rung, self.why) {
            (Some(Rung::Ssh), Why::Asked) => "SSH, as asked".to_owned(),
            (Some(Rung::Ssh), _) => format!("SSH: UDP to {server} gets no answer here"),
            (Some(Rung::Udp), why) => {
                let to = self.second_port.map(|port| format!(" to the second port, {port}"));
                let asked = if why == Why::Asked { ", as asked" } else { "" };
                format!("UDP{}{asked}", to.unwrap_or_default())
            }
            (None, _) => match (&self.ssh, self.choice) {
                (Some((why, _)), _) => format!("none answers; over SSH: {why}"),
                (None, Transport::Udp) => "none: UDP gets no answer, as alone was asked".to_owned(),
                (None, _) => "none answers yet".to_owned(),
            },
        }
    }

    pub fn to_json(&self) -> Value {
        let ssh = self.ssh.as_ref();
        json!({
            "choice": self.choice.word(),
            "rung": self.rung.map(Rung::word),
            "why": self.why.word(),
            "second_port": self.second_port,
            "too_long": self.too_long.map(|it| json!({"lost": it.lost, "marked": it.marked})),
            "ssh_failed": ssh.map(|(why, _)| why),
            "ssh_fix": ssh.map(|(_, fix)| &**fix),
        })
    }

    /// Reads what [`Told::to_json`] wrote; `None` of a session that does not tell.
    pub fn from_json(value: Value) -> Option<Told> {
        let mut fields = Fields::of(value, "").ok()?;
        let rung = fields.take("rung")?;
        let text = |value: Option<Value>| Some(value?.as_str()?.to_owned());
        let second_port =
            fields.take("second_port").and_then(|port| port.as_u64()?.try_into().ok());
        let too_long = fields.take("too_long").and_then(|counts| {
            let count = |key: &str| counts.get(key)?.as_u64();
            Some(TooLong { lost: count("lost")?, marked: count("marked")? })
        });
        let failed = text(fields.take("ssh_failed"));
        let fix = text(fields.take("ssh_fix")).and_then(|fix| Fix::carried(&fix));
        Some(Told {
            choice: Transport::of_word(&fields.string("choice").ok()?).ok()?,
            rung: rung.as_str().and_then(Rung::of_word),
            why: Why::of_word(&fields.string("why").ok()?)?,
            second_port,
            too_long,
            ssh: failed.zip(fix),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::failure::Fault;

    #[test]
    fn what_is_told_is_read_and_names_the_way_and_why() {
        let locked = Failure::new(Fault::KeyLocked, "no", "the key is locked", "ssh-add k");
        for (choice, rung, ssh, why, words) in [
            (Transport::Auto, Some(Rung::Udp), None, "udp_passes", "UDP"),
            (Transport::Udp, Some(Rung::Udp), None, "asked", "UDP, as asked"),
            (Transport::Ssh, Some(Rung::Ssh), None, "asked", "SSH, as asked"),
            (
                Transport::Auto,
                Some(Rung::Ssh),
                None,
                "udp_silent",
                "SSH: UDP to 203.0.113.7:51820 gets no answer here",
            ),
            (
                Transport::Auto,
                None,
                Some(&locked),
                "silent",
                "none answers; over SSH: no: the key is locked",
            ),
        ] {
            let told = Told::new(choice, rung, ssh);
            assert_eq!(told.why.word(), why);
            assert_eq!(told.in_words("203.0.113.7:51820"), words);
            assert_eq!(Told::from_json(told.to_json()), Some(told));
        }
        let second = Told::new(Transport::Auto, Some(Rung::Udp), None);
        let second = Told { second_port: Some(443), ..second };
        assert_eq!(second.in_words(""), "UDP to the second port, 443");
        assert_eq!(Told::from_json(second.to_json()), Some(second));
        let busy = Told::new(Transport::Auto, Some(Rung::Ssh), None);
        let busy = Told { too_long: Some(TooLong { lost: 3, marked: 40 }), ..busy };
        assert_eq!(Told::from_json(busy.to_json()), Some(busy));
        for none in [json!(null), json!({}), json!({"rung": "udp", "choice": "x", "why": "asked"})]
        {
            assert_eq!(Told::from_json(none), None);
        }
    }
}
