//! What setup would do to a server: what it would send, and what an agent would take there.

use serde_json::{Value, json};

use super::super::command::Call;
use super::super::page::Page;
use super::survey::Survey;
use super::{Setup, pairs, programs, there};
use crate::base::address_plan::{self, Uses};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::ssh::freight::Freight;
use crate::ssh::right::Right;

/// As the agent tries them.
const PORTS: std::ops::Range<u16> = 51820..51900;

/// What an agent that is not there yet would take. It sees more as root, such as what another
/// WireGuard that is not running is configured to have, and may choose something else.
pub struct Picks {
    interface: String,
    port: u16,
    number: u8,
}

impl Picks {
    fn of(survey: &Survey, wanted: &[u8]) -> Result<Picks, &'static str> {
        let words = |fact: &str| -> Vec<String> {
            survey.get(fact).split_whitespace().map(str::to_owned).collect()
        };
        let (links, used) = (words("links"), words("udp"));
        let mut names =
            ["wg0".to_owned()].into_iter().chain((0..1000).map(|n| format!("hopbox{n}")));
        let interface = names.find(|name| !links.contains(name));
        let port = PORTS.clone().find(|port| !used.contains(&format!("{port:04X}")));
        Ok(Picks {
            interface: interface.ok_or("no free name for an interface")?,
            port: port.ok_or("no free UDP port from 51820 on")?,
            number: address_plan::pick(wanted, &uses(survey))
                .ok_or("no 10.10.N.0/24 that is free on both machines")?,
        })
    }

    pub fn in_short(&self) -> String {
        format!(", UDP {} and {} are free", self.port, address_plan::network(self.number))
    }

    fn to_json(&self) -> Value {
        json!({
            "interface": self.interface, "listen_port": self.port, "number": self.number,
            "local_ip": format!("10.10.{}.1", self.number),
            "peer_ip": format!("10.10.{}.2", self.number),
        })
    }
}

/// The survey has the columns of /proc/net/route that matter, and the addresses alone.
fn uses(survey: &Survey) -> Uses {
    let route = |words: &str| {
        let mut words = words.split(',');
        let mut word = || words.next().unwrap_or_default().to_owned();
        format!("- {} {} - - - - {}\n", word(), word(), word())
    };
    let routes: String = survey.get("routes").split_whitespace().map(route).collect();
    let address = |ip: &str| format!("|-- {ip}\nhost LOCAL\n");
    let addresses: String = survey.get("own").split_whitespace().map(address).collect();
    Uses::parse(&format!("head\n{routes}"), &addresses)
}

impl Setup<'_> {
    /// `None` where an agent is, which keeps what it has.
    pub(super) fn picks(&self, survey: &Survey) -> Result<Option<Picks>, Failure> {
        if !survey.get("agent").is_empty() {
            return Ok(None);
        }
        let numbers = pairs::of(self.paths, &self.wish.name)?;
        Picks::of(survey, &numbers.free).map(Some).map_err(|why| {
            let what = format!("{} cannot be set up", self.target.address);
            Failure::new(Fault::Busy, what, format!("there is {why}"), "ip route")
        })
    }

    pub(super) fn tell_plan(
        &self,
        call: &mut Call,
        survey: &Survey,
        programs: [Freight; 3],
    ) -> Result<Code, Failure> {
        let send = programs::needed(programs, |one| there::needs(survey, one));
        // What installs the helper is a part of it.
        let send = send.iter().map(|freight| freight.name).filter(|name| *name != "hop-install");
        let send: Vec<&str> = send.collect();
        let picks = self.picks(survey)?;
        let password = survey.sudo == Right::Asks;
        let data = json!({
            "host": self.wish.name, "dry_run": true, "machine": survey.machine(),
            "kernel": survey.get("kernel"), "user": survey.get("user"), "send": send,
            "sudo_asks": password, "take": picks.as_ref().map(Picks::to_json),
        });
        let mut page = Page::from(match send[..] {
            [] => "the server has both programs already".to_owned(),
            _ => format!("would send {}, and install as root", send.join(" and ")),
        });
        page.add(format!("would run the agent as {} under systemd", survey.get("user")));
        page.add(match picks {
            Some(Picks { interface, port, number }) => format!(
                "would take UDP {port}, the addresses 10.10.{number}.1 and 10.10.{number}.2, and \
                 the interface {interface} there"
            ),
            None => "the agent there keeps its UDP port, addresses and interface".to_owned(),
        });
        if password {
            page.add("sudo there will ask for a password");
        }
        page.add("nothing has been changed");
        call.out.answer("setup", data, page)?;
        Ok(Code::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_uses_is_not_taken() {
        let survey = |facts: &str| {
            Survey::parse(&format!("hopbox-survey=1\nsudo=free\n{facts}end=yes\n")).unwrap()
        };
        let wanted: Vec<u8> = (0..=255).collect();
        let fresh = Picks::of(&survey("links=eth0 lo\n"), &wanted).ok().unwrap();
        assert_eq!((fresh.interface.as_str(), fresh.port, fresh.number), ("wg0", 51820, 0));
        let facts = "links=hopbox0 lo wg0\nudp=0035 CA6C CA6D\nown=10.10.1.9\n\
                     routes=00000000,0101A8C0,00000000 00000A0A,00000000,00FFFFFF\n";
        let busy = Picks::of(&survey(facts), &wanted).ok().unwrap();
        assert_eq!((busy.interface.as_str(), busy.port, busy.number), ("hopbox1", 51822, 2));
        assert!(Picks::of(&survey(facts), &[0, 1]).is_err());
    }
}
