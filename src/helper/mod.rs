//! Client of hop-helper: asks root for a device, an address, a name.
//!
//! `client` says what can be asked, over one `connection`, whose lines `reply` reads; `error` tells
//! what went wrong, and what helps; `lease_keeper` stays with a lease when helpers come and go;
//! `guards` reads what keeps packets in their place; `program` asks which one it is; `firewall`,
//! `nginx` and `mounts` ask hop-helper-server.

mod client;
mod connection;
mod error;
pub mod firewall;
pub mod guards;
pub mod lease_keeper;
pub mod mounts;
pub mod nginx;
pub mod program;
pub mod reply;

pub use client::{Device, Helper, Lease};
pub use connection::{DEFAULT_SOCKET, socket_path};
pub use error::{HelperError, TIMEOUT, install_command, root_command};
pub use hop_helper::proto::Code;
