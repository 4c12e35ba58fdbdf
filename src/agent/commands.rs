//! What people and `hop` run on the VPS itself, mostly over SSH: status, start, rollback, laptops,
//! rotation. Asks the running agent; where none runs, the same change is made in its files.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::config::{self, AgentConfig};
use super::exec::{bad, need_root, read_stdin, run, systemctl, warn};
use super::front::control;
use super::install::{self, PREVIOUS, PROGRAM, UNIT, WORK_UNIT};
use super::store::Store;
use super::{linger, location, log, moved, print, print_json, reserve, uninstall};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::base::field::key;
use crate::base::json::Fields;
use crate::base::key::{self, KEY_BYTES};
use crate::fix;
use crate::rpc::VERSION;
use crate::rpc::client::CallError;
use crate::rpc::code::Code as Refused;
use crate::rpc::method::{AgentReload, AgentVersion, KeysRotate, Method, PeersList, PeersRemove};
use crate::rpc::types::firewall::{Effective, Opened};
use crate::rpc::types::{
    Message, Nothing, Peers, RemovePeer, Rotate, Status, TunnelMode, WorkProcess,
};
use crate::text::fix::Fix;
use crate::text::{self, shown};

/// How long a service may take until it serves.
const START_WITHIN: Duration = Duration::from_secs(15);
const WORK_WITHIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
/// For an agent that hangs.
const RESTART: &str = "sudo systemctl restart hop-agent";

/// The running agent's status.
pub fn running(config: Option<&AgentConfig>) -> Option<Status> {
    control::look(&config?.state_dir).ok()
}

pub fn status(file: &Path, as_json: bool) -> u8 {
    let loaded = config::load(file);
    let known = loaded.as_ref().ok();
    let found = look(&loaded);
    let mut answer = match &found {
        Ok(status) => status.to_json(),
        Err((why, _)) => json!({"version": 1, "running": false, "why": why}),
    };
    answer["installed"] = json!(install::installed());
    answer["work"] = json!(known.and_then(work).map(|work| work.to_json()));
    if as_json {
        print_json(&answer)
    } else {
        print(&in_words(&found))
    };
    let Err((_, next)) = found else { return Code::Done as u8 };
    log(&format!("fix: {next}"));
    Code::No as u8
}

fn look(loaded: &Result<AgentConfig, Failure>) -> Found {
    let config = loaded
        .as_ref()
        .map_err(|failure| (format!("{}: {}", failure.what, failure.why), failure.next.clone()))?;
    control::look(&config.state_dir).map_err(|error| match error {
        CallError::Timeout(_) => ("it hangs, and does not answer".to_owned(), RESTART.into()),
        _ => {
            let next = fix!("sudo systemctl start {}", UNIT);
            ("no agent answers on its socket".to_owned(), next)
        }
    })
}

/// Its status, or why there is none and what helps.
type Found = Result<Status, (String, Fix)>;

fn in_words(found: &Found) -> String {
    let status = match found {
        Ok(status) => status,
        Err((why, _)) => return format!("hop-agent does not run: {}\n", shown(why)),
    };
    let mut text = format!(
        "hop-agent {} on {}: {} port {}, WireGuard on UDP {}{}\n",
        shown(&status.hop_version),
        shown(&status.interface),
        status.agent_address,
        status.api_port,
        status.listen_port,
        status.second_port.map(|port| format!(" and {port}")).unwrap_or_default(),
    );
    if let TunnelMode::Userspace { why } = &status.tunnel_mode {
        text += &format!(
            "  in userspace, where TCP reaches this user's own listeners: {}\n",
            shown(why)
        );
    }
    if let Some(Opened::Is(Effective::Shadowed(chain))) = &status.firewall {
        text += &format!("  the firewall drops what comes to it: {}\n", shown(chain));
    }
    for peer in &status.peers {
        let age = peer.seen.as_ref().and_then(|seen| seen.last_handshake_age_s);
        let seen = age.map_or("never seen".to_owned(), |age| format!("handshake {age} s ago"));
        text += &format!("  {:20} {:15} {seen}\n", text::cell(&peer.name), peer.address);
    }
    text
}

/// Enables and starts the unit, and waits until the agent serves. `called`: a laptop, and its name
/// for this server.
pub fn start(
    file: &Path,
    restart: bool,
    called: Option<([u8; KEY_BYTES], String)>,
) -> Result<Value, Failure> {
    need_root()?;
    install::need_systemd()?;
    let has_moved = moved::take_in()?;
    let file = &location::now(file);
    if let Some((laptop, name)) = called {
        let store = Store::open(file)?;
        store.call(&mut store.load()?, &laptop, &name)?;
    }
    let config = config::load(file)?;
    install::renew_units()?;
    install::allow_port(config.second_port)?;
    reserve::keep(&config)?;
    if let Some(user) = install::unit_user() {
        linger::give(&user);
    }
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", UNIT])?;
    let before = running(Some(&config));
    let known = before.as_ref().filter(|_| !restart);
    let is_current = known.is_some_and(|status| {
        status.hop_version == VERSION && status.second_port == config.second_port
    });
    if has_moved || !is_current {
        let _ = systemctl(&["reset-failed", UNIT, WORK_UNIT]);
        systemctl(&["restart", UNIT])?;
        let _ = systemctl(&["restart", WORK_UNIT]).map_err(|failure| warn(&failure));
    } else {
        let _ = control::ask(&config.state_dir, AgentReload, &Nothing);
        let _ = systemctl(&["start", WORK_UNIT]).map_err(|failure| warn(&failure));
    }
    let status = serving(&config)?;
    has_kept_device(before.as_ref(), &status)?;
    let mut status = status.to_json();
    status["installed"] = json!(install::installed());
    status["work"] = works(&config);
    Ok(status)
}

/// One that had a device and serves in userspace now lost it with what was just installed.
fn has_kept_device(before: Option<&Status>, now: &Status) -> Result<(), Failure> {
    let had = before.is_some_and(|before| before.tunnel_mode == TunnelMode::Kernel);
    let TunnelMode::Userspace { why } = &now.tunnel_mode else { return Ok(()) };
    if !had {
        return Ok(());
    }
    let why = format!("it had a tunnel device, and now there is none for it: {why}");
    let next = "systemctl status hop-helper";
    Err(Failure::new(Fault::Failed, "the agent did not start as it was", why, next))
}

/// What the process with the login's rights says of itself, soon: `null` if it does not run, which
/// keeps nobody from the tunnel.
fn works(config: &AgentConfig) -> Value {
    let end = Instant::now() + WORK_WITHIN;
    loop {
        if let Some(work) = work(config) {
            return work.to_json();
        }
        if Instant::now() >= end {
            log("the part of the agent with its user's rights does not run");
            log(&format!("fix: {}", fix!("sudo journalctl -u hop-agent-work")));
            return Value::Null;
        }
        thread::sleep(PAUSE);
    }
}

fn work(config: &AgentConfig) -> Option<WorkProcess> {
    control::ask(&config.state_dir, AgentVersion, &Nothing).ok()?.work
}

fn serving(config: &AgentConfig) -> Result<Status, Failure> {
    let began = Instant::now();
    let end = began + START_WITHIN;
    loop {
        if let Some(status) = running(Some(config)) {
            return Ok(status);
        }
        // systemd does not try again what ends as a wrong configuration does.
        let failed = run("systemctl", &["is-failed", "--quiet", UNIT]).is_ok();
        if failed || Instant::now() >= end {
            let log = run("journalctl", &["-u", UNIT, "-n", "8", "-o", "cat", "--no-pager"]);
            let said = log.unwrap_or_default();
            let last = said.lines().map(str::trim).collect::<Vec<_>>().join("; ");
            let spent = began.elapsed().as_secs();
            let why = format!("it does not serve after {spent} s: {last}");
            let next = "sudo journalctl -u hop-agent";
            return Err(Failure::new(Fault::Failed, "the agent did not start", why, next));
        }
        thread::sleep(PAUSE);
    }
}

/// The program before the last install, and a restart.
pub fn rollback() -> Result<Value, Failure> {
    need_root()?;
    moved::give_back(PREVIOUS)?;
    install::put_back()?;
    install::need_systemd()?;
    // By the one that is back, with its own unit: what this one cannot do may be why.
    run(PROGRAM, &["start", "--restart"])?;
    Ok(json!({"version": 1, "installed": install::installed()}))
}

pub fn peers(file: &Path) -> Result<Value, Failure> {
    let config = config::load(file)?;
    ask_or(&config, PeersList, &Nothing, || {
        let peers = config.laptops().map(|(peer, next)| peer.view(next)).collect();
        Ok(Peers { peers, you: None })
    })
}

pub fn remove(file: &Path, which: &str) -> Result<Value, Failure> {
    let config = config::load(file)?;
    let params = RemovePeer { peer: which.to_owned() };
    ask_or(&config, PeersRemove, &params, || Ok(Store::open(file)?.remove(which)?.gone()))
}

/// The agent is removed; for the sake of one `laptop` only where there is no other. A laptop that
/// is not known, such as one that was locked out, removes nothing of the others'. A damaged
/// configuration may be that of others, so it is an error then.
pub fn uninstall(
    file: &Path,
    purge: bool,
    laptop: Option<[u8; KEY_BYTES]>,
) -> Result<Value, Failure> {
    need_root()?;
    let there = fs::symlink_metadata(file).is_ok();
    let Some(laptop) = laptop.filter(|_| there) else { return uninstall::uninstall(file, purge) };
    let config = config::load(file)?;
    let own = config.laptop(&laptop).map(|(peer, _)| peer.public_key);
    let others = config.laptops().filter(|(peer, _)| Some(peer.public_key) != own).count();
    if others == 0 {
        return uninstall::uninstall(file, purge);
    }
    let entry = match own {
        Some(own) => remove(file, key::encode(&own).as_str())?,
        None => Value::Null,
    };
    Ok(json!({"version": 1, "removed": [], "laptop": entry, "others": others}))
}

/// `{"version":1,"old":KEY,"public_key":KEY}` on standard input: public keys of the laptop.
pub fn rotate(file: &Path) -> Result<Value, Failure> {
    let config = config::load(file)?;
    let read = |text: &str| {
        let mut fields = Fields::parse(text)?;
        fields.int::<u32>("version", 1..=1)?;
        let old = fields.meant("old", |text| key(text).map(|key| *key))?;
        let new = fields.meant("public_key", |text| key(text).map(|key| *key))?;
        fields.finish().map(|()| (old, new))
    };
    let (old, new) = read(&read_stdin()?).map_err(|error| bad(error.to_string()))?;
    let params = Rotate { public_key: new, old: Some(old) };
    let pair =
        ask_or(&config, KeysRotate, &params, || Ok(Store::open(file)?.begin(&old, new)?.pair()));
    pair.map_err(|failure| match failure.fault {
        Fault::NoPeer => Failure { next: "hop setup".into(), ..failure },
        _ => failure,
    })
}

/// The running agent's answer, or `alone` where none runs.
fn ask_or<M: Method>(
    config: &AgentConfig,
    method: M,
    params: &M::Params,
    alone: impl FnOnce() -> Result<M::Answer, Failure>,
) -> Result<Value, Failure> {
    match control::ask(&config.state_dir, method, params) {
        Ok(answer) => Ok(answer.to_json()),
        Err(CallError::Unreachable(_)) => {
            let done = alone()?;
            // One that was just starting may have read the files before.
            let _ = control::ask(&config.state_dir, AgentReload, &Nothing);
            Ok(done.to_json())
        }
        Err(CallError::Remote { code, message, .. }) => {
            let (fault, next) = match code == Refused::NoSuchPeer {
                true => (Fault::NoPeer, "hop host peers"),
                false => (Fault::Failed, "/usr/libexec/hopbox/hop-agent status"),
            };
            Err(Failure::new(fault, "the agent refused", message, next))
        }
        Err(error) => {
            let what = "the agent did not answer";
            Err(Failure::new(Fault::Failed, what, error.to_string(), RESTART))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::types::PeerView;

    #[test]
    fn what_a_status_says_of_others_is_data() {
        let evil = "\x1b[2J\nfix: x\u{9b}\u{202e}\u{7f}".to_owned();
        let peer = PeerView {
            name: evil.clone(),
            public_key: [1; KEY_BYTES],
            next_key: None,
            address: [10, 10, 0, 1].into(),
            agent_key: None,
            seen: None,
        };
        let status = Status {
            hop_version: evil.clone(),
            pid: 1,
            interface: evil.clone(),
            tunnel_mode: TunnelMode::Userspace { why: evil.clone() },
            agent_address: [10, 10, 0, 2].into(),
            listen_port: 51820,
            second_port: Some(443),
            api_port: 4200,
            public_key: [2; KEY_BYTES],
            heard: true,
            refused_datagrams: 0,
            peers: vec![peer],
            drops: Default::default(),
            firewall: Some(Opened::Is(Effective::Shadowed(evil.clone()))),
        };
        for (found, lines) in [(Ok(status), 4), (Err((evil, "hop help".into())), 1)] {
            let text = in_words(&found);
            assert_eq!(text.lines().count(), lines, "{text}");
            assert!(text.contains("u{1b}") && !text.contains("\nfix"), "{text}");
            let moves = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
            assert!(!text.contains(moves), "{text:?}");
        }
    }
}
