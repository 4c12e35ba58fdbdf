//! The start of a daemon: what it is asked on its command line, and that it is root and alone.
//! Must not know: what it does then.

use crate::core::files;
use crate::core::say::tell;
use crate::core::serve::End;
use crate::core::socket::{Notify, Socket};
use crate::{proto, sys};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The service manager shall start the daemon again.
const AGAIN: u8 = 75;

pub struct Options {
    /// The socket to bind, or `None` for the one that the service manager passed.
    pub listen: Option<PathBuf>,
    pub config: PathBuf,
    pub state: Option<PathBuf>,
    pub audit: Option<PathBuf>,
}

impl Options {
    /// From the arguments, with what counts where none is given: configuration and own socket.
    pub fn read(args: Vec<PathBuf>, config: &str, socket: &str) -> Result<Options, String> {
        let config = PathBuf::from(config);
        let mut options = Options { listen: None, config, state: None, audit: None };
        let mut args = args.into_iter().peekable();
        while let Some(arg) = args.next() {
            match arg.to_str() {
                Some("--listen") => {
                    let path =
                        args.next_if(|next| !next.as_os_str().as_encoded_bytes().starts_with(b"-"));
                    options.listen = Some(path.unwrap_or_else(|| PathBuf::from(socket)));
                }
                Some("--config") => options.config = args.next().ok_or("--config needs a path")?,
                Some("--state") => options.state = Some(args.next().ok_or("--state needs a path")?),
                Some("--audit") => options.audit = Some(args.next().ok_or("--audit needs a path")?),
                _ => return Err(format!("unknown argument {arg:?}")),
            }
        }
        Ok(options)
    }
}

/// Says what a program says of itself, if that was asked for.
fn about(args: &[PathBuf], help: &str, version: &str) -> Option<io::Result<ExitCode>> {
    let asked = |word: &str| args.iter().any(|arg| arg.as_os_str() == word);
    let helped = args.first().is_some_and(|arg| arg.as_os_str() == "help");
    let text = match () {
        () if asked("--help") || asked("-h") || helped => help,
        () if asked("--version") => version,
        () => return None,
    };
    Some(io::stdout().write_all(text.as_bytes()).map(|()| ExitCode::SUCCESS))
}

/// The whole life of a daemon: answers what it is asked of itself, or serves.
pub fn run(
    (name, help): (&str, &str),
    args: Vec<PathBuf>,
    (config, socket): (&str, &str),
    serve: fn(Options) -> Result<End, String>,
) -> ExitCode {
    if let Err(why) = unseen() {
        return failed(&why, 1);
    }
    let (version, protocol) = (env!("CARGO_PKG_VERSION"), proto::VERSION);
    let version = format!("{name} {version} (protocol {protocol})\n");
    if let Some(said) = about(&args, help, &version) {
        return said.unwrap_or_else(|e| failed(&format!("write to stdout: {e}"), 1));
    }
    match Options::read(args, config, socket).map(serve) {
        Ok(Ok(End::Again)) => ExitCode::from(AGAIN),
        Ok(Ok(_)) => ExitCode::SUCCESS,
        Ok(Err(why)) => failed(&why, 1),
        Err(why) => failed(&format!("{why}; see {name} --help"), 2),
    }
}

/// The file that this process was started from, for callers to see whether it still lies there:
/// only root may look at what runs. Null where it does not by now.
pub fn own_file() -> Value {
    let own = std::env::current_exe().and_then(|path| Ok((std::fs::metadata(&path)?, path)));
    own.map_or(
        Value::Null,
        |(file, path)| json!({"path": path.to_str(), "device": file.dev(), "inode": file.ino()}),
    )
}

/// Nobody else looks into this process.
pub fn unseen() -> Result<(), String> {
    sys::undumpable().map_err(|e| format!("keep others from looking inside: {e}"))
}

pub fn failed(why: &str, code: u8) -> ExitCode {
    tell(why);
    ExitCode::from(code)
}

/// The socket that the service manager has passed, where none is to be bound.
pub fn passed(notify: &Notify, listens: bool, at: &str) -> Result<Option<Socket>, String> {
    match (listens, notify.activated) {
        (true, true) => Err("got a socket and --listen; give one of them".to_string()),
        (true, false) => Ok(None),
        (false, _) => Socket::passed(notify, at).map(Some),
    }
}

pub fn as_root() -> Result<(), String> {
    if sys::effective_uid() != 0 {
        return Err("must run as root".to_string());
    }
    sys::umask(0o077);
    sys::ignore_lease_breaks().map_err(|e| format!("ignore SIGIO: {e}"))
}

/// There is one daemon of a kind per machine, whatever its socket and state: a second one would
/// take what the first holds for left-overs. Lasts as long as the value.
pub fn alone(dir: &Path) -> Result<File, String> {
    locked(dir, "running", "another helper runs on this machine")
}

/// A directory that is ours alone while the value lives.
pub fn locked(dir: &Path, name: &str, why: &str) -> Result<File, String> {
    files::own_dir(dir, 0o700)?;
    let path = dir.join(name);
    let file = files::create(&path, false).map_err(|e| format!("{}: {e}", path.display()))?;
    sys::lock(&file).map_err(|_| why.to_string())?;
    Ok(file)
}
