//! hop-helper: what it is asked on its command line, and its start.
//!
//! Order of start: flags, root check, configuration, netlink, socket, state, reconciliation,
//! signals, sandbox, ready, serve. Everything that can be refused is refused before the socket
//! answers. Must not know: requests.

use crate::core::access::{Access, SandboxPaths};
use crate::core::base::{Base, Places};
use crate::core::paths::{
    AUDIT_DIR, CONFIG, HOSTS, OWN_SOCKET, PROGRAM, RUN_DIR, SOCKET, STATE_DIR,
};
use crate::core::peer_cred::Admission;
use crate::core::serve::End;
use crate::core::start::{self, Options};
use crate::core::state_file::StateFile;
use crate::net::config::Config;
use crate::net::lease::Leases;
use crate::net::link::{self, Links};
use crate::net::{invited, resolvers, state};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const PLACES: Places =
    Places { program: PROGRAM, socket: SOCKET, run: RUN_DIR, state: STATE_DIR, audit: AUDIT_DIR };
const HELP: &str = include_str!("usage.txt");

pub fn main() -> ExitCode {
    let args = std::env::args_os().skip(1).map(PathBuf::from).collect();
    start::run(("hop-helper", HELP), args, (CONFIG, OWN_SOCKET), serve)
}

fn serve(options: Options) -> Result<End, String> {
    let mut base = Base::of(options, &PLACES)?;
    let config = Config::load(&base.config, &Admission::default())?;
    let _alone = start::alone(Path::new(RUN_DIR))?;
    let links = Links::open().map_err(|e| format!("look at the network: {e}"))?;
    let socket = base.bind(links.netns_cookie())?;
    let file = StateFile::open(&base.state)?;
    let leases = Leases::open(links, file, state::epoch(Path::new(RUN_DIR))?, config)?;
    base.serve(leases, socket, (paths(), link::IOCTLS), || Ok(()))
}

/// What must be in reach while it serves.
fn paths() -> SandboxPaths {
    let mut paths =
        vec![(PathBuf::from(invited::USERS), Access::Read), (PathBuf::from(HOSTS), Access::Edit)];
    let resolved = resolvers::FILES.iter().filter_map(|path| std::fs::canonicalize(path).ok());
    paths.extend(resolved.chain([resolvers::DIR.into()]).map(|path| (path, Access::Read)));
    paths.extend(link::paths());
    paths
}
