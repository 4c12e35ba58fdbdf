//! `hop wg <interface>`: one interface of its own, configured by wg(8) and wg-quick(8), with the
//! manners that those expect of a userspace implementation.
//!
//! Order of life: device, tunnel, socket, "ready"; it ends by a signal, by `ip link del`, or when
//! somebody deletes the socket, and takes device and socket with it.

use super::config::Config;
use super::handle::{self, Tunnel};
use super::io::TunDevice;
use super::run::Stopped;
use super::uapi::{DIRECTORY, Listener};
use crate::base::locale;
use crate::sys::poll::{self, Interest};
use crate::sys::process::{self, Side};
use crate::sys::signal::{Kind, Signals};
use crate::sys::{code, ioctl};
use crate::wg::DEFAULT_MTU;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

/// Longest interface name; the kernel's limit less its zero byte.
const NAME_MAX: usize = 15;
/// How long the caller waits for a daemon to become ready.
const READY_PATIENCE: Duration = Duration::from_secs(30);
/// Longest report of a daemon.
const REPORT_MAX: usize = 4096;
/// What a daemon reports when it is ready.
const READY: &[u8] = b"ready\n";

/// Run the interface. In the foreground this returns when it ended; otherwise the caller's side
/// returns once interface and socket are there, and the daemon's side when it ended.
/// `WG_PROCESS_FOREGROUND=1` means foreground too.
pub fn run(interface: &str, foreground: bool) -> Result<(), String> {
    check_name(interface)?;
    let foreground =
        foreground || std::env::var_os("WG_PROCESS_FOREGROUND").is_some_and(|v| v == "1");
    if foreground {
        return serve(interface, None);
    }
    let detached = process::daemonize();
    match detached.map_err(|e| format!("cannot run in the background: {e}; try -f"))? {
        Side::Caller(pipe) => await_report(pipe),
        Side::Daemon(mut pipe) => {
            let ended = serve(interface, Some(&mut pipe));
            if let Err(why) = &ended {
                // After "ready" nobody reads this any more.
                let _ = pipe.write_all(why.as_bytes());
            }
            ended
        }
    }
}

fn serve(interface: &str, report: Option<&mut File>) -> Result<(), String> {
    let log = Log::from_environment();
    // The socket and nothing else is created from here on, and is for its owner alone.
    process::set_umask(0o077);
    // Memory holds keys; where this is refused, running without it is still better than not.
    let _ = process::keep_memory_private();
    let mut signals = Signals::catch(&[Kind::Terminate, Kind::Interrupt])
        .map_err(|e| format!("cannot catch signals: {e}"))?;
    let mut tunnel = open(interface)?;
    let mut listener =
        Listener::open(Path::new(DIRECTORY), interface).map_err(|e| no_listener(interface, &e))?;
    let (cipher, broken) = crate::wg::cipher();
    if broken {
        tell(&format!("data packets: {cipher}; they are correct, but slower than they could be"));
    }
    log.verbose(&format!("{interface}: data packets: {cipher}"));
    log.verbose(&format!("{interface}: ready, UDP port {}", tunnel.listen_port()));
    if let Some(pipe) = report {
        let _ = pipe.write_all(READY);
        // The pipe itself is closed with this, as far as its reader is concerned.
        *pipe = File::open("/dev/null").map_err(|e| format!("cannot open /dev/null: {e}"))?;
        process::close_stdio().map_err(|e| format!("cannot close standard output: {e}"))?;
    }
    let why = attend(&mut signals, &tunnel, &mut listener)?;
    drop(listener);
    log.verbose(&format!("{interface}: {why}, ending"));
    match tunnel.stop() {
        Some(Stopped::Failed(why)) => Err(format!("{interface}: {why}")),
        _ => Ok(()),
    }
}

/// Serve the socket until there is a reason to end.
fn attend(
    signals: &mut Signals,
    tunnel: &Tunnel,
    listener: &mut Listener,
) -> Result<&'static str, String> {
    let mut states = Vec::new();
    loop {
        let mut fds = vec![(signals.as_fd(), Interest::READ), (tunnel.end_fd(), Interest::READ)];
        fds.extend(listener.interests());
        poll::wait(&fds, &mut states, listener.patience())
            .map_err(|e| format!("poll failed: {e}"))?;
        drop(fds);
        if signals.take().is_some() {
            return Ok("signal");
        }
        if tunnel.ended().is_some() {
            return Ok("the interface is gone");
        }
        if !listener.serve(states.get(2..).unwrap_or_default(), tunnel) {
            return Ok("the socket was deleted");
        }
    }
}

/// Create the interface and start its tunnel, without keys and peers.
fn open(interface: &str) -> Result<Tunnel, String> {
    let tun = ioctl::open_tun(interface).map_err(|e| no_tun(interface, &e))?;
    let mtu = DEFAULT_MTU;
    ioctl::set_mtu(&tun.name, u32::from(mtu))
        .map_err(|e| format!("cannot set the MTU of {interface} to {mtu}: {e}"))?;
    let device = TunDevice { fd: tun.fd, name: tun.name, mtu, vnet_hdr: tun.vnet_hdr };
    handle::start(device, &Config::default())
        .map_err(|e| format!("cannot start the tunnel of {interface}: {e}"))
}

fn no_tun(interface: &str, e: &io::Error) -> String {
    let next = match e.raw_os_error() {
        Some(code::EPERM | code::EACCES) => "run it as root",
        Some(code::EBUSY) => "another process runs this interface: end it, or take another name",
        Some(code::ENOENT | code::ENODEV) => "load the kernel's tun module: modprobe tun",
        Some(code::EINVAL) => {
            "an interface of this name and another kind exists: take another name"
        }
        _ => "see the kernel's log",
    };
    format!("cannot create the interface {interface}: {e}; {next}")
}

fn no_listener(interface: &str, e: &io::Error) -> String {
    let next = match e.kind() {
        io::ErrorKind::AddrInUse => "another process serves this interface: end it first",
        _ => "make sure that root can write there",
    };
    format!("cannot open {DIRECTORY}/{interface}.sock: {e}; {next}")
}

/// The kernel would take some of these for a pattern (`wg%d`) or for a directory.
fn check_name(name: &str) -> Result<(), String> {
    let bad = |c: char| c == '/' || c == '%' || c == ':' || c.is_whitespace() || c.is_control();
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(format!("interface name '{name}': must have 1 to {NAME_MAX} bytes"));
    }
    if name == "." || name == ".." || name.contains(bad) {
        let why = "must not be '.' or '..', nor contain '/', '%', ':' or white space";
        return Err(format!("interface name '{name}': {why}"));
    }
    Ok(())
}

/// The caller's side: the daemon says "ready", or why not.
fn await_report(mut pipe: File) -> Result<(), String> {
    let mut report = Vec::new();
    let mut chunk = [0u8; 512];
    while report.len() < REPORT_MAX {
        match poll::wait_one(pipe.as_fd(), Interest::READ, Some(READY_PATIENCE)) {
            Ok(true) => {}
            Ok(false) => return Err("the background process does not become ready".into()),
            Err(e) => return Err(format!("cannot wait for the background process: {e}")),
        }
        match pipe.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => report.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(format!("cannot hear the background process: {e}")),
        }
        if report.starts_with(READY) {
            return Ok(());
        }
    }
    match report.is_empty() {
        true => Err("the background process ended before it was ready".into()),
        false => Err(String::from_utf8_lossy(&report).into_owned()),
    }
}

/// `LOG_LEVEL=verbose` says when it starts and ends. No secrets, no packets.
struct Log {
    verbose: bool,
}

impl Log {
    fn from_environment() -> Log {
        Log {
            verbose: std::env::var_os("LOG_LEVEL").is_some_and(|l| l == "verbose" || l == "debug"),
        }
    }

    fn verbose(&self, text: &str) {
        if self.verbose {
            tell(text);
        }
    }
}

/// One line on standard error; that nobody listens ends no tunnel.
fn tell(text: &str) {
    let text = text.escape_debug().to_string();
    let _ = writeln!(std::io::stderr(), "hop wg: {}", locale::text(&text));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_are_checked() {
        for good in ["wg0", "a", "exactly15bytes_", "wg.1"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "wg%d", "a b", "a\tb", "a:0", "sixteen_bytes_ab", "a\0b"]
        {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
