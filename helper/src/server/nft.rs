//! nft(8), and the worker that runs it: the one process that may change the firewall. It is asked
//! for the table of some rules, which it checks as if a stranger had asked, or for a look. Must not
//! know: users, state.

use crate::core::access::Access;
use crate::proto::Args;
use crate::server::firewall::rule::Spec;
use crate::server::firewall::store::is_id;
use crate::server::firewall::table::{self, Rule};
use crate::server::program::{Failed, Program, Turn};
use crate::server::worker::{self, Answer};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;

/// How the daemon starts its worker.
pub const WORD: &str = "--worker";
const NFT: Program = Program {
    name: "nft",
    paths: &["/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"],
    package: "nftables",
};
/// What is read: the names of numbers, and which devices lead into tunnels.
const READS: [&str; 3] = ["/etc/protocols", "/etc/services", "/proc/self/net"];
const DEVICES: &str = "/sys/devices/virtual/net";
const ROUTES: &str = "/proc/self/net/route";
/// ARPHRD_NONE: a device without addresses of a link, as TUN and WireGuard are.
const NO_LINK: &str = "65534";
const ROUTES_MAX: u64 = 1 << 20;

/// Our table and all tables, as nft lists them; `None` where there is no such table, or where all
/// of them are too much to be looked through.
pub struct Seen {
    pub own: Option<Value>,
    pub all: Option<Value>,
    /// All of them for people, where JSON does not say everything.
    pub text: String,
    /// Devices by which nobody comes from outside.
    pub inner: Vec<String>,
}

/// To make the table of these rules, or with `None` only to look.
pub fn request(rules: Option<&[Rule]>) -> Value {
    let row = |(id, spec): &Rule| json!({"rule_id": id, "spec": spec.to_json()});
    json!({"rules": rules.map(|rules| rules.iter().map(row).collect::<Value>())})
}

/// What the worker has answered; an error is what nft said.
pub fn seen((head, body): &Answer) -> Result<Seen, String> {
    if let Some(error) = head.get("error").and_then(Value::as_str) {
        return Err(error.to_owned());
    }
    let len = |key: &str| head.get(key).and_then(Value::as_u64).unwrap_or(0) as usize;
    let cut = |at: usize, len: usize| body.get(at..).and_then(|rest| rest.get(..len));
    let json = |bytes: Option<&[u8]>| serde_json::from_slice(bytes.unwrap_or_default()).ok();
    let text = cut(len("own") + len("all"), len("text")).unwrap_or_default();
    Ok(Seen {
        own: json(cut(0, len("own"))),
        all: json(cut(len("own"), len("all"))),
        text: String::from_utf8_lossy(text).into_owned(),
        inner: serde_json::from_value(head.get("inner").cloned().unwrap_or_default())
            .unwrap_or_default(),
    })
}

/// The worker.
pub fn serve() -> Result<(), String> {
    let mut reads = READS.map(|path| (PathBuf::from(path), Access::Read)).to_vec();
    reads.push((PathBuf::from(DEVICES), Access::Look));
    worker::serve(reads, |line, turn| {
        let rules = question(line).ok_or_else(|| Failed::Said("no question".to_owned()));
        let (error, lists) = match rules.and_then(|rules| lists(rules, turn)) {
            Ok(lists) => (None, lists),
            Err(Failed::Said(why)) => (Some(why), Lists::default()),
            Err(Failed::TooLong) => (Some("nft writes too much".to_owned()), Lists::default()),
        };
        let [own, all, text] = lists.each_ref().map(|list| list.as_ref().map(Vec::len));
        let inner = tunnels();
        let head = json!({"error": error, "own": own, "all": all, "text": text, "inner": inner});
        (head, lists.into_iter().flatten().flatten().collect())
    })
}

/// The rules to make, checked as if a stranger had asked; without any, only a look.
fn question(line: &[u8]) -> Option<Option<Vec<Rule>>> {
    let question: Value = serde_json::from_slice(line).ok()?;
    let rule = |row: &Value| {
        let id = row.get("rule_id")?.as_str().filter(|id| is_id(id))?.to_owned();
        Some((id, Spec::read(&Args(row.get("spec")?.as_object()?)).ok()?))
    };
    match question.get("rules")? {
        Value::Null => Some(None),
        rules => rules.as_array()?.iter().map(rule).collect::<Option<_>>().map(Some),
    }
}

/// Our table, all tables, and all of them for people.
type Lists = [Option<Vec<u8>>; 3];

fn lists(rules: Option<Vec<Rule>>, turn: Turn) -> Result<Lists, Failed> {
    let list = |words: &[&str]| NFT.run(words, "", turn)?.good();
    if let Some(rules) = rules {
        NFT.run(&["-f", "-"], &table::script(&rules), turn)?.good()?;
    }
    let tables = list(&["-j", "list", "tables"])?;
    let tables: Value = serde_json::from_slice(&tables).unwrap_or_default();
    let ours = table::is_among(&tables);
    let ours = ours.ok_or_else(|| Failed::Said("nft lists what nobody can read".to_owned()))?;
    let own =
        ours.then(|| list(&["-j", "list", "table", table::FAMILY, table::NAME])).transpose()?;
    let optional = |words: &[&str]| match list(words) {
        Err(Failed::TooLong) => Ok(None),
        listed => listed.map(Some),
    };
    // Without what is in sets: that may be very long.
    let all = optional(&["-j", "-t", "list", "ruleset"])?;
    // Conditions of iptables are for people alone.
    let xt = all.as_ref().is_some_and(|all| all.windows(4).any(|word| word == b"\"xt\""));
    let text = if xt { optional(&["-t", "-a", "list", "ruleset"])? } else { None };
    Ok([own, all, text])
}

/// But one that is the way to everybody, who may come back by it. Without routes none is known.
fn tunnels() -> Vec<String> {
    let mut routes = String::new();
    let read = File::open(ROUTES).and_then(|f| f.take(ROUTES_MAX).read_to_string(&mut routes));
    let names = fs::read_dir(DEVICES).into_iter().flatten().flatten().filter_map(|device| {
        let kind = fs::read_to_string(device.path().join("type")).ok()?;
        (kind.trim() == NO_LINK).then(|| device.file_name().into_string().ok())?
    });
    names.filter(|name| read.is_ok() && !routes.lines().any(|line| is_to_all(line, name))).collect()
}

/// Whether a route of this device is for all addresses, or for one half of them.
fn is_to_all(route: &str, device: &str) -> bool {
    let words: Vec<&str> = route.split_whitespace().collect();
    // The bytes of a mask are the other way round where the processor's are.
    words.first() == Some(&device)
        && words.get(7).is_some_and(|mask| ["00000000", "00000080", "80000000"].contains(mask))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_everybody_leads_in_again() {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n";
        let route = |to: &str, mask: &str| format!("wg0\t{to}\t00000000\t0001\t0\t0\t0\t{mask}\t0");
        assert!(is_to_all(&route("00000000", "00000000"), "wg0"));
        assert!(is_to_all(&route("00000000", "00000080"), "wg0"));
        assert!(!is_to_all(&route("0A0A0000", "00FFFFFF"), "wg0"));
        assert!(!is_to_all(&route("00000000", "00000000"), "wg"));
        assert!(!head.lines().any(|line| is_to_all(line, "Iface")));
    }
}
