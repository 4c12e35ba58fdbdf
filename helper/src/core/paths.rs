//! Where things are. What of it can be chosen is said by the options of hop-helper(8).

/// What is of this boot only.
pub const RUN_DIR: &str = "/run/hopbox-helper";
pub const STATE_DIR: &str = "/var/lib/hopbox";
pub const AUDIT_DIR: &str = "/var/log/hopbox";
pub const CONFIG: &str = "/etc/hopbox/helper.json";
/// The installed program.
pub const PROGRAM: &str = "/usr/libexec/hopbox/hop-helper";
/// The one path that clients know, and what `--listen` binds unless told otherwise.
pub const SOCKET: &str = "/run/hopbox/helper.sock";
pub const OWN_SOCKET: &str = SOCKET;
/// The one file of the system's that is edited.
pub const HOSTS: &str = "/etc/hosts";
