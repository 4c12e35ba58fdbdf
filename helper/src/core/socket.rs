//! The listening socket: passed by the service manager, or bound here, tight before loose.
//!
//! Must not know: what is said on it.

use crate::core::files::own_dir;
use crate::sys;
use std::ffi::OsString;
use std::fs;
use std::io;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};

/// The one path that clients know. launchd makes no directories, and /var/run is empty after a
/// boot: hence no directory of our own on macOS.
pub const DEFAULT: &str = match cfg!(target_os = "macos") {
    true => "/var/run/hopbox-helper.sock",
    false => "/run/hopbox/helper.sock",
};
/// What `--listen` binds unless told otherwise: in a directory that only root can write, which
/// /var/run of macOS is not.
pub const OWN: &str = match cfg!(target_os = "macos") {
    true => "/var/run/hopbox/helper.sock",
    false => DEFAULT,
};

pub struct Socket {
    listener: UnixListener,
    /// Where we bound it; `None` when it was passed.
    bound: Option<PathBuf>,
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
    /// Descriptor 3, where systemd says that it is a socket for us.
    #[cfg(target_os = "linux")]
    fn listener(&self) -> io::Result<Option<UnixListener>> {
        self.activated.then(sys::activated_listener).transpose()
    }

    /// What launchd has under the key `helper` of our property list. It says nothing in the
    /// environment, and ESRCH where it did not start us.
    #[cfg(target_os = "macos")]
    fn listener(&self) -> io::Result<Option<UnixListener>> {
        match sys::activated_listener("helper") {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
            listener => listener.map(Some),
        }
    }

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
    /// know.
    pub fn passed(notify: &Notify) -> Result<Socket, String> {
        let listener = notify.listener().map_err(|e| format!("socket passed: {e}"))?;
        let listener = listener.ok_or("no socket was passed; use --listen")?;
        let address = listener.local_addr().map_err(|e| format!("socket passed: {e}"))?;
        let known = [DEFAULT, "/var/run/hopbox/helper.sock"];
        if address.as_pathname().is_some_and(|path| known.iter().any(|k| Path::new(k) == path)) {
            return Ok(Socket { listener, bound: None });
        }
        Err(format!("the socket passed does not listen on {DEFAULT}"))
    }

    /// Binds `path`. Everybody may connect: whom we serve is looked at with each connection.
    pub fn bind(path: PathBuf) -> Result<Socket, String> {
        let failed = |what: &str, e| format!("{what} {}: {e}", path.display());
        let dir = path.parent().filter(|dir| dir.is_absolute());
        let dir = dir.ok_or_else(|| format!("{}: give an absolute path", path.display()))?;
        own_dir(dir, 0o755)?;
        // We are the only helper of this machine (`state::alone`): what is there is a dead one's.
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

    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Where we bound it, if we did.
    pub fn path(&self) -> Option<&Path> {
        self.bound.as_deref()
    }

    /// Removes the socket file if we made it.
    pub fn remove(self) {
        if let Some(path) = self.bound {
            let _ = fs::remove_file(path);
        }
    }
}
