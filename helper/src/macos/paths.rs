//! Where things are on macOS.

pub const RUN_DIR: &str = "/var/run/hopbox-helper";
pub const STATE_DIR: &str = "/var/db/hopbox";
pub const AUDIT_DIR: &str = "/var/log/hopbox";
pub const CONFIG: &str = "/etc/hopbox/helper.json";
pub const PROGRAM: &str = "/Library/PrivilegedHelperTools/dev.hopbox.helper";
/// launchd makes no directories, and /var/run is empty after a boot: hence none of our own.
pub const SOCKET: &str = "/var/run/hopbox-helper.sock";
/// In a directory that only root can write, which /var/run is not.
pub const OWN_SOCKET: &str = "/var/run/hopbox/helper.sock";
pub const HOSTS: &str = "/private/etc/hosts";
