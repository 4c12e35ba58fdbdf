//! What passes through a host: every UDP datagram over IPv4 on its Ethernet links, both ways.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};

use crate::netns::Host;

const ETHERNET: usize = 14;

pub struct Capture(OwnedFd);

/// One datagram.
pub struct Datagram {
    pub tos: u8,
    pub dst_port: u16,
    pub payload: Vec<u8>,
}

impl Capture {
    /// From now on; bounded by the socket's buffer of some MiB.
    pub fn start(host: &Host) -> Capture {
        let fd = host.run(|| {
            socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
                SockProtocol::EthAll,
            )
        });
        let fd = fd.expect("a packet socket");
        setsockopt(&fd, sockopt::RcvBufForce, &(8 << 20)).expect("room");
        Capture(fd)
    }

    /// What came since the last call.
    pub fn take(&mut self) -> Vec<Datagram> {
        let mut frame = vec![0; 65_536];
        let mut all = Vec::new();
        while let Ok(n) = recv(self.0.as_raw_fd(), &mut frame, MsgFlags::empty()) {
            all.extend(parse(&frame[..n]));
        }
        all
    }
}

fn parse(frame: &[u8]) -> Option<Datagram> {
    let ip = frame.get(ETHERNET..).filter(|ip| frame[12..14] == [8, 0] && ip.len() >= 28)?;
    let header = usize::from(ip[0] & 15) * 4;
    // First fragments only.
    let first = u16::from_be_bytes([ip[6], ip[7]]) & 0x1fff == 0;
    let udp = ip.get(header..).filter(|u| ip[9] == 17 && first && u.len() >= 8)?;
    let len = usize::from(u16::from_be_bytes([udp[4], udp[5]])).clamp(8, udp.len());
    Some(Datagram {
        tos: ip[1],
        dst_port: u16::from_be_bytes([udp[2], udp[3]]),
        payload: udp[8..len].to_vec(),
    })
}
