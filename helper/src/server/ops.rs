//! What there is to ask hop-helper-server for: a row each, and a function that reads the arguments
//! and says what is done.

use crate::core::conn::Done;
use crate::core::daemon;
use crate::core::operation::{Act, Effect, Operation, Role, row};
use crate::proto::{Args, OpError, required};
use crate::server::cgroup;
use crate::server::errands::Errand;
use crate::server::firewall::rule::{ARGUMENTS, Spec};
use crate::server::firewall::{Change, LASTS_MAX, Task, is_id};
use crate::server::history;
use crate::server::host::Host;
use crate::server::mount;
use crate::server::nginx::{self, site};
use Effect::{GivesBack, Makes, Reads};
use Role::{Anybody, Neighbour};
use serde_json::Value;
use std::time::Duration;

const APP: &[&str] = &["app_name"];
const SHAKE: &[&str] = &["client_version", "client_protocol_version"];

/// By name: what it does, who may ask, with which arguments, and what reads these.
pub static OPERATIONS: [Operation<Host>; 25] = [
    row("daemon.handshake", Reads, Anybody, SHAKE, daemon::handshake),
    row("daemon.version", Reads, Anybody, &[], daemon::version),
    row("daemon.health", Reads, Anybody, &[], daemon::health),
    row("firewall.add_rule", Makes, Neighbour, ARGUMENTS, add_rule),
    row("firewall.remove_rule", GivesBack, Neighbour, &["rule_id"], remove_rule),
    row("firewall.list_rules", Reads, Neighbour, &["app_name"], list_rules),
    row("firewall.history", Reads, Neighbour, &[], history),
    row("firewall.plan_add", Reads, Neighbour, ARGUMENTS, plan_add),
    row("firewall.plan_remove", Reads, Neighbour, &["rule_id"], plan_remove),
    row("firewall.apply", Makes, Neighbour, &["digest", "confirm_s"], apply),
    row("firewall.confirm", Makes, Neighbour, &["id"], confirm),
    row("cgroup.ensure_slice", Makes, Neighbour, &[], |a| errand("cgroup.ensure_slice", a)),
    row("cgroup.set_limits", Makes, Neighbour, cgroup::LIMITS, |a| errand("cgroup.set_limits", a)),
    row("cgroup.attach_pids", Makes, Neighbour, cgroup::PIDS, |a| errand("cgroup.attach_pids", a)),
    row("cgroup.remove", GivesBack, Neighbour, APP, |a| errand("cgroup.remove", a)),
    row("cgroup.read", Reads, Neighbour, APP, |a| errand("cgroup.read", a)),
    row("mount.tmpfs", Makes, Neighbour, mount::TMPFS, |a| errand("mount.tmpfs", a)),
    row("mount.bind", Makes, Neighbour, mount::BIND, |a| errand("mount.bind", a)),
    row("mount.unmount", GivesBack, Neighbour, mount::TARGET, |a| errand("mount.unmount", a)),
    row("mount.list", Reads, Neighbour, &[], |a| errand("mount.list", a)),
    row("nginx.set_site", Makes, Neighbour, site::ARGUMENTS, set_site),
    row("nginx.remove_site", GivesBack, Neighbour, site::KEY, remove_site),
    row("nginx.list_sites", Reads, Neighbour, APP, list_sites),
    row("nginx.validate_config", Reads, Neighbour, &[], |_| of_nginx(nginx::Task::Validate)),
    row("nginx.reload", Makes, Neighbour, &[], |_| of_nginx(nginx::Task::Reload)),
];

type Read = Result<Act<Host>, OpError>;

/// What takes its time: it is answered when it is done.
fn task(task: Task) -> Read {
    Ok(Box::new(move |server, conn| {
        server.service.firewall.begin(conn.who(), task)?;
        Ok(Done::Later)
    }))
}

/// What the service manager does. Its worker reads it again.
fn errand(op: &'static str, a: &Args) -> Read {
    Errand::read(op, a)?;
    let args = Value::Object(a.0.clone());
    Ok(Box::new(move |server, conn| {
        server.service.errands.begin(conn.who(), op, &args)?;
        Ok(Done::Later)
    }))
}

/// What is kept until somebody says yes.
fn plan(change: Change) -> Read {
    Ok(Box::new(move |server, conn| Ok(server.service.firewall.plan(conn.who(), change)?.into())))
}

fn addition(a: &Args) -> Result<Change, OpError> {
    Ok(Change::Add(Spec::read(a)?))
}

fn removal(a: &Args) -> Result<Change, OpError> {
    match required("rule_id", a.text("rule_id")?)? {
        id if is_id(&id) => Ok(Change::Remove(id)),
        _ => Err(OpError::field("rule_id", "rule_id is rule- and 16 hexadecimal digits")),
    }
}

fn add_rule(a: &Args) -> Read {
    task(Task::Change(addition(a)?))
}

fn remove_rule(a: &Args) -> Read {
    task(Task::Change(removal(a)?))
}

fn list_rules(a: &Args) -> Read {
    task(Task::List(a.text("app_name")?))
}

fn history(_: &Args) -> Read {
    Ok(Box::new(|server, conn| Ok(history::of(&server.audit.path, conn.who())?.into())))
}

fn plan_add(a: &Args) -> Read {
    plan(addition(a)?)
}

fn plan_remove(a: &Args) -> Read {
    plan(removal(a)?)
}

fn apply(a: &Args) -> Read {
    let lasts = a.int("confirm_s", 1, LASTS_MAX)?.map(Duration::from_secs);
    task(Task::Planned(required("digest", a.text("digest")?)?, lasts))
}

/// Whether it comes the way that the change might have cut is for the caller to see to.
fn confirm(a: &Args) -> Read {
    let id = required("id", a.text("id")?)?;
    Ok(Box::new(move |server, conn| Ok(server.service.firewall.confirm(conn.who(), &id)?.into())))
}

fn of_nginx(task: nginx::Task) -> Read {
    Ok(Box::new(move |server, conn| {
        server.service.sites.begin(conn.who(), task)?;
        Ok(Done::Later)
    }))
}

fn set_site(a: &Args) -> Read {
    of_nginx(nginx::Task::Change(nginx::Change::Set(site::Site::read(a)?)))
}

fn remove_site(a: &Args) -> Read {
    of_nginx(nginx::Task::Change(nginx::Change::Remove(site::Key::read(a)?)))
}

fn list_sites(a: &Args) -> Read {
    let app = a.text("app_name")?;
    Ok(Box::new(move |server, conn| {
        Ok(server.service.sites.list(conn.who(), app.as_deref()).into())
    }))
}
