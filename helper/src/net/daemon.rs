//! hop-helper: what it is asked on its command line, and its start.
//!
//! Order of start: flags, root check, configuration, netlink, socket, state, reconciliation,
//! signals, sandbox, ready, serve. Everything that can be refused is refused before the socket
//! answers. Must not know: requests.

use crate::core::access::{Access, SandboxPaths};
use crate::core::audit::Audit;
use crate::core::paths::{
    AUDIT_DIR, CONFIG, HOSTS, OWN_SOCKET, PROGRAM, RUN_DIR, SOCKET, STATE_DIR,
};
use crate::core::peer_cred::Admission;
use crate::core::serve::End;
use crate::core::server::Server;
use crate::core::socket::{self, Socket};
use crate::core::start::{self, Options, as_root};
use crate::core::{files, sandbox};
use crate::net::config::Config;
use crate::net::lease::Leases;
use crate::net::link::{self, Links};
use crate::net::state::{self, Store};
use crate::net::{invited, resolvers};
use crate::sys;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = include_str!("usage.txt");

pub fn main() -> ExitCode {
    let args = std::env::args_os().skip(1).map(PathBuf::from).collect();
    start::run(("hop-helper", HELP), args, (CONFIG, OWN_SOCKET), serve)
}

fn serve(options: Options) -> Result<End, String> {
    let Options { listen, config: config_path, state, audit } = options;
    let notify = socket::environment();
    as_root()?;
    sys::seal_inherited();
    // First of all, while descriptor 3 cannot be anything else.
    let passed = start::passed(&notify, listen.is_some(), SOCKET)?;
    // A helper that somebody starts by hand leaves nothing behind but in /run.
    let usual = if listen.is_some() { (RUN_DIR, RUN_DIR) } else { (STATE_DIR, AUDIT_DIR) };
    let state = state.unwrap_or_else(|| PathBuf::from(usual.0));
    let audit = audit.unwrap_or_else(|| Path::new(usual.1).join("audit.log"));
    // Root runs nothing, and believes nothing, that others could have replaced.
    let own = std::env::current_exe().is_ok_and(|exe| exe == Path::new(PROGRAM));
    own.then(|| files::check_parents(Path::new(PROGRAM))).transpose()?;
    files::check_parents(&config_path)?;
    let config = Config::load(&config_path, &Admission::default())?;
    let _alone = start::alone(Path::new(RUN_DIR))?;
    let links = Links::open().map_err(|e| format!("look at the network: {e}"))?;
    let failed = |e| format!("look up the network namespace: {e}");
    let netns = links.netns_cookie().map_err(failed)?;
    let Socket { listener, bound } = match (passed, listen) {
        (Some(socket), _) => socket,
        (None, Some(path)) => Socket::bind(path)?,
        (None, None) => return Err("no socket".to_string()),
    };
    let listening = sys::netns_cookie(listener.as_fd()).map_err(failed)?;
    if netns != listening {
        return Err("the socket is of another network namespace: \
                    the unit must not set PrivateNetwork"
            .to_string());
    }
    let store = Store::open(&state)?;
    if let Some(dir) = audit.parent() {
        files::own_dir(dir, 0o750)?;
    }
    let audit = Audit::open(&audit);
    let leases = Leases::open(links, store, state::epoch(Path::new(RUN_DIR))?, config)?;
    let numbers = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1];
    let signals = sys::signals(&numbers).map_err(|e| format!("catch signals: {e}"))?;
    let paths = paths(&state, &audit, &config_path, bound.as_deref());
    let mut server = Server::new(listener, signals, leases, netns, config_path, audit)
        .map_err(|e| format!("prepare the socket: {e}"))?;
    server.layers = sandbox::enter(&paths, link::IOCTLS, sandbox::STRICTNESS);
    notify.send("READY=1");
    let result = server.run().map_err(|e| format!("serve: {e}"));
    notify.send("STOPPING=1");
    // What we made there goes; a socket that was passed stays.
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
        (PathBuf::from(HOSTS), Access::Edit),
    ];
    paths.extend(socket.map(|path| (dir(path), Access::Remove)));
    let resolved = resolvers::FILES.iter().filter_map(|path| std::fs::canonicalize(path).ok());
    paths.extend(resolved.chain([resolvers::DIR.into()]).map(|path| (path, Access::Read)));
    paths.extend(link::paths());
    paths
}
