//! What a daemon stands on: where it keeps things, its socket, signals, log and sandbox, in the
//! order in which it takes them. Must not know: what it serves.

use crate::core::access::{Access, SandboxPaths};
use crate::core::audit::Audit;
use crate::core::files;
use crate::core::sandbox;
use crate::core::serve::End;
use crate::core::server::Server;
use crate::core::service::Service;
use crate::core::socket::{self, Notify, Socket};
use crate::core::start::{self, Options};
use crate::sys;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// Where a daemon has what, unless its options say otherwise.
pub struct Places {
    pub program: &'static str,
    /// The socket that a service manager passes.
    pub socket: &'static str,
    pub run: &'static str,
    pub state: &'static str,
    pub audit: &'static str,
}

pub struct Base {
    notify: Notify,
    passed: Option<Socket>,
    listen: Option<PathBuf>,
    pub config: PathBuf,
    pub state: PathBuf,
    audit: PathBuf,
}

impl Base {
    /// First of all, while descriptor 3 cannot be anything else.
    pub fn of(options: Options, at: &Places) -> Result<Base, String> {
        let Options { listen, config, state, audit } = options;
        let notify = socket::environment();
        start::as_root()?;
        sys::seal_inherited();
        let passed = start::passed(&notify, listen.is_some(), at.socket)?;
        // What somebody starts by hand leaves nothing behind but in /run.
        let usual = if listen.is_some() { (at.run, at.run) } else { (at.state, at.audit) };
        let state = state.unwrap_or_else(|| PathBuf::from(usual.0));
        let audit = audit.unwrap_or_else(|| Path::new(usual.1).join("audit.log"));
        // Root runs nothing, and believes nothing, that others could have replaced.
        let own = std::env::current_exe().is_ok_and(|exe| exe == Path::new(at.program));
        own.then(|| files::check_parents(Path::new(at.program))).transpose()?;
        files::check_parents(&config)?;
        Ok(Base { notify, passed, listen, config, state, audit })
    }

    /// Binds the socket, if none was passed. It has to be of the network that it is all about.
    pub fn bind(
        &mut self,
        netns: io::Result<Option<u64>>,
    ) -> Result<(Socket, Option<u64>), String> {
        let failed = |e| format!("look up the network namespace: {e}");
        let netns = netns.map_err(failed)?;
        let socket = match (self.passed.take(), self.listen.take()) {
            (Some(socket), _) => socket,
            (None, Some(path)) => Socket::bind(path)?,
            (None, None) => return Err("no socket".to_string()),
        };
        if netns != sys::netns_cookie(socket.listener.as_fd()).map_err(failed)? {
            return Err("the socket is of another network namespace: \
                        the unit must not set PrivateNetwork"
                .to_string());
        }
        Ok((socket, netns))
    }

    /// Serves to the end. `last` gives up what is not needed any more; `own` and `ioctls`
    /// are what the service needs besides.
    pub fn serve<S: Service>(
        self,
        service: S,
        (Socket { listener, bound }, netns): (Socket, Option<u64>),
        (own, ioctls): (SandboxPaths, &[u32]),
        last: fn() -> Result<(), String>,
    ) -> Result<End, String> {
        if let Some(dir) = self.audit.parent() {
            files::own_dir(dir, 0o750)?;
        }
        let audit = Audit::open(&self.audit);
        let numbers = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1];
        let signals = sys::signals(&numbers).map_err(|e| format!("catch signals: {e}"))?;
        let mut paths = self.paths(bound.as_deref());
        paths.extend(own);
        let mut server = Server::new(listener, signals, service, netns, self.config, audit)
            .map_err(|e| format!("prepare the socket: {e}"))?;
        server.own_file = start::own_file();
        last()?;
        server.layers = sandbox::enter(&paths, ioctls, sandbox::STRICTNESS);
        self.notify.send("READY=1");
        let result = server.run().map_err(|e| format!("serve: {e}"));
        self.notify.send("STOPPING=1");
        // What we made there goes; a socket that was passed stays.
        let _ = bound.map(std::fs::remove_file);
        result
    }

    /// What must be in reach while it serves.
    fn paths(&self, socket: Option<&Path>) -> SandboxPaths {
        let dir = |path: &Path| path.parent().unwrap_or(path).to_owned();
        let mut paths = vec![
            (self.state.clone(), Access::Own),
            (dir(&self.audit), Access::Own),
            (dir(&self.config), Access::Read),
            (PathBuf::from("/etc/group"), Access::Read),
        ];
        paths.extend(socket.map(|path| (dir(path), Access::Remove)));
        paths
    }
}
