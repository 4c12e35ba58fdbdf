//! The only door to the operating system: typed wrappers over nix and libc.
//!
//! Together with `simd`, the only place where `unsafe` may stand. Nothing here knows WireGuard,
//! hosts or commands. What is handed out is owned (`OwnedFd`, `SocketAddr`); raw descriptor
//! numbers do not leave this folder. Platform differences end here.
#![allow(unsafe_code)]

pub mod accepted;
pub mod bounded;
pub mod child;
pub mod children;
#[cfg_attr(target_os = "macos", path = "darwin/clock.rs")]
pub mod clock;
pub mod cmsg;
#[cfg_attr(target_os = "macos", path = "darwin/confine.rs")]
pub mod confine;
pub mod descendants;
mod error;
mod fd;
pub mod file_times;
pub mod free_space;
#[cfg_attr(target_os = "macos", path = "darwin/holes.rs")]
pub mod holes;
pub mod icmp;
pub mod iface;
#[cfg_attr(target_os = "macos", path = "darwin/inotify.rs")]
pub mod inotify;
pub mod interrupt;
#[cfg_attr(target_os = "macos", path = "darwin/ioctl.rs")]
pub mod ioctl;
pub mod line;
pub mod listener;
pub mod listeners;
pub mod local_time;
pub mod lock;
pub mod loopback;
#[cfg_attr(target_os = "macos", path = "darwin/mmsg.rs")]
pub mod mmsg;
#[cfg_attr(target_os = "macos", path = "darwin/neighbour.rs")]
pub mod neighbour;
#[cfg_attr(target_os = "macos", path = "darwin/net_space.rs")]
pub mod net_space;
#[cfg_attr(target_os = "macos", path = "darwin/netlink.rs")]
pub mod netlink;
mod open;
pub mod open_files;
mod packet_pair;
pub mod poll;
pub mod process;
pub mod process_stat;
pub mod pty;
#[cfg_attr(target_os = "macos", path = "darwin/random.rs")]
pub mod random;
#[cfg_attr(target_os = "macos", path = "darwin/reflink.rs")]
pub mod reflink;
#[cfg_attr(target_os = "macos", path = "darwin/rename.rs")]
pub mod rename;
pub mod signal;
#[cfg_attr(target_os = "macos", path = "darwin/sock.rs")]
pub mod sock;
#[cfg_attr(target_os = "macos", path = "darwin/sock_diag.rs")]
pub mod sock_diag;
pub mod socket_owner;
pub mod started;
pub mod tcp;
pub mod terminal;
pub mod threads;
pub mod through;
pub mod writeback;
#[cfg_attr(target_os = "macos", path = "darwin/xattr.rs")]
pub mod xattr;

pub use error::{code, errno};
pub use fd::set_nonblocking;
pub use open::open_no_link;
pub use packet_pair::packet_pair;
