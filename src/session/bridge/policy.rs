//! What a server may do with this laptop: a rule for each kind of wish, and the hosts that are
//! named. Pure; `policy_file` keeps it.
//!
//! Bounds: 64 hosts of each list.

use serde_json::{Value, json};

use super::address::Address;
use super::place::{self, Place};
use crate::base::json::{Fields, ReadError};
use crate::rpc::types::bridge::What;

const VERSION: u32 = 1;
pub const HOSTS: usize = 64;

/// What a server may wish for, by direction: all but `Paste` and `Browser` bring something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bridge {
    Copy,
    Paste,
    Open,
    Notify,
    Ask,
    Browser,
}

pub const BRIDGES: usize = 6;

/// Word, and what it means.
pub const ALL: [(Bridge, &str, &str); BRIDGES] = [
    (Bridge::Copy, "copy", "what is copied there is in the clipboard here"),
    (Bridge::Paste, "paste", "programs there read the clipboard here"),
    (Bridge::Open, "open", "addresses are opened in the browser here"),
    (Bridge::Notify, "notify", "notices are shown here"),
    (Bridge::Ask, "ask", "questions are asked here"),
    (Bridge::Browser, "cdp", "programs there steer a browser of their own here"),
];

impl Bridge {
    pub fn word(self) -> &'static str {
        ALL.iter().find(|(bridge, ..)| *bridge == self).map_or("", |(_, word, _)| word)
    }

    pub fn of(word: &str) -> Option<Bridge> {
        ALL.iter().find(|(_, known, _)| *known == word).map(|(bridge, ..)| *bridge)
    }

    pub fn place(self) -> usize {
        self as usize
    }

    pub fn of_wish(what: &What) -> Option<Bridge> {
        match what {
            What::Copy { .. } => Some(Bridge::Copy),
            What::Paste { .. } => Some(Bridge::Paste),
            What::Open { .. } => Some(Bridge::Open),
            What::Notify { .. } => Some(Bridge::Notify),
            What::Ask { .. } => Some(Bridge::Ask),
            What::Browser => Some(Bridge::Browser),
            What::TakenBack => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Allow,
    /// Somebody here is asked each time.
    Ask,
    Deny,
}

const RULES: [(Rule, &str); 3] = [(Rule::Allow, "allow"), (Rule::Ask, "ask"), (Rule::Deny, "deny")];

impl Rule {
    pub fn word(self) -> &'static str {
        RULES.iter().find(|(rule, _)| *rule == self).map_or("deny", |(_, word)| word)
    }

    fn of(word: &str) -> Result<Rule, String> {
        let found = RULES.iter().find(|(_, known)| *known == word);
        found.map(|(rule, _)| *rule).ok_or_else(|| "must be allow, ask or deny".to_owned())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    /// Why somebody is asked first.
    Ask(&'static str),
    Deny(&'static str),
}

/// Of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: [Rule; BRIDGES],
    /// Near hosts that are opened without a question, as an address spells them.
    pub open_hosts: Vec<String>,
    /// `host:port` that the browser for the server may go to.
    pub browser_hosts: Vec<String>,
}

impl Default for Policy {
    fn default() -> Policy {
        let mut policy = Policy::nothing();
        for bridge in [Bridge::Copy, Bridge::Open, Bridge::Notify, Bridge::Ask] {
            policy.set(bridge, Rule::Allow);
        }
        policy
    }
}

impl Policy {
    /// What cannot be read allows nothing.
    pub fn nothing() -> Policy {
        Policy { rules: [Rule::Deny; BRIDGES], open_hosts: Vec::new(), browser_hosts: Vec::new() }
    }

    pub fn rule(&self, bridge: Bridge) -> Rule {
        self.rules.get(bridge.place()).copied().unwrap_or(Rule::Deny)
    }

    pub fn set(&mut self, bridge: Bridge, rule: Rule) {
        if let Some(kept) = self.rules.get_mut(bridge.place()) {
            *kept = rule;
        }
    }

    pub fn verdict(&self, bridge: Bridge) -> Verdict {
        match self.rule(bridge) {
            Rule::Allow => Verdict::Allow,
            Rule::Ask => Verdict::Ask("you want to be asked each time"),
            Rule::Deny => Verdict::Deny("this laptop does not allow it"),
        }
    }

    /// Of an address, whose port the server answers at here if `mirrored`.
    pub fn opens(&self, address: &Address, mirrored: bool) -> Verdict {
        let (rule, named) = (self.verdict(Bridge::Open), self.open_hosts.contains(&address.host));
        match (rule, address.place) {
            (denied @ Verdict::Deny(_), _) => denied,
            (_, Place::Loopback) if !mirrored => {
                Verdict::Deny("that port of this laptop is not the server's")
            }
            (Verdict::Allow, Place::Near(why)) if !named => Verdict::Ask(why),
            (rule, _) => rule,
        }
    }

    /// The same for what its name was looked up to, on this laptop.
    pub fn opens_at(&self, address: &Address, ips: &[std::net::IpAddr]) -> Verdict {
        let named = self.open_hosts.contains(&address.host);
        let is_public = ips.iter().all(|ip| place::of_ip(*ip) == Place::Public);
        match address.place == Place::Public && !named && !is_public {
            true => Verdict::Ask("its name leads to your own network"),
            false => Verdict::Allow,
        }
    }

    pub fn to_json(&self) -> Value {
        let mut all = json!({
            "version": VERSION, "open_hosts": self.open_hosts, "cdp_hosts": self.browser_hosts,
        });
        for (bridge, word, _) in ALL {
            all[word] = self.rule(bridge).word().into();
        }
        all
    }

    pub fn read(text: &str) -> Result<Policy, ReadError> {
        let mut fields = Fields::parse(text)?;
        fields.int("version", VERSION..=VERSION)?;
        let mut policy = Policy::default();
        for (bridge, word, _) in ALL {
            if let Some(rule) = fields.opt_meant(word, Rule::of)? {
                policy.set(bridge, rule);
            }
        }
        policy.open_hosts = hosts(&mut fields, "open_hosts", &open_host)?;
        policy.browser_hosts = hosts(&mut fields, "cdp_hosts", &browser_host)?;
        fields.finish()?;
        Ok(policy)
    }
}

type Check = dyn Fn(&str) -> Result<String, String>;

fn hosts(fields: &mut Fields, key: &str, check: &Check) -> Result<Vec<String>, ReadError> {
    let list = match fields.take(key) {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= HOSTS => list,
        Some(_) => return Err(fields.error(key, format!("must be a list of at most {HOSTS}"))),
    };
    let host = |value: &Value| check(value.as_str().unwrap_or_default());
    list.iter().map(host).collect::<Result<_, _>>().map_err(|why| fields.error(key, why))
}

/// A host that may be named for `open`: as addresses spell it, without scheme and port.
pub fn open_host(text: &str) -> Result<String, String> {
    match Address::read(&format!("http://{text}/")) {
        Ok(address) if address.place == Place::Loopback => {
            Err("the ports of this laptop itself cannot be named".to_owned())
        }
        Ok(address) if address.text() == format!("http://{}/", address.host) => Ok(address.host),
        Ok(_) => Err("must be a host alone".to_owned()),
        Err(why) => Err(why.to_owned()),
    }
}

/// A host and a port that may be named for `cdp`; 443 if it says none.
pub fn browser_host(text: &str) -> Result<String, String> {
    let address = Address::read(&format!("https://{text}")).map_err(str::to_owned)?;
    if address.place == Place::Loopback {
        return Err("the ports of this laptop itself cannot be named".to_owned());
    }
    if address.text() != address.origin() {
        return Err("must be a host and a port".to_owned());
    }
    Ok(format!("{}:{}", address.host, address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::read(text).unwrap()
    }

    #[test]
    fn what_nobody_has_allowed_is_what_brings_nothing_from_here() {
        let policy = Policy::default();
        let allowed = ALL.map(|(bridge, ..)| policy.rule(bridge) == Rule::Allow);
        assert_eq!(allowed, [true, false, true, true, true, false]);
        let kept = Policy::read(&policy.to_json().to_string()).unwrap();
        assert_eq!(kept, policy);
        for (place, (bridge, word, _)) in ALL.into_iter().enumerate() {
            assert_eq!((bridge.place(), Bridge::of(word)), (place, Some(bridge)));
        }
    }

    #[test]
    fn a_file_says_exactly_what_it_means_or_nothing() {
        for bad in [
            r"{}",
            r#"{"version":2}"#,
            r#"{"version":1,"paste":"yes"}"#,
            r#"{"version":1,"all":1}"#,
            r#"{"version":1,"open_hosts":["localhost"]}"#,
            r#"{"version":1,"open_hosts":["a/b"]}"#,
            r#"{"version":1,"cdp_hosts":["127.0.0.1:80"]}"#,
            r#"{"version":1,"cdp_hosts":[1]}"#,
        ] {
            assert!(Policy::read(bad).is_err(), "{bad}");
        }
        let mut policy = Policy::default();
        policy.set(Bridge::Paste, Rule::Ask);
        policy.open_hosts.push(open_host("192.168.1.1").unwrap());
        policy.browser_hosts.push(browser_host("Example.org").unwrap());
        assert_eq!(policy.browser_hosts, ["example.org:443"]);
        assert_eq!(Policy::read(&policy.to_json().to_string()).unwrap(), policy);
    }

    #[test]
    fn what_is_near_is_asked_for_and_what_is_here_is_the_servers_or_nobodys() {
        let mut policy = Policy::default();
        let opens = |policy: &Policy, text: &str, mirrored| policy.opens(&address(text), mirrored);
        assert_eq!(opens(&policy, "https://example.org", false), Verdict::Allow);
        assert!(matches!(opens(&policy, "http://192.168.1.1/", true), Verdict::Ask(_)));
        assert!(matches!(opens(&policy, "http://localhost:631/", false), Verdict::Deny(_)));
        assert_eq!(opens(&policy, "http://localhost:5173/", true), Verdict::Allow);
        policy.open_hosts.push("192.168.1.1".to_owned());
        assert_eq!(opens(&policy, "http://192.168.1.1:8080/", true), Verdict::Allow);
        assert!(matches!(opens(&policy, "http://192.168.1.2/", true), Verdict::Ask(_)));
        policy.set(Bridge::Open, Rule::Ask);
        assert!(matches!(opens(&policy, "https://example.org", false), Verdict::Ask(_)));
        assert!(matches!(opens(&policy, "http://192.168.1.1/", false), Verdict::Ask(_)));
        policy.set(Bridge::Open, Rule::Deny);
        for text in ["https://example.org", "http://192.168.1.1/", "http://localhost:5173/"] {
            assert!(matches!(opens(&policy, text, true), Verdict::Deny(_)), "{text}");
        }
    }

    #[test]
    fn a_public_name_that_leads_home_is_asked_for() {
        let policy = Policy::default();
        let ip = |text: &str| text.parse().unwrap();
        let at = |ips: &[std::net::IpAddr]| policy.opens_at(&address("http://a.example/"), ips);
        assert_eq!(at(&[ip("93.184.216.34")]), Verdict::Allow);
        assert_eq!(at(&[]), Verdict::Allow, "it is not known; the browser will say");
        for home in ["127.0.0.1", "192.168.0.1", "::1", "::ffff:10.0.0.1", "169.254.1.1"] {
            assert!(matches!(at(&[ip("93.184.216.34"), ip(home)]), Verdict::Ask(_)), "{home}");
        }
    }
}
