//! Where hopbox keeps a user's files (XDG base directories) and that nobody else can.
//!
//! Directories are 0700 and belong to the user; one that does not is refused, because whoever owns
//! it could take the control sockets' place.
//!
//! What is true of a host must not depend on a variable that su(1), cron(8) or a login without a
//! session manager set otherwise: a session's socket and lock lie beside the state, below the home
//! directory. The runtime directory, which also goes away with the last login, stands in where
//! nothing can be made there; whoever looks for a session looks in all of them.

use std::env;
use std::fs::{self, DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::sys;
use crate::text::fix::Fix;

const DIR_MODE: u32 = 0o700;

/// The three roots. Nothing is created until it is asked for with one of the `ensure` functions.
#[derive(Clone, Debug)]
pub struct Paths {
    config: PathBuf,
    state: PathBuf,
    runtime: PathBuf,
    /// Where the runtime directory is in other contexts of the same user.
    elsewhere: Vec<PathBuf>,
    /// Whose they are.
    owner: u32,
}

impl Paths {
    /// Reads `XDG_CONFIG_HOME`, `XDG_STATE_HOME`, `XDG_RUNTIME_DIR` and `HOME`. A relative value
    /// counts as absent, as the XDG specification asks.
    pub fn from_env() -> Result<Paths, Failure> {
        let config = under("XDG_CONFIG_HOME", ".config")?;
        let state = under("XDG_STATE_HOME", ".local/state")?;
        let owner = sys::process::uid();
        let usual = PathBuf::from(format!("/run/user/{owner}/hopbox"));
        let without = PathBuf::from(format!("/tmp/hopbox-{owner}"));
        let runtime = match absolute("XDG_RUNTIME_DIR") {
            Some(dir) => dir.join("hopbox"),
            None => without.clone(),
        };
        let elsewhere = [usual, without].into_iter().filter(|dir| *dir != runtime).collect();
        let (config, state) = (config.join("hopbox"), state.join("hopbox"));
        Ok(Paths { config, state, runtime, elsewhere, owner })
    }

    /// Everything below one directory: for tests and the self test.
    pub fn below(root: &Path) -> Paths {
        Paths {
            config: root.join("config/hopbox"),
            state: root.join("state/hopbox"),
            runtime: root.join("run/hopbox"),
            elsewhere: Vec::new(),
            owner: sys::process::uid(),
        }
    }

    /// The same as another user has them: for tests that root makes.
    pub fn of_user(self, owner: u32) -> Paths {
        Paths { owner, ..self }
    }

    pub fn owner(&self) -> u32 {
        self.owner
    }

    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.json")
    }

    pub fn hosts_dir(&self) -> PathBuf {
        self.config.join("hosts")
    }

    pub fn host_file(&self, name: &str) -> PathBuf {
        self.hosts_dir().join(format!("{name}.json"))
    }

    pub fn keys_dir(&self) -> PathBuf {
        self.config.join("keys")
    }

    pub fn tunnels_dir(&self) -> PathBuf {
        self.config.join("tunnels")
    }

    /// What is known of a host's tunnel, also after its session.
    pub fn tunnel_file(&self, name: &str) -> PathBuf {
        self.tunnels_dir().join(format!("{name}.json"))
    }

    pub fn bridges_dir(&self) -> PathBuf {
        self.config.join("bridges")
    }

    /// What a host's server may have of this laptop.
    pub fn bridge_file(&self, name: &str) -> PathBuf {
        self.bridges_dir().join(format!("{name}.json"))
    }

    /// The host keys that setup pinned.
    pub fn known_hosts(&self) -> PathBuf {
        self.config.join("known_hosts")
    }

    /// What ssh(1) is told of hosts where ~/.ssh/config cannot be changed.
    pub fn ssh_config(&self) -> PathBuf {
        self.config.join("ssh_config")
    }

    /// Where an ssh connection of this process is shared: another place each time, because several
    /// may be open at once. Short: a socket's path has 107 bytes, and ssh appends 17 to it for a
    /// moment.
    pub fn ssh_socket(&self) -> PathBuf {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let count = ASKED.fetch_add(1, Ordering::Relaxed);
        self.runtime.join(format!("ssh-{}-{count}", std::process::id()))
    }

    /// What the user has said yes to for a host.
    pub fn consent_file(&self, name: &str) -> PathBuf {
        self.state.join(format!("{name}.consent.json"))
    }

    /// What it had.
    pub fn bridge_log(&self, name: &str) -> PathBuf {
        self.state.join(format!("{name}.bridge.log"))
    }

    /// The desktop on which they were begun anew.
    pub fn bridge_desktop(&self, name: &str) -> PathBuf {
        self.state.join(format!("{name}.bridge.desktop"))
    }

    /// Ports that are held here for an answer of a page.
    pub fn bridge_held(&self, name: &str) -> PathBuf {
        self.state.join(format!("{name}.bridge.held"))
    }

    /// The profile of the browser that the host's programs steer, while it runs.
    pub fn browser_dir(&self, name: &str) -> PathBuf {
        self.state.join("browsers").join(name)
    }

    /// How far each workspace is on its way to another host.
    pub fn migrations_dir(&self) -> PathBuf {
        self.state.join("migrations")
    }

    pub fn log_file(&self, name: &str) -> PathBuf {
        self.state.join(format!("{name}.log"))
    }

    /// Which of a host's ports are where here.
    pub fn ports_file(&self, name: &str) -> PathBuf {
        self.state.join("ports").join(format!("{name}.json"))
    }

    /// The log where the usual place cannot be written.
    pub fn runtime_log_file(&self, name: &str) -> PathBuf {
        self.runtime.join(format!("{name}.log"))
    }

    /// Where systemd looks for the user's own units.
    pub fn user_units(&self) -> PathBuf {
        self.config.with_file_name("systemd").join("user")
    }

    /// Where launchd looks for the user's own agents: not below the configuration.
    pub fn launch_agents(&self) -> PathBuf {
        let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        home.join("Library/LaunchAgents")
    }

    /// Where the session keeps the mark of its handshake timestamps.
    pub fn stamp_file(&self, name: &str) -> PathBuf {
        self.state.join(format!("{name}.stamp"))
    }

    /// The networks in which UDP does not pass to a host.
    pub fn networks_file(&self, name: &str) -> PathBuf {
        self.state.join(format!("{name}.networks"))
    }

    /// Where a session of ours may be found, the usual place first.
    pub fn session_dirs(&self) -> impl Iterator<Item = &Path> {
        let own = [&self.state, &self.runtime];
        own.into_iter().chain(&self.elsewhere).map(PathBuf::as_path)
    }

    /// Where a new session may listen, and has its locks: the second where the first cannot be
    /// written.
    pub fn session_places(&self) -> [&Path; 2] {
        [&self.state, &self.runtime]
    }

    /// Removes all three directories with everything in them. Returns those that were there.
    pub fn purge(&self) -> Result<Vec<String>, Failure> {
        let mut removed = Vec::new();
        for dir in [&self.runtime, &self.state, &self.config] {
            match fs::remove_dir_all(dir) {
                Ok(()) => removed.push(dir.display().to_string()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Failure::io("remove", dir, &error)),
            }
        }
        // What was made for them, if nobody else has put anything there.
        let home = absolute("HOME").unwrap_or_default();
        for dir in [&self.state, &self.config] {
            let above = dir.ancestors().skip(1);
            for dir in above.take_while(|above| above.starts_with(&home) && **above != *home) {
                let _ = fs::remove_dir(dir);
            }
        }
        Ok(removed)
    }

    pub fn ensure_config(&self) -> Result<(), Failure> {
        ensure_private(&self.config)?;
        ensure_private(&self.hosts_dir())?;
        ensure_private(&self.keys_dir())
    }

    pub fn ensure_tunnels(&self) -> Result<(), Failure> {
        ensure_private(&self.config)?;
        ensure_private(&self.tunnels_dir())
    }

    pub fn ensure_state(&self) -> Result<(), Failure> {
        ensure_private(&self.state)
    }

    pub fn ensure_ports(&self) -> Result<(), Failure> {
        ensure_private(&self.state)?;
        ensure_private(&self.state.join("ports"))
    }

    pub fn ensure_runtime(&self) -> Result<(), Failure> {
        ensure_private(&self.runtime)
    }
}

/// What helps where `HOME` says nothing: a shell makes no home of a `~` then.
pub fn say_home() -> Fix {
    let home = sys::process::login().map(|login| PathBuf::from(login.home));
    home.map_or_else(|| "getent passwd".into(), |home| fix!("export HOME={}", home))
}

fn under(variable: &str, fallback: &str) -> Result<PathBuf, Failure> {
    if let Some(dir) = absolute(variable) {
        return Ok(dir);
    }
    let home = absolute("HOME").ok_or_else(|| {
        let why = format!("neither HOME nor {variable} holds an absolute path");
        Failure::new(Fault::Config, "no place for configuration", why, say_home())
    })?;
    Ok(home.join(fallback))
}

fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The files in a directory of [`Paths::session_dirs`] for the session of a host.
pub fn socket_in(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.sock"))
}

/// Where the process that answers here for the host's ports is asked.
pub fn ports_socket_in(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.ports.sock"))
}

/// Where the process of the host's bridges is asked.
pub fn bridge_socket_in(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.bridge.sock"))
}

pub fn lock_in(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.lock"))
}

/// Makes a directory that only this user can enter, or checks that it is one.
/// A mode that is too wide is tightened; a foreign owner or a symbolic link is refused.
pub fn ensure_private(dir: &Path) -> Result<(), Failure> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(DIR_MODE);
    builder.create(dir).map_err(|error| Failure::io("create", dir, &error))?;
    check_private(dir, sys::process::uid())
}

/// The same for a directory of `owner` that is there.
pub fn check_private(dir: &Path, owner: u32) -> Result<(), Failure> {
    let found = fs::symlink_metadata(dir).map_err(|error| Failure::io("look at", dir, &error))?;
    let refuse = |why: String| {
        let next = fix!("ls -ld {}", dir);
        Failure::new(Fault::Config, format!("{} cannot be used", dir.display()), why, next)
    };
    if !found.is_dir() {
        return Err(refuse("it is no directory".to_owned()));
    }
    if found.uid() != owner {
        return Err(refuse(format!("it belongs to user {}, not to you", found.uid())));
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(dir, Permissions::from_mode(DIR_MODE))
            .map_err(|error| Failure::io("set the mode of", dir, &error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn directories_are_made_private_and_strangers_refused() {
        let root = env::temp_dir().join(format!("hopbox-paths-{}", std::process::id()));
        let paths = Paths::below(&root);
        paths.ensure_config().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&paths.keys_dir()), 0o700);
        fs::set_permissions(paths.keys_dir(), Permissions::from_mode(0o755)).unwrap();
        paths.ensure_config().unwrap();
        assert_eq!(mode(&paths.keys_dir()), 0o700);

        fs::create_dir_all(root.join("run")).unwrap();
        symlink(root.join("config"), root.join("run/hopbox")).unwrap();
        assert_eq!(paths.ensure_runtime().unwrap_err().fault, Fault::Config);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn no_two_connections_have_one_socket() {
        let paths = Paths::below(Path::new("/"));
        let [one, two] = [paths.ssh_socket(), paths.clone().ssh_socket()];
        assert_ne!(one, two);
        assert_eq!(one.parent(), two.parent());
    }
}
