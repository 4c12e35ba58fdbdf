//! hop-helper: the only part of hopbox that runs as root.
//!
//! Order of start: flags, root check, configuration, netlink, socket, state, reconciliation,
//! signals, sandbox, ready, serve. Everything that can be refused is refused before the socket
//! answers.
#![deny(unsafe_code)]

mod audit;
mod config;
mod conn;
mod files;
mod hosts;
#[cfg(target_os = "linux")]
mod ingress;
#[cfg(target_os = "linux")]
mod install;
#[cfg(target_os = "macos")]
#[path = "install_macos.rs"]
mod install;
mod lease;
mod limit;
mod link;
#[cfg(target_os = "linux")]
mod link_linux;
#[cfg(target_os = "macos")]
mod link_macos;
mod lockdown;
#[cfg(target_os = "linux")]
mod netlink;
#[cfg(target_os = "linux")]
mod nft;
mod peer_cred;
mod place;
mod pool;
mod reserve;
mod resolvers;
#[cfg(target_os = "linux")]
mod rtnetlink;
#[cfg(target_os = "linux")]
mod sandbox;
#[cfg(target_os = "macos")]
#[path = "sandbox_macos.rs"]
mod sandbox;
mod say;
mod serve;
mod socket;
mod state;
#[allow(unsafe_code)]
mod sys;
#[cfg(target_os = "linux")]
mod systemd;
#[cfg(target_os = "linux")]
mod traffic;
#[cfg(any(test, target_os = "macos"))]
mod xnu;

use audit::Audit;
use config::Config;
use hop_helper::proto;
use lease::Book;
use link::Links;
use say::tell;
use serve::{End, Server};
use socket::Socket;
use state::Store;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
usage: hop-helper [--listen [PATH]] [--config PATH] [--state DIR] [--audit FILE]
       hop-helper --install | --uninstall [--dry-run]
       hop-helper --version | --help

Makes TUN devices, addresses, routes and .hop names for users of hopbox.
Started by the service manager it takes its socket as descriptor 3.

  --listen [PATH]  bind the socket itself (default /run/hopbox/helper.sock)
  --config PATH    what root allows (default /etc/hopbox/helper.json)
  --state DIR      what outlives a restart (default /var/lib/hopbox, with --listen
                   /run/hopbox-helper)
  --audit FILE     who asked for what (default /var/log/hopbox/audit.log, with --listen
                   audit.log beside the state)
  --install        make it a service of this machine, telling every file
  --uninstall      take back everything, the tunnels of all users included
  --dry-run        only tell
";
const MACOS: bool = cfg!(target_os = "macos");
/// What is of this boot only.
const RUN_DIR: &str = if MACOS { "/var/run/hopbox-helper" } else { "/run/hopbox-helper" };
const STATE_DIR: &str = if MACOS { "/var/db/hopbox" } else { "/var/lib/hopbox" };
const AUDIT_DIR: &str = "/var/log/hopbox";
const CONFIG: &str = "/etc/hopbox/helper.json";
/// The service manager shall start the helper again.
const EXIT_AGAIN: u8 = 75;

enum Wish {
    Help,
    Version,
    Install { dry: bool },
    Uninstall { dry: bool },
    Serve(Options),
}

struct Options {
    /// The socket to bind, or `None` for the one that the service manager passed.
    listen: Option<PathBuf>,
    config: PathBuf,
    state: Option<PathBuf>,
    audit: Option<PathBuf>,
}

fn main() -> ExitCode {
    if let Err(e) = sys::undumpable() {
        tell(&format!("keep others from looking inside: {e}"));
        return ExitCode::FAILURE;
    }
    let result = match parse(std::env::args_os().skip(1).map(PathBuf::from).collect()) {
        Err(why) => {
            tell(&why);
            let _ = std::io::stderr().write_all(HELP.as_bytes());
            return ExitCode::from(2);
        }
        Ok(Wish::Help) => write_out(HELP),
        Ok(Wish::Version) => {
            let (version, protocol) = (env!("CARGO_PKG_VERSION"), proto::VERSION);
            write_out(&format!("hop-helper {version} (protocol {protocol})\n"))
        }
        Ok(Wish::Install { dry }) => as_root().and_then(|()| install::install(dry)),
        Ok(Wish::Uninstall { dry }) => as_root().and_then(|()| install::uninstall(dry)),
        Ok(Wish::Serve(options)) => match serve(options) {
            Ok(End::Again) => return ExitCode::from(EXIT_AGAIN),
            result => result.map(|_| ()),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            tell(&why);
            ExitCode::FAILURE
        }
    }
}

fn parse(args: Vec<PathBuf>) -> Result<Wish, String> {
    let config = PathBuf::from(CONFIG);
    let mut options = Options { listen: None, config, state: None, audit: None };
    let word = |at: usize| args.get(at).and_then(|arg: &PathBuf| arg.to_str());
    if word(0) == Some("help")
        || args.iter().any(|arg| matches!(arg.to_str(), Some("--help" | "-h")))
    {
        return Ok(Wish::Help);
    }
    match (word(0), word(1), args.len()) {
        (Some("--install"), None, 1) => return Ok(Wish::Install { dry: false }),
        (Some("--install"), Some("--dry-run"), 2) => return Ok(Wish::Install { dry: true }),
        (Some("--uninstall"), None, 1) => return Ok(Wish::Uninstall { dry: false }),
        (Some("--uninstall"), Some("--dry-run"), 2) => return Ok(Wish::Uninstall { dry: true }),
        (Some(wish @ ("--install" | "--uninstall")), ..) => {
            return Err(format!("{wish} takes --dry-run and nothing else"));
        }
        _ => {}
    }
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--version") => return Ok(Wish::Version),
            Some("--listen") => {
                let path =
                    args.next_if(|next| !next.as_os_str().as_encoded_bytes().starts_with(b"-"));
                options.listen = Some(path.unwrap_or_else(|| PathBuf::from(socket::OWN)));
            }
            Some("--config") => options.config = args.next().ok_or("--config needs a path")?,
            Some("--state") => options.state = Some(args.next().ok_or("--state needs a path")?),
            Some("--audit") => options.audit = Some(args.next().ok_or("--audit needs a path")?),
            _ => return Err(format!("unknown argument {arg:?}")),
        }
    }
    Ok(Wish::Serve(options))
}

fn write_out(text: &str) -> Result<(), String> {
    use std::io::Write;
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| format!("write to stdout: {e}"))
}

fn as_root() -> Result<(), String> {
    if sys::effective_uid() != 0 {
        return Err("must run as root".to_string());
    }
    sys::umask(0o077);
    sys::ignore_lease_breaks().map_err(|e| format!("ignore SIGIO: {e}"))
}

fn serve(options: Options) -> Result<End, String> {
    let Options { listen, config: config_path, state, audit } = options;
    let notify = socket::take_environment();
    as_root()?;
    sys::seal_inherited();
    // First of all, while descriptor 3 cannot be anything else.
    let passed = match (&listen, notify.activated) {
        (Some(_), true) => return Err("got a socket and --listen; give one of them".to_string()),
        (Some(_), false) => None,
        (None, _) => Some(Socket::passed(&notify)?),
    };
    // A helper that somebody starts by hand leaves nothing behind but in /run.
    let usual = if listen.is_some() { (RUN_DIR, RUN_DIR) } else { (STATE_DIR, AUDIT_DIR) };
    let state = state.unwrap_or_else(|| PathBuf::from(usual.0));
    let audit = audit.unwrap_or_else(|| Path::new(usual.1).join("audit.log"));
    // Root runs nothing, and believes nothing, that others could have replaced.
    let own = std::env::current_exe().is_ok_and(|exe| exe == Path::new(install::PROGRAM));
    own.then(|| place::check_parents(Path::new(install::PROGRAM))).transpose()?;
    place::check_parents(&config_path)?;
    let config = Config::load(&config_path, None)?;
    let _alone = state::alone(Path::new(RUN_DIR))?;
    let links = Links::open().map_err(|e| format!("look at the network: {e}"))?;
    let failed = |e| format!("look up the network namespace: {e}");
    let netns = links.netns_cookie().map_err(failed)?;
    let socket = match (passed, listen) {
        (Some(socket), _) => socket,
        (None, Some(path)) => Socket::bind(path, config.group)?,
        (None, None) => return Err("no socket".to_string()),
    };
    let listening = sys::netns_cookie(socket.listener().as_fd()).map_err(failed)?;
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
    let book = Book::open(links, store, state::epoch(Path::new(RUN_DIR))?)?;
    let numbers = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1];
    let signals = sys::signals(&numbers).map_err(|e| format!("catch signals: {e}"))?;
    let listener =
        socket.listener().try_clone().map_err(|e| format!("duplicate the socket: {e}"))?;
    let dir = |path: &Path| path.parent().unwrap_or(path).to_owned();
    let rooms = sandbox::Rooms {
        own: vec![state, dir(audit.path())],
        read: dir(&config_path),
        socket: socket.path().map(dir),
    };
    let mut server = Server::new(listener, signals, book, netns, config, config_path, audit)
        .map_err(|e| format!("prepare the socket: {e}"))?;
    server.layers = sandbox::enter(&rooms, sandbox::STRICTNESS);
    notify.send("READY=1");
    let result = server.run().map_err(|e| format!("serve: {e}"));
    notify.send("STOPPING=1");
    socket.remove();
    result
}
