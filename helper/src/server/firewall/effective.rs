//! Whether a port that is open in our table is open: what the other tables of this machine do to
//! the first packet of a new connection to it. What cannot be told from their rules is not guessed.
//! Pure. Must not know: who asks.

use crate::server::firewall::matches::{Holds, Packet, equals, statement, told};
use crate::server::firewall::rule::Spec;
use crate::server::firewall::table;
use crate::server::nft::Seen;
use serde_json::{Map, Value};
use std::cell::Cell;
use std::collections::HashMap;

/// Where a packet to this machine can be dropped.
const HOOKS: [&str; 3] = ["ingress", "prerouting", "input"];
/// Most rules that are looked at for one packet, a rule counting as often as a jump leads to it,
/// and deepest jumps. The kernel has 16.
const RULES_MAX: u32 = 20_000;
const DEPTH_MAX: u32 = 16;

// What may become of a packet, a bit for each.
const ACCEPT: u8 = 1;
const DROP: u8 = 2;
/// The next rule is met; of a chain: the rule behind the jump to it.
const ON: u8 = 4;
/// No other rule of the chain is met.
const BACK: u8 = 8;
const ANY: u8 = ACCEPT | DROP | ON;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effective {
    Accepted,
    /// By the chain of this name: family, table, chain.
    Shadowed(String),
    /// For the first chain of which it cannot be told.
    Unknown(String),
}

impl Effective {
    pub fn name(&self) -> &'static str {
        match self {
            Effective::Accepted => "accepted",
            Effective::Shadowed(_) => "shadowed",
            Effective::Unknown(_) => "unknown",
        }
    }

    pub fn chain(&self) -> Option<&str> {
        match self {
            Effective::Accepted => None,
            Effective::Shadowed(chain) | Effective::Unknown(chain) => Some(chain),
        }
    }
}

/// Of what nft lists, where that is not too much.
pub fn of(spec: &Spec, seen: &Seen) -> Effective {
    let Some(objects) = seen.all.as_ref().and_then(|all| all.get("nftables")?.as_array()) else {
        return Effective::Unknown("all tables".to_owned());
    };
    let told = by_number(&seen.text);
    let mut doubt = None;
    // By IPv4, and by IPv6 where anybody may come.
    for v6 in [false, true].into_iter().filter(|v6| !v6 || spec.source.is_none()) {
        let (packet, left) = (Packet { spec, v6, inner: &seen.inner }, Cell::new(RULES_MAX));
        let rules = Rules { objects, told: &told, packet, left };
        for chain in rules.base_chains() {
            match rules.end(chain) {
                ACCEPT => {}
                DROP => return Effective::Shadowed(full_name(chain)),
                _ => doubt = doubt.or_else(|| Some(full_name(chain))),
            }
        }
    }
    doubt.map_or(Effective::Accepted, Effective::Unknown)
}

type Object = Map<String, Value>;

fn text<'a>(object: &'a Object, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or("")
}

fn full_name(chain: &Object) -> String {
    ["family", "table", "name"].map(|key| text(chain, key)).join(" ")
}

/// Lines for people, by family, table and number.
type Told<'a> = HashMap<(&'a str, &'a str, u64), &'a str>;

fn by_number(text: &str) -> Told<'_> {
    let mut table = ("", "");
    let mut told = HashMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        if let (Some("table"), Some(family), Some(name)) =
            (words.next(), words.next(), words.next())
        {
            table = (family, name);
        }
        let (rule, number) = line.rsplit_once("# handle ").unwrap_or_default();
        if let Ok(number) = number.parse() {
            told.insert((table.0, table.1, number), rule.trim());
        }
    }
    told
}

struct Rules<'a> {
    objects: &'a [Value],
    told: &'a Told<'a>,
    packet: Packet<'a>,
    left: Cell<u32>,
}

impl<'a> Rules<'a> {
    /// Those that the packet meets, but ours; hop-helper's, in a table of the same name, keeps
    /// others from the tunnel's address, and no packet from the world.
    fn base_chains(&self) -> impl Iterator<Item = &'a Object> {
        let family = if self.packet.v6 { "ip6" } else { "ip" };
        let chains = self.objects.iter().filter_map(|object| object.get("chain")?.as_object());
        chains.filter(move |chain| {
            let ours = [table::FAMILY, "ip"].contains(&text(chain, "family"))
                && text(chain, "table") == table::NAME;
            let meets = [family, "inet", "netdev"].contains(&text(chain, "family"));
            let filters = text(chain, "type") == "filter" && HOOKS.contains(&text(chain, "hook"));
            meets && filters && !ours
        })
    }

    fn end(&self, chain: &Object) -> u8 {
        match self.walk(chain, text(chain, "name"), 0) {
            ends if ends & ON == 0 => ends,
            ends => {
                let policy = if text(chain, "policy") == "drop" { DROP } else { ACCEPT };
                ends & !ON | policy
            }
        }
    }

    /// What may become of the packet in the chain `name` of the table that `of` is in.
    fn walk(&self, of: &Object, name: &str, depth: u32) -> u8 {
        let mut ends = 0;
        let rules = self.objects.iter().filter_map(|object| object.get("rule")?.as_object());
        let here = rules.filter(|rule| {
            ["family", "table"].iter().all(|key| text(rule, key) == text(of, key))
                && text(rule, "chain") == name
        });
        for rule in here {
            let left = self.left.get().saturating_sub(1);
            self.left.set(left);
            if left == 0 || depth > DEPTH_MAX {
                return ANY;
            }
            let (holds, verdict) = self.rule(of, rule, depth);
            if holds != Holds::No {
                ends |= verdict & !ON;
            }
            if holds == Holds::Yes && verdict & ON == 0 {
                return behind(ends);
            }
        }
        behind(ends) | ON
    }

    /// Whether the packet meets the rule, and what the rule does to it.
    fn rule(&self, of: &Object, rule: &Object, depth: u32) -> (Holds, u8) {
        let mut holds = Holds::Yes;
        let statements = rule.get("expr").and_then(Value::as_array);
        for one in statements.into_iter().flatten().filter_map(Value::as_object) {
            let Some((kind, what)) = one.iter().next() else { continue };
            if let Some(verdict) = self.verdict(of, kind, what, depth) {
                return (holds, verdict);
            }
            holds = holds.and(match kind.as_str() {
                "xt" if goes_on(what) => Holds::Yes,
                "xt" => self.told(rule).map_or(Holds::Maybe, told),
                kind => statement(kind, what, &self.packet),
            });
            if holds == Holds::No {
                break;
            }
        }
        (holds, ON)
    }

    /// A rule as people read it, if it has one condition alone that JSON does not say.
    fn told(&self, rule: &Object) -> Option<&str> {
        let statements = rule.get("expr")?.as_array()?;
        let hidden = statements.iter().filter_map(|one| one.get("xt"));
        let hidden = hidden.filter(|xt| !goes_on(xt)).count();
        let number = rule.get("handle")?.as_u64()?;
        let line = self.told.get(&(text(rule, "family"), text(rule, "table"), number))?;
        (hidden == 1).then_some(*line)
    }

    /// What a statement does that ends a rule.
    fn verdict(&self, of: &Object, kind: &str, what: &Value, depth: u32) -> Option<u8> {
        let target = || what.get("target").and_then(Value::as_str).unwrap_or("");
        Some(match kind {
            "accept" => ACCEPT,
            "drop" | "reject" => DROP,
            "return" => BACK,
            "continue" => ON,
            "jump" => self.walk(of, target(), depth + 1),
            "goto" => match self.walk(of, target(), depth + 1) {
                ends if ends & ON == 0 => ends,
                ends => ends & !ON | BACK,
            },
            "vmap" => self.looked_up(of, what, depth),
            "xt" if !goes_on(what) && what.get("type").is_none_or(|kind| kind == "target") => {
                ANY | BACK
            }
            "queue" => ANY,
            _ => return None,
        })
    }

    /// A verdict for each value of a key.
    fn looked_up(&self, of: &Object, map: &Value, depth: u32) -> u8 {
        let (key, set) = (map.get("key"), map.get("data").and_then(|data| data.get("set")));
        let (Some(key), Some(set)) = (key, set.and_then(Value::as_array)) else {
            return ANY | BACK;
        };
        let mut ends = 0;
        for pair in set {
            let (Some(value), Some(Value::Object(verdict))) = (pair.get(0), pair.get(1)) else {
                return ANY | BACK;
            };
            let found = verdict.iter().find_map(|(kind, what)| self.verdict(of, kind, what, depth));
            match equals(key, value, &self.packet) {
                Holds::Yes => return ends | found.unwrap_or(ANY),
                Holds::Maybe => ends |= found.unwrap_or(ANY),
                Holds::No => {}
            }
        }
        ends | ON
    }
}

/// A target of iptables that only writes or marks.
fn goes_on(xt: &Value) -> bool {
    let name = xt.get("name").and_then(Value::as_str).unwrap_or("");
    let target = xt.get("type").is_some_and(|kind| kind == "target");
    target && ["LOG", "NFLOG", "MARK", "CONNMARK", "TRACE"].contains(&name)
}

/// Whoever returns from a chain goes on behind it.
fn behind(ends: u8) -> u8 {
    if ends & BACK == 0 { ends } else { ends & !BACK | ON }
}

#[cfg(test)]
#[path = "effective_tests.rs"]
mod tests;
