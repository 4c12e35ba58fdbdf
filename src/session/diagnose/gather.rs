//! Looks at everything that a verdict may need. Nothing is changed, and what is asked has a limit:
//! at most about twelve seconds in all when nothing answers, and six more where an agent does not.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Agent, Facts, Files, Handshake, HelperFault, Net, Reply, Serving, Session, path};
use crate::base::failure::Failure;
use crate::base::key::{self, Secret};
use crate::base::task::Tasks;
use crate::helper::{Helper, HelperError, socket_path};
use crate::host::config::{HostConfig, hop_name};
use crate::host::paths::Paths;
use crate::host::store;
use crate::rpc::client::Client;
use crate::rpc::method::AgentVersion;
use crate::rpc::types::Nothing;
use crate::session::control::{self, Live};
use crate::session::in_use::{self, Refused};
use crate::session::{elsewhere, health_checks, http_proxy, ping, source_addrs, state, through};
use crate::sys::iface;
use crate::text::fix::Fix;

const RESOLVE_LIMIT: Duration = Duration::from_secs(4);
const AGENT_LIMIT: Duration = Duration::from_secs(3);
const SIZE_LIMIT: Duration = Duration::from_millis(400);
/// Files may be this much younger than now: clocks are stepped by minutes.
const FUTURE: Duration = Duration::from_secs(1800);
/// A file has to hold this much to be worth writing.
const ROOM: [u8; 8192] = [0; 8192];

/// Gathers; `told` hears what is being looked at.
pub fn gather(paths: &Paths, name: &str, told: &mut dyn FnMut(&'static str)) -> Facts {
    told("files");
    let host = store::load(paths, name);
    let key = key::load(&store::key_file(paths, name));
    let files = files(paths, name);
    told("helper");
    let helper = helper();
    told("session");
    let session = session(paths, name);
    let net = host.as_ref().ok().map(|host| net(paths, host, key.as_ref(), &session, told));
    Facts {
        host: name.to_owned(),
        config: host,
        key: key.map(|_| ()),
        paths: files,
        helper,
        session,
        http_proxy: http_proxy::of_this_process(&hop_name(name)),
        net,
    }
}

fn files(paths: &Paths, name: &str) -> Files {
    let (host, key, log) =
        (paths.host_file(name), store::key_file(paths, name), paths.log_file(name));
    let tunnel = paths.tunnel_file(name);
    let known = [&host, &key, &log, &tunnel, &paths.stamp_file(name)].map(Clone::clone);
    let dirs = [paths.tunnels_dir(), log.parent().map(Path::to_owned).unwrap_or_default()];
    let state = dirs.into_iter().find_map(|dir| {
        unwritable(&dir).map(|error| (dir.clone(), error.to_string(), Fix::of_write(&dir, &error)))
    });
    let ahead = |path: PathBuf| {
        let written = fs::metadata(&path).and_then(|found| found.modified()).ok()?;
        let by = written.duration_since(SystemTime::now()).ok()?;
        (by > FUTURE).then_some((path, by))
    };
    Files { host, key, log, state, future: known.into_iter().find_map(ahead) }
}

/// Why a file in `dir` could not be written. A directory that is not there yet is made later, in
/// the nearest one that is.
fn unwritable(dir: &Path) -> Option<io::Error> {
    let there = dir.ancestors().find(|dir| dir.is_dir())?;
    let file = there.join(format!(".hop-doctor-{}", std::process::id()));
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
    let written = opened.and_then(|mut file| file.write_all(&ROOM).and_then(|()| file.sync_all()));
    let _ = fs::remove_file(&file);
    written.err()
}

fn helper() -> Result<Serving, HelperFault> {
    let mut helper = Helper::connect(&socket_path()).map_err(|error| {
        let fault = match &error {
            HelperError::Missing { .. } => "helper_missing",
            HelperError::Refused { .. } => "helper_refused",
            HelperError::Stranger { .. } => "helper_stranger",
            HelperError::Incompatible { .. } => "helper_incompatible",
            _ => "helper_broken",
        };
        HelperFault { fault, why: error.to_string(), fix: error.remedy() }
    })?;
    let missing = helper.guards().unwrap_or_default().missing;
    Ok(Serving { version: helper.version().to_owned(), missing })
}

fn session(paths: &Paths, name: &str) -> Session {
    match control::live(paths, name) {
        Ok(Some(live)) if live.is_starting => Session::Starting,
        Ok(Some(Live { interface, handshake_age, rival, transport, path_mtu, .. })) => {
            Session::Live { interface, handshake_age, rival, transport, path_mtu }
        }
        Err(error) => Session::Hung(error.to_string()),
        Ok(None) => match elsewhere::look_twice(paths, name, &elsewhere::devices()) {
            Some(found) => Session::Elsewhere(found),
            None => gone(paths, name),
        },
    }
}

fn gone(paths: &Paths, name: &str) -> Session {
    match state::last_known(paths, name) {
        Some(known) if known.up => Session::Lost,
        known => Session::None { ended: known.and_then(|known| known.lost) },
    }
}

fn net(
    paths: &Paths,
    host: &HostConfig,
    key: Result<&Secret, &Failure>,
    session: &Session,
    told: &mut dyn FnMut(&'static str),
) -> Net {
    told("address");
    let resolved = resolve(&host.endpoint.host);
    let endpoint = resolved.as_ref().ok().and_then(|all| all.first());
    let endpoint = endpoint.map(|ip| SocketAddr::new(*ip, host.endpoint.port));
    let interface = match session {
        Session::Live { interface, .. } => Some(interface.as_str()),
        _ => None,
    };
    told("way");
    let outer = endpoint.map(path::outer);
    told(if interface.is_some() { "agent" } else { "handshake" });
    // Nobody is there, or nothing may leave: no need to wait for what cannot come.
    let may_pass = outer.as_ref().is_some_and(|outer| outer.port == Reply::Silent);
    let may_try = may_pass && matches!(session, Session::None { .. } | Session::Lost);
    let (handshake, agent) = match (endpoint, key) {
        (Some(to), Ok(key)) if may_try => {
            let wait = path::TWO_TRIES;
            let (handshake, agent) = handshake(paths, host, key, to, wait, |client| {
                told("agent");
                ask(client)
            });
            (Some(handshake), agent)
        }
        _ => (None, interface.map(|_| agent(paths, host))),
    };
    let (over_ssh, agent) = match key {
        Ok(key) if host.ssh_may_stand_in() && handshake == Some(Handshake::Silent) => {
            told("SSH");
            match over_ssh(paths, host, key) {
                Some(Ok(found)) => (Some(Ok(())), Some(found)),
                Some(Err(failure)) => (Some(Err(failure)), agent),
                None => (None, agent),
            }
        }
        _ => (None, agent),
    };
    let healthy = interface.is_some() && matches!(agent, Some(Agent::Healthy { .. }));
    if healthy {
        told("size");
    }
    let link = through::link(paths, host).filter(|_| healthy);
    Net {
        to_endpoint: endpoint.map(|to| leaves(to.ip())),
        to_peer: leaves(IpAddr::V4(host.peer_ip)),
        interface: interface.map(|name| {
            let layer = health_checks::interface(name, host.local_ip);
            if layer.ok { Ok(()) } else { Err(layer.detail) }
        }),
        resolved,
        outer,
        handshake,
        over_ssh,
        name: interface.map(|_| resolve(&host.hop_name())),
        train: link.and_then(|link| ping::train(host, link)),
        mtu: link.and_then(|link| ping::path_mtu(host, link, SIZE_LIMIT)),
        agent,
    }
}

/// One more handshake with a host that is down, for a server that counts what it sees.
pub fn knock(paths: &Paths, host: &HostConfig) {
    let Ok(key) = key::load(&store::key_file(paths, &host.name)) else { return };
    let endpoint = resolve(&host.endpoint.host).ok().and_then(|all| all.first().copied());
    if let Some(ip) = endpoint {
        let to = SocketAddr::new(ip, host.endpoint.port);
        let quiet = |_: &Client| Agent::Silent("it was not asked".to_owned());
        handshake(paths, host, &key, to, path::ONE_TRY, quiet);
    }
}

/// `None` where another has the key.
fn over_ssh(paths: &Paths, host: &HostConfig, key: &Secret) -> Option<Result<Agent, Failure>> {
    let _held = in_use::take(paths, &host.name).ok()?;
    Some(path::over_ssh(paths, host, key, ask))
}

/// Whoever uses the key keeps it: a handshake beside it would end a live session.
fn handshake(
    paths: &Paths,
    host: &HostConfig,
    key: &Secret,
    to: SocketAddr,
    wait: Duration,
    ask: impl FnOnce(&Client) -> Agent,
) -> (Handshake, Option<Agent>) {
    let why = match in_use::take(paths, &host.name) {
        Ok(_held) => {
            return path::handshake(host, key, to, paths.stamp_file(&host.name), wait, ask);
        }
        Err(Refused::Held(_)) => "the key is in use".to_owned(),
        Err(Refused::Failed(_, why)) => why,
    };
    (Handshake::NotTried(why), None)
}

/// Asks the system's resolver, in a thread of its own: it has no limit of ours. One that does not
/// come back is left to itself and ends with this process.
fn resolve(name: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(ip) = name.parse() {
        return Ok(vec![ip]);
    }
    let asked = (name.to_owned(), 0);
    let found = Tasks::one("resolver", move || {
        asked.to_socket_addrs().map(|all| all.map(|at| at.ip()).collect::<Vec<_>>())
    });
    match found.map(|mut found| found.wait(RESOLVE_LIMIT)) {
        Ok(Some(Ok(all))) if !all.is_empty() => Ok(all),
        Ok(Some(Ok(_))) => Err("the name has no address".to_owned()),
        Ok(Some(Err(error))) | Err(error) => Err(error.to_string()),
        Ok(None) => Err(format!("the resolver did not answer in {} s", RESOLVE_LIMIT.as_secs())),
    }
}

/// The address from which packets would leave, and the tunnel that has it.
fn leaves(to: IpAddr) -> Result<(IpAddr, Option<String>), String> {
    let source = source_addrs::source_for(to).map_err(|error| error.to_string())?;
    Ok((source, iface::tunnel_with(source).ok().flatten()))
}

fn agent(paths: &Paths, host: &HostConfig) -> Agent {
    let Some(client) = through::with_token(paths, host) else {
        return Agent::Silent("the session went down, or began with another host file".to_owned());
    };
    ask(&client)
}

fn ask(client: &Client) -> Agent {
    let health = match client.health(AGENT_LIMIT) {
        Ok(health) => health,
        Err(error) => return Agent::Silent(error.to_string()),
    };
    let asked = client.call(AgentVersion, &Nothing, AGENT_LIMIT);
    let token = asked.map(drop).map_err(|error| error.to_string());
    Agent::Healthy { version: health.version, token }
}
