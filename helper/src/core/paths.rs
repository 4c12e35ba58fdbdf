//! Where things are. What of it can be chosen is said by the options of hop-helper(8).

const MACOS: bool = cfg!(target_os = "macos");
/// What is of this boot only.
pub const RUN_DIR: &str = if MACOS { "/var/run/hopbox-helper" } else { "/run/hopbox-helper" };
pub const STATE_DIR: &str = if MACOS { "/var/db/hopbox" } else { "/var/lib/hopbox" };
pub const AUDIT_DIR: &str = "/var/log/hopbox";
pub const CONFIG: &str = "/etc/hopbox/helper.json";
/// The installed program.
#[cfg(not(target_os = "macos"))]
pub const PROGRAM: &str = "/usr/libexec/hopbox/hop-helper";
#[cfg(target_os = "macos")]
pub const PROGRAM: &str = "/Library/PrivilegedHelperTools/dev.hopbox.helper";
