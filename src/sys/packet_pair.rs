//! Two ends between which packets go, in their bounds and in their order: what stands in for a TUN.

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, sockopt};
use std::io;
use std::os::fd::OwnedFd;

/// Asked for in each direction; the kernel gives what it allows. A sender whose packets wait there
/// is told to wait.
const ROOM_BYTES: usize = 1 << 20;

/// Where a closed end is seen at the other one, if the system has such sockets.
const KIND: SockType = match cfg!(target_os = "linux") {
    true => SockType::SeqPacket,
    false => SockType::Datagram,
};

/// Neither end blocks.
pub fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    #[cfg(target_os = "linux")]
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    #[cfg(target_os = "macos")]
    let flags = SockFlag::empty();
    let (one, other) = socket::socketpair(AddressFamily::Unix, KIND, None, flags)?;
    for end in [&one, &other] {
        // A small one costs packets, and those are sent again.
        let _ = socket::setsockopt(end, sockopt::SndBuf, &ROOM_BYTES);
        #[cfg(target_os = "macos")]
        super::fd::own(std::os::fd::AsFd::as_fd(end))?;
    }
    Ok((one, other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::{self, Interest};
    use std::fs::File;
    use std::io::{ErrorKind, Read, Write};
    use std::os::fd::AsFd;

    #[test]
    fn packets_keep_their_bounds_and_a_full_pair_says_so() {
        let (one, other) = packet_pair().unwrap();
        let (mut one, mut other) = (File::from(one), File::from(other));
        for packet in [&b"first"[..], b"2"] {
            one.write_all(packet).unwrap();
        }
        let mut room = [0; 2000];
        assert_eq!(other.read(&mut room).unwrap(), 5);
        assert_eq!(other.read(&mut room).unwrap(), 1);
        assert_eq!(other.read(&mut room).unwrap_err().kind(), ErrorKind::WouldBlock);
        let sent = (0..100_000).take_while(|_| one.write(&[7; 1420]).is_ok()).count();
        assert!((16..100_000).contains(&sent), "{sent} packets wait");
        if cfg!(target_os = "linux") {
            drop(other);
            assert!(poll::look(one.as_fd(), Interest::READ).broken());
        }
    }
}
