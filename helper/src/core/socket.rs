//! The listening socket: passed by the service manager, or bound here.
//!
//! Must not know: what is said on it.

use crate::core::files::own_dir;
use crate::sys;
use std::ffi::OsString;
use std::fs;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

pub struct Socket {
    pub listener: UnixListener,
    /// Where we bound it; `None` when it was passed.
    pub bound: Option<PathBuf>,
}

/// What the service manager said in the environment.
pub struct Notify {
    /// A socket was passed to this very process.
    pub activated: bool,
    path: Option<OsString>,
}

/// Reads the service manager's variables. They stay: there is nobody who could inherit them.
pub fn environment() -> Notify {
    let text = |name| std::env::var(name).unwrap_or_default();
    let pid = std::process::id().to_string();
    let activated = text("LISTEN_PID") == pid && text("LISTEN_FDS") == "1";
    let path = std::env::var_os("NOTIFY_SOCKET");
    Notify { activated, path }
}

impl Notify {
    /// Tells the service manager; that nobody listens is no error.
    pub fn send(&self, state: &str) {
        let Some(path) = self.path.as_ref().map(|path| path.as_encoded_bytes()) else {
            return;
        };
        let address = match path.split_first() {
            #[cfg(target_os = "linux")]
            Some((b'@', name)) => SocketAddr::from_abstract_name(name),
            Some((b'/', _)) => {
                SocketAddr::from_pathname(Path::new(self.path.as_ref().unwrap_or(&OsString::new())))
            }
            _ => return,
        };
        if let (Ok(socket), Ok(address)) = (UnixDatagram::unbound(), address) {
            let _ = socket.send_to_addr(state.as_bytes(), &address);
        }
    }
}

impl Socket {
    /// Takes the socket of the service manager, which must listen on the one path that clients
    /// know, `known`; /run may have its older name.
    pub fn passed(notify: &Notify, known: &str) -> Result<Socket, String> {
        let listener =
            sys::activated_listener(notify.activated).map_err(|e| format!("socket passed: {e}"))?;
        let listener = listener.ok_or("no socket was passed; use --listen")?;
        let address = listener.local_addr().map_err(|e| format!("socket passed: {e}"))?;
        let is_known = |path: &Path| {
            path == Path::new(known)
                || path
                    .strip_prefix("/var")
                    .is_ok_and(|rest| Path::new("/").join(rest) == Path::new(known))
        };
        if address.as_pathname().is_some_and(is_known) {
            return Ok(Socket { listener, bound: None });
        }
        Err(format!("the socket passed does not listen on {known}"))
    }

    /// Binds `path`. Everybody may connect: whom we serve is looked at with each connection.
    pub fn bind(path: PathBuf) -> Result<Socket, String> {
        let failed = |what: &str, e| format!("{what} {}: {e}", path.display());
        let dir = path.parent().filter(|dir| dir.is_absolute());
        let dir = dir.ok_or_else(|| format!("{}: give an absolute path", path.display()))?;
        own_dir(dir, 0o755)?;
        // We are the only helper of this machine (`start::alone`): what is there is a dead one's.
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.file_type().is_socket() => {
                fs::remove_file(&path).map_err(|e| failed("remove the old", e))?;
            }
            Ok(_) => return Err(format!("{} is there and is no socket", path.display())),
            Err(_) => {}
        }
        let mask = sys::umask(0o111);
        let listener = UnixListener::bind(&path);
        sys::umask(mask);
        let listener = listener.map_err(|e| failed("bind", e))?;
        Ok(Socket { listener, bound: Some(path) })
    }
}
