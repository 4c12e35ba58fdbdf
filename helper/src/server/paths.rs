//! Where things are. What of it can be chosen is said by the options of hop-helper-server(8).

/// The one path that clients know.
pub const SOCKET: &str = "/run/hopbox/server.sock";
/// The configuration is the helper's: whom root admits is the same question on both sockets.
pub use crate::core::paths::CONFIG;
pub const RUN_DIR: &str = "/run/hopbox-server";
pub const STATE_DIR: &str = "/var/lib/hopbox-server";
pub const AUDIT_DIR: &str = "/var/log/hopbox-server";
/// The installed program.
pub const PROGRAM: &str = "/usr/libexec/hopbox/hop-helper-server";
