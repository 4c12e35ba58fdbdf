//! What `hop doctor` says of the server itself: its clock, disks, sshd, the limits and the life of
//! services, and ports that are open in vain. Nothing of it is in a tunnel's way, so it comes late.
//! What is judged is pure; asked is through the tunnel of a host that is up.

use std::time::{Duration, Instant};

use super::services_view::bytes;
use crate::base::moment::now_ms;
use crate::fix;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::rpc::client::Client;
use crate::rpc::method::{FirewallList, ServerLook, ServicesList};
use crate::rpc::types::Nothing;
use crate::rpc::types::firewall::{Effective, Rule};
use crate::rpc::types::server::{Disk, Server, Sshd};
use crate::rpc::types::services::{OfWorkspace, ServiceView};
use crate::session::diagnose::Check;
use crate::session::through;

const LIMIT: Duration = Duration::from_secs(3);
/// A clock that is further off makes times in logs and schedules wrong, and certificates invalid.
const CLOCK_S: u64 = 30;
/// A disk with less is full soon, unless that is a good part of it.
const FREE_BYTES: u64 = 1 << 30;
const PART: u64 = 20;
const FREE_FILES: u64 = 1000;
/// The first release that has the hole of CVE-2026-123158 mended: without PAM and with musl, those
/// before let in whoever has a password that is long enough.
const MENDED: [u32; 3] = [10, 6, 2];

/// Nothing of a host that is not up, or has an older agent.
pub fn checks(paths: &Paths, host: &HostConfig) -> Vec<Check> {
    through::with_token(paths, host).map_or_else(Vec::new, |client| asked(&client, host))
}

fn asked(client: &Client, host: &HostConfig) -> Vec<Check> {
    let (before, begun) = (now_ms(), Instant::now());
    let Ok(server) = client.call(ServerLook, &Nothing, LIMIT) else { return Vec::new() };
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    let services = client.call(ServicesList, &OfWorkspace { workspace: None }, LIMIT);
    let services = services.map_or_else(|_| Vec::new(), |all| all.services);
    // A server without a helper for its firewall has none.
    let rules = client.call(FirewallList, &Nothing, LIMIT);
    let rules = rules.map_or_else(|_| Vec::new(), |all| all.rules);
    let name = &host.name;
    let mut checks = vec![of_clock(name, server.unix_ms, before.saturating_add(took_ms / 2))];
    checks.extend(server.disks.iter().map(|disk| of_disk(name, disk)));
    checks.extend(server.sshd.as_ref().map(|sshd| of_sshd(name, sshd)));
    checks.push(of_limits(name, &server, &services));
    checks.extend(of_linger(name, &server));
    checks.extend(rules.iter().filter_map(|rule| of_rule(name, rule)));
    checks
}

fn of_clock(host: &str, server_ms: u64, here_ms: u64) -> Check {
    let off_s = server_ms.abs_diff(here_ms) / 1000;
    if off_s <= CLOCK_S {
        return Check::fine("clock", "the server's and this machine's agree");
    }
    let way = if server_ms > here_ms { "ahead of" } else { "behind" };
    Check::fault(
        "clock",
        "clock_off",
        format!("the server's clock is {off_s} s {way} this machine's: one of them is wrong"),
        format!("{server_ms} there, {here_ms} here, in ms since 1970"),
        fix!("hop run -H {} -- timedatectl", host),
    )
}

fn of_disk(host: &str, disk: &Disk) -> Check {
    let Disk { path, free_bytes, bytes: all, free_files } = disk;
    let evidence = format!("{} of {} are free", bytes(*free_bytes), bytes(*all));
    if *free_bytes < FREE_BYTES && free_bytes.saturating_mul(PART) < *all {
        let cause = format!("the server's disk at {path} is full, or soon will be");
        let fix = fix!("hop run -H {} -- df -h {}", host, path);
        return Check::fault("disk", "disk_full", cause, evidence, fix);
    }
    if let Some(files) = free_files.filter(|files| *files < FREE_FILES) {
        let cause = format!("the server's disk at {path} has no room for more files");
        let evidence = format!("there may be {files} more");
        let fix = fix!("hop run -H {} -- df -i {}", host, path);
        return Check::fault("disk", "disk_full", cause, evidence, fix);
    }
    Check::fine("disk", format!("{path}: {evidence}"))
}

fn of_sshd(host: &str, sshd: &Sshd) -> Check {
    let version = sshd.version.as_deref().unwrap_or("of an unknown version");
    let is_old = numbers(version).is_some_and(|numbers| numbers < MENDED);
    if !(is_old && sshd.is_musl && !sshd.has_pam) {
        return Check::fine("sshd", version);
    }
    Check::fault(
        "sshd",
        "sshd_hole",
        "the server's sshd lets in whoever sends a password that is long enough (CVE-2026-123158)",
        format!("{version}, with musl and without PAM; OpenSSH_10.6p2 has it mended"),
        fix!("hop run -H {} -- sudo apk upgrade openssh", host),
    )
}

/// Of `OpenSSH_9.2p1`.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let (version, patch) = version.strip_prefix("OpenSSH_")?.split_once('p')?;
    let (major, minor) = version.split_once('.')?;
    Some([major.parse().ok()?, minor.parse().ok()?, patch.parse().ok()?])
}

/// One hierarchy of control groups is a fault where somebody has asked for what it takes alone.
fn of_limits(host: &str, server: &Server, services: &[ServiceView]) -> Check {
    if server.is_unified {
        return Check::fine("limits", "control groups of version 2");
    }
    let none = "control groups of version 1, by which services have no limits";
    let asked = services.iter().find_map(|one| Some((one, one.degraded.first()?)));
    let Some((service, why)) = asked else { return Check::fine("limits", none) };
    Check::fault(
        "limits",
        "cgroup_v1",
        format!("the server has {none}: boot it with systemd.unified_cgroup_hierarchy=1"),
        format!("{}/{}: {why}", service.name.workspace, service.name.service),
        fix!("hop services ls -H {}", host),
    )
}

fn of_linger(host: &str, server: &Server) -> Option<Check> {
    let login = &server.login;
    Some(match server.lingers? {
        true => Check::fine("linger", format!("services of {login} need no session")),
        false => Check::fault(
            "linger",
            "no_linger",
            format!("services of {login} end with its last session on the server"),
            "/var/lib/systemd/linger has no file of that name",
            fix!("hop setup {}", host),
        ),
    })
}

/// Nothing of what is let in, or of what nobody can tell.
fn of_rule(host: &str, rule: &Rule) -> Option<Check> {
    let Effective::Shadowed(chain) = &rule.effective else { return None };
    let port = rule.spec.text();
    Some(Check::fault(
        "ports",
        "port_shadowed",
        format!(
            "{port} is open for {}, and another firewall of the server's drops it",
            rule.spec.app
        ),
        format!("the chain {chain}"),
        fix!("hop firewall ls {}", host),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::types::firewall::{Protocol, Spec};

    fn fault(check: &Check) -> Option<(&'static str, String)> {
        check.fault.map(|fault| (fault, check.fix.to_string()))
    }

    fn sshd(version: &str, is_musl: bool, has_pam: bool) -> Sshd {
        Sshd { version: Some(version.to_owned()), is_musl, has_pam }
    }

    #[test]
    fn an_sshd_has_the_hole_with_musl_and_without_pam_alone() {
        let advised = "hop run -H mybox -- sudo apk upgrade openssh".to_owned();
        for version in ["OpenSSH_10.6p1", "OpenSSH_10.2p1", "OpenSSH_9.9p2"] {
            let said = fault(&of_sshd("mybox", &sshd(version, true, false)));
            assert_eq!(said, Some(("sshd_hole", advised.clone())), "{version}");
            assert_eq!(fault(&of_sshd("mybox", &sshd(version, false, false))), None);
            assert_eq!(fault(&of_sshd("mybox", &sshd(version, true, true))), None);
        }
        for version in ["OpenSSH_10.6p2", "OpenSSH_10.10p1", "OpenSSH_11.0p1", "dropbear", ""] {
            assert_eq!(fault(&of_sshd("mybox", &sshd(version, true, false))), None, "{version}");
        }
        let unknown = Sshd { version: None, is_musl: true, has_pam: false };
        assert_eq!(fault(&of_sshd("mybox", &unknown)), None);
    }

    #[test]
    fn a_clock_is_off_by_more_than_half_a_minute() {
        let now = 1_800_000_000_000;
        for (server, off) in [(0, false), (30_999, false), (31_000, true)] {
            assert_eq!(of_clock("mybox", now + server, now).fault.is_some(), off, "{server}");
            assert_eq!(of_clock("mybox", now, now + server).fault.is_some(), off, "{server}");
        }
        let fix = "hop run -H mybox -- timedatectl".to_owned();
        assert_eq!(fault(&of_clock("mybox", 0, u64::MAX)), Some(("clock_off", fix)));
    }

    #[test]
    fn a_disk_is_full_where_little_of_it_is_left() {
        let disk = |free_bytes, bytes, free_files| Disk {
            path: "/home/a b".to_owned(),
            free_bytes,
            bytes,
            free_files,
        };
        let gib = 1u64 << 30;
        for (of, is_full) in [
            (disk(gib, 1000 * gib, None), false),
            (disk(gib - 1, 1000 * gib, None), true),
            (disk(gib / 2, 10 * gib, Some(1000)), false),
            (disk(gib / 2, 10 * gib, Some(999)), true),
            (disk(0, 1, None), true),
            (disk(u64::MAX, u64::MAX, None), false),
        ] {
            assert_eq!(of_disk("mybox", &of).fault.is_some(), is_full, "{of:?}");
        }
        let full = fault(&of_disk("mybox", &disk(0, gib, None)));
        assert_eq!(full.unwrap().1, "hop run -H mybox -- df -h '/home/a b'");
    }

    fn server(is_unified: bool, lingers: Option<bool>) -> Server {
        let login = "dev".to_owned();
        Server { unix_ms: 1, sshd: None, is_unified, lingers, login, disks: Vec::new() }
    }

    #[test]
    fn a_login_that_does_not_linger_is_set_up_again() {
        let said = |lingers| of_linger("mybox", &server(true, lingers)).and_then(|it| fault(&it));
        assert_eq!(said(Some(false)), Some(("no_linger", "hop setup mybox".to_owned())));
        assert_eq!(said(Some(true)), None);
        assert_eq!(said(None), None, "root's need none");
    }

    #[test]
    fn a_port_that_another_chain_drops_is_open_in_vain() {
        let rule = |effective| Rule {
            id: "rule-1".to_owned(),
            spec: Spec::of(Protocol::Tcp, 8080, "hopbox-blog", ""),
            since: 1,
            effective,
        };
        let shadowed = rule(Effective::Shadowed("inet filter input".to_owned()));
        let check = of_rule("mybox", &shadowed).unwrap();
        assert_eq!(fault(&check), Some(("port_shadowed", "hop firewall ls mybox".to_owned())));
        assert!(check.cause.contains("tcp/8080") && check.evidence.contains("inet filter input"));
        assert!(of_rule("mybox", &rule(Effective::Accepted)).is_none());
        assert!(of_rule("mybox", &rule(Effective::Unknown(String::new()))).is_none());
    }
}
