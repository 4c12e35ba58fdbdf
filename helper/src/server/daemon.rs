//! hop-helper-server: its start. Flags, root check, configuration, state, the worker, the first
//! look at the kernel, socket, signals, capabilities, sandbox, ready, serve. Must not know:
//! requests.

use crate::core::access::{Access, SandboxPaths};
use crate::core::audit::Audit;
use crate::core::peer_cred::Admission;
use crate::core::say;
use crate::core::serve::End;
use crate::core::server::Server;
use crate::core::socket::{self, Socket};
use crate::core::start::{self, Options, as_root};
use crate::core::{files, sandbox};
use crate::net::config::Config;
use crate::net::invited;
use crate::server::firewall::Firewall;
use crate::server::host::Host;
use crate::server::paths::{AUDIT_DIR, CONFIG, PROGRAM, RUN_DIR, SOCKET, STATE_DIR};
use crate::server::worker::{self, Worker};
use crate::sys;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = include_str!("usage.txt");

pub fn main() -> ExitCode {
    say::name("hop-helper-server");
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if args == [Path::new(worker::WORD)] {
        let served = start::unseen().and_then(|()| as_root()).and_then(|()| worker::serve());
        return served.map_or_else(|why| start::failed(&why, 1), |()| ExitCode::SUCCESS);
    }
    start::run(("hop-helper-server", HELP), args, (CONFIG, SOCKET), serve)
}

fn serve(options: Options) -> Result<End, String> {
    let Options { listen, config: config_path, state, audit } = options;
    let notify = socket::environment();
    as_root()?;
    sys::seal_inherited();
    // First of all, while descriptor 3 cannot be anything else.
    let passed = start::passed(&notify, listen.is_some(), SOCKET)?;
    let usual = if listen.is_some() { (RUN_DIR, RUN_DIR) } else { (STATE_DIR, AUDIT_DIR) };
    let state = state.unwrap_or_else(|| PathBuf::from(usual.0));
    let audit = audit.unwrap_or_else(|| Path::new(usual.1).join("audit.log"));
    // Root runs nothing, and believes nothing, that others could have replaced.
    let own = std::env::current_exe().is_ok_and(|exe| exe == Path::new(PROGRAM));
    own.then(|| files::check_parents(Path::new(PROGRAM))).transpose()?;
    files::check_parents(&config_path)?;
    let config = Config::load(&config_path, &Admission::default())?;
    let _alone = start::alone(Path::new(RUN_DIR))?;
    let firewall = Firewall::open(Worker::start()?, &state)?;
    let Socket { listener, bound } = match (passed, listen) {
        (Some(socket), _) => socket,
        (None, Some(path)) => Socket::bind(path)?,
        (None, None) => return Err("no socket".to_string()),
    };
    let failed = |e| format!("look up the network namespace: {e}");
    let netns = firewall.network().map_err(failed)?;
    if netns != sys::netns_cookie(listener.as_fd()).map_err(failed)? {
        return Err("the socket is of another network namespace: \
                    the unit must not set PrivateNetwork"
            .to_string());
    }
    if let Some(dir) = audit.parent() {
        files::own_dir(dir, 0o750)?;
    }
    let audit = Audit::open(&audit);
    let numbers = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1];
    let signals = sys::signals(&numbers).map_err(|e| format!("catch signals: {e}"))?;
    let paths = paths(&state, &audit, &config_path, bound.as_deref());
    let host = Host { config, firewall };
    let mut server = Server::new(listener, signals, host, netns, config_path, audit)
        .map_err(|e| format!("prepare the socket: {e}"))?;
    // The worker has what is needed; whoever takes this process over has nothing.
    sys::no_capabilities().map_err(|e| format!("give up capabilities: {e}"))?;
    server.layers = sandbox::enter(&paths, &[libc::FIONBIO as u32], sandbox::STRICTNESS);
    notify.send("READY=1");
    let result = server.run().map_err(|e| format!("serve: {e}"));
    notify.send("STOPPING=1");
    let _ = bound.map(std::fs::remove_file);
    result
}

/// What must be in reach while it serves.
fn paths(state: &Path, audit: &Audit, config: &Path, socket: Option<&Path>) -> SandboxPaths {
    let dir = |path: &Path| path.parent().unwrap_or(path).to_owned();
    let mut paths = vec![
        (state.to_owned(), Access::Own),
        (dir(&audit.path), Access::Own),
        (dir(config), Access::Read),
        (PathBuf::from("/etc/group"), Access::Read),
        (PathBuf::from(invited::USERS), Access::Read),
    ];
    paths.extend(socket.map(|path| (dir(path), Access::Remove)));
    paths
}
