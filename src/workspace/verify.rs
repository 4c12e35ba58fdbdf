//! What no single key can show: who depends on whom, and who has which port.

use std::collections::{BTreeMap, BTreeSet};

use super::check::API_PORT;
use super::manifest::{Condition, Kind, Probe, Restart, Service};
use super::order;
use super::wrong::{Refusal, quoted};
use crate::base::command_line::closest;

type Services = BTreeMap<String, Service>;
type Found = Vec<(String, Refusal)>;

/// What is wrong, each with the path of the key. `broken` are services that were told of already.
pub fn services(at: &str, all: &Services, broken: &BTreeSet<String>) -> Found {
    let mut found = Found::new();
    for (name, service) in all {
        let at = format!("{at}.{name}");
        depends(&at, name, service, all, broken, &mut found);
        probe(&at, name, service, &mut found);
    }
    ports(at, all, &mut found);
    // One that depends on itself was told of.
    for circle in order::circles(all).iter().filter(|circle| circle.len() > 1) {
        let first = circle.first().cloned().unwrap_or_default();
        let why = format!("waits for itself: {} → {first}", circle.join(" → "));
        found.push((format!("{at}.{first}.depends_on"), Refusal::new(why, "remove one of them")));
    }
    found
}

fn depends(
    at: &str,
    name: &str,
    service: &Service,
    all: &Services,
    broken: &BTreeSet<String>,
    found: &mut Found,
) {
    let path = format!("{at}.depends_on");
    for (on, condition) in &service.depends_on {
        if on == name {
            let why = format!("{name} depends on itself");
            found.push((path.clone(), Refusal::new(why, "remove it")));
            continue;
        }
        let Some(other) = all.get(on) else {
            if !broken.contains(on) {
                found.push((path.clone(), missing(on, all)));
            }
            continue;
        };
        let refusal = match condition {
            Condition::Healthy if other.health.is_none() => {
                let why = format!("{on} has no health check, so it is never healthy");
                Refusal::new(why, format!("give {on} one, or write {on}: started"))
            }
            Condition::Completed if other.restart == Restart::Always => {
                let why = format!("{on} is started again whenever it ends, so it never completes");
                Refusal::new(why, format!("write restart: on-failure for {on}"))
            }
            _ => continue,
        };
        found.push((path.clone(), refusal));
    }
}

fn missing(on: &str, all: &Services) -> Refusal {
    let fix = match closest(on, all.keys().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None => "add it, or remove it here".to_owned(),
    };
    Refusal::new(format!("there is no service {}", quoted(on)), fix)
}

/// What is asked of a container comes in through its published ports.
fn probe(at: &str, name: &str, service: &Service, found: &mut Found) {
    let (key, port) = match service.health.as_ref().map(|health| &health.probe) {
        Some(Probe::Http { port, .. }) => ("http", *port),
        Some(Probe::Tcp { port }) => ("tcp", *port),
        _ => return,
    };
    let is_container = matches!(service.kind, Kind::Container(_));
    if is_container && !service.ports.iter().any(|known| known.published == port) {
        let why = format!("{name} does not publish port {port}, so nothing answers there");
        let fix = "add it to ports, or use exec, which runs inside";
        found.push((format!("{at}.health.{key}"), Refusal::new(why, fix)));
    }
}

fn ports(at: &str, all: &Services, found: &mut Found) {
    let mut owners: BTreeMap<u16, &str> = BTreeMap::new();
    for (name, service) in all {
        for (number, port) in service.ports.iter().enumerate() {
            let path = format!("{at}.{name}.ports[{number}]");
            if port.published == API_PORT {
                let why = format!("{API_PORT} is the port of hopbox's agent there");
                found.push((path, Refusal::new(why, "publish another one")));
            } else if let Some(owner) = owners.insert(port.published, name) {
                let why = format!("{owner} publishes port {}, too", port.published);
                let fix = match service.kind {
                    Kind::Native { .. } => "let one of them listen elsewhere".to_owned(),
                    Kind::Container(_) => {
                        let other = port.published.checked_add(1).unwrap_or(1024);
                        format!("publish another one, such as \"{other}:{}\"", port.target)
                    }
                };
                found.push((path, Refusal::new(why, fix)));
            }
        }
    }
}
