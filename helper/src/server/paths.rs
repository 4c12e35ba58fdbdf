//! Where things are. What of it can be chosen is said by the options of hop-helper-server(8).

/// The one path that clients know.
pub const SOCKET: &str = "/run/hopbox/server.sock";
/// The configuration is the helper's: whom root admits is the same question on both sockets.
pub use crate::core::paths::CONFIG;
pub const RUN_DIR: &str = "/run/hopbox-server";
pub const STATE_DIR: &str = "/var/lib/hopbox-server";
pub const AUDIT_DIR: &str = "/var/log/hopbox-server";
/// What nginx reads of ours: the directory, and the one file in it.
pub const NGINX_DIR: &str = "/etc/hopbox/nginx";
pub const NGINX_FILE: &str = "/etc/hopbox/nginx/sites.conf";
/// The installed program.
pub const PROGRAM: &str = "/usr/libexec/hopbox/hop-helper-server";
