//! `hop doctor`: everything a host stands on is looked at; each fault with its cause, what shows
//! it, and one command that mends it.

use serde_json::json;

use super::command::{Call, Command, Flag, Group, Takes};
use super::doctor_provider;
use super::doctor_server;
use super::doctor_snap;
use super::migration_view;
use super::page::{Line, Page};
use super::running_view;
use super::target_host;
use crate::base::exit::Code;
use crate::base::failure::Failure;
use crate::session::diagnose::{self, Check, Session};

pub const COMMAND: Command = Command {
    name: "doctor",
    summary: "find out what is wrong with a host",
    usage: "hop doctor [host] [--deep] [-v]",
    details: "Looks at files, helper, session, address, way, UDP, handshake, agent, name,\n\
              packet size and HTTP proxies, whether the host is up or not, and changes nothing.\n\
              Of a host that is up also at its clock, disks, sshd, limits and open ports, and\n\
              whether the programs that run there are as released or what this laptop installs.\n\
              Where a provider's firewall is declared also at the file of its token, and with\n\
              --deep at what hopbox has opened there. Each fault is shown with its cause, the\n\
              evidence, and one command that mends it; the first is the one to begin with. With\n\
              -v also what was found in order. Exits 0 when nothing is wrong, 3 otherwise; that a\n\
              host was taken down is no fault.",
    example: "hop doctor mybox",
    group: Group::Trouble,
    flags: &[Flag {
        short: None,
        long: "deep",
        value: None,
        help: "ask the API of the host's provider, too",
    }],
    operands: (0, 1),
    takes: Takes::Host,
    hidden: false,
    run,
};

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let name = target_host::host(call, &paths)?;
    // What is found stands in the answer alone: that it was looked at is no result.
    call.out.wait(&format!("looking at {name}"));
    let facts = diagnose::gather(&paths, &name, &mut |what| call.out.detail(what));
    call.out.done("");
    let mut checks = diagnose::judge(&facts);
    if let Ok(host) = &facts.config {
        checks.extend(doctor_provider::check(host, call.args.has("deep")));
        checks.extend(doctor_server::checks(&paths, host));
        checks.extend(running_view::checks(&paths, host));
        checks.extend(doctor_snap::checks(&paths, host));
    }
    checks.extend(migration_view::checks(&paths, &name));
    let faults: Vec<&Check> = checks.iter().filter(|check| check.fault.is_some()).collect();
    let is_down = matches!(facts.session, Session::None { ended: None });
    let page = page(call, &name, &checks, is_down);
    let data = json!({
        "host": name,
        "well": faults.is_empty(),
        "first": faults.first().and_then(|check| check.fault),
        "checks": checks.iter().map(to_json).collect::<Vec<_>>(),
    });
    let code = if faults.is_empty() { Code::Done } else { Code::No };
    call.out.answer("doctor", data, page)?;
    Ok(code)
}

pub fn to_json(check: &Check) -> serde_json::Value {
    let Check { what, fault, cause, evidence, fix } = check;
    match fault {
        None => json!({"check": what, "ok": true, "found": cause}),
        Some(fault) => json!({
            "check": what, "ok": false, "fault": fault,
            "cause": cause, "evidence": evidence, "fix": &**fix,
        }),
    }
}

fn page(call: &Call, name: &str, checks: &[Check], is_down: bool) -> Page {
    let mut page = Page::default();
    let faults = checks.iter().filter(|check| check.fault.is_some()).count();
    for check in checks {
        let well = check.fault.is_none();
        if well && !call.out.is_verbose() {
            continue;
        }
        let line = Line::default().mark(well, if well { "ok" } else { "no" });
        page.add(line.and(format!("  {}: ", check.what)).and(&check.cause));
        if !well {
            page.add(Line::from("      evidence: ").and(&check.evidence));
            page.add(Line::from(format!("      fix: {}", check.fix)).whole());
        }
    }
    page.add(match faults {
        0 if is_down => format!("{name} is down, and nothing is wrong with it: hop up {name}"),
        0 => format!("{name}: nothing is wrong, {} checks", checks.len()),
        1 => format!("{name}: 1 fault, {} checks", checks.len()),
        _ => format!("{name}: {faults} faults; begin with the first"),
    });
    page
}
