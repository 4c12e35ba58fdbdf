//! hop-helper: the only part of hopbox that runs as root.
//!
//! Order of start: flags, root check, configuration, netlink, socket, old names removed,
//! signals, ready, serve. Everything that can be refused is refused before the socket answers.
#![deny(unsafe_code)]

mod config;
mod conn;
mod hosts;
mod lease;
mod limit;
mod link_linux;
mod netlink;
mod peer_cred;
mod pool;
mod serve;
mod socket;
#[allow(unsafe_code)]
mod sys;

use config::Config;
use hop_helper::proto;
use lease::Book;
use link_linux::Links;
use serve::Server;
use socket::Socket;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
usage: hop-helper [--listen [PATH]] [--config PATH]
       hop-helper --version | --help

Makes TUN devices, addresses, routes and .hop names for users of hopbox.
Started by the service manager it takes its socket as descriptor 3.

  --listen [PATH]  bind the socket itself (default /run/hopbox/helper.sock)
  --config PATH    what root allows (default /etc/hopbox/helper.json)
";

enum Wish {
    Help,
    Version,
    /// The socket to bind, or `None` for the one that the service manager passed.
    Serve {
        listen: Option<PathBuf>,
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match parse(std::env::args_os().skip(1).map(PathBuf::from).collect()) {
        Err(why) => {
            eprintln!("hop-helper: {why}\n{HELP}");
            return ExitCode::from(2);
        }
        Ok(Wish::Help) => write_out(HELP),
        Ok(Wish::Version) => {
            let (version, protocol) = (env!("CARGO_PKG_VERSION"), proto::VERSION);
            write_out(&format!("hop-helper {version} (protocol {protocol})\n"))
        }
        Ok(Wish::Serve { listen, config }) => serve(listen, config),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("hop-helper: {why}");
            ExitCode::FAILURE
        }
    }
}

fn parse(args: Vec<PathBuf>) -> Result<Wish, String> {
    let mut listen = None;
    let mut config = PathBuf::from("/etc/hopbox/helper.json");
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--help" | "-h") => return Ok(Wish::Help),
            Some("--version") => return Ok(Wish::Version),
            Some("--listen") => {
                let path =
                    args.next_if(|next| !next.as_os_str().as_encoded_bytes().starts_with(b"-"));
                listen = Some(path.unwrap_or_else(|| PathBuf::from(socket::DEFAULT)));
            }
            Some("--config") => config = args.next().ok_or("--config needs a path")?,
            _ => return Err(format!("unknown argument {arg:?}")),
        }
    }
    Ok(Wish::Serve { listen, config })
}

fn write_out(text: &str) -> Result<(), String> {
    use std::io::Write;
    std::io::stdout().write_all(text.as_bytes()).map_err(|e| format!("write to stdout: {e}"))
}

fn serve(listen: Option<PathBuf>, config_path: PathBuf) -> Result<(), String> {
    let notify = socket::take_environment();
    if sys::effective_uid() != 0 {
        return Err("must run as root".to_string());
    }
    sys::umask(0o077);
    sys::seal_inherited();
    // First of all, while descriptor 3 cannot be anything else.
    let passed = match (&listen, notify.activated) {
        (None, true) => Some(Socket::passed()?),
        (Some(_), true) => return Err("got a socket and --listen; give one of them".to_string()),
        (None, false) => return Err("no socket was passed; use --listen".to_string()),
        (Some(_), false) => None,
    };
    let config = Config::load(&config_path)?;
    let links = Links::open().map_err(|e| format!("open netlink: {e}"))?;
    let netns = links.netns_cookie();
    let socket = match (passed, listen) {
        (Some(socket), _) => socket,
        (None, Some(path)) => Socket::bind(path, config.group)?,
        (None, None) => return Err("no socket".to_string()),
    };
    let listening = sys::netns_cookie(socket.listener().as_fd());
    if netns.is_some() && listening.is_some() && netns != listening {
        return Err("the socket is of another network namespace: \
                    the unit must not set PrivateNetwork"
            .to_string());
    }
    let mut book = Book::new(links);
    // Names that a run before this one left behind; a damaged block is for root to repair and
    // no reason to refuse tunnels.
    if let Err(e) = book.end_all() {
        eprintln!("hop-helper: {}", e.message);
    }
    let signals = sys::signals(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
        .map_err(|e| format!("catch signals: {e}"))?;
    let listener =
        socket.listener().try_clone().map_err(|e| format!("duplicate the socket: {e}"))?;
    let server = Server::new(listener, signals, book, netns, config, config_path)
        .map_err(|e| format!("prepare the socket: {e}"))?;
    notify.send("READY=1");
    let result = server.run().map_err(|e| format!("serve: {e}"));
    notify.send("STOPPING=1");
    socket.remove();
    result
}
