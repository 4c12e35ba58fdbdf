//! Asks the kernel for links and addresses over rtnetlink, for callers that own a network
//! namespace: a veth pair, an address, a link up. Each request is confirmed by the kernel.

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::TimeVal;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// An answer comes at once or something is wrong.
const ANSWER_S: i64 = 2;
const HEADER_LEN: usize = 16;
const VETH_INFO_PEER: u16 = 1;
const IFF_UP: u32 = 1;

/// A connection to the kernel of the calling thread's network namespace.
pub struct Rtnl {
    socket: OwnedFd,
    seq: u32,
}

impl Rtnl {
    pub fn open() -> io::Result<Rtnl> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let family = AddressFamily::Netlink;
        let socket = socket(family, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(ANSWER_S, 0))?;
        Ok(Rtnl { socket, seq: 0 })
    }

    /// A pair of connected Ethernet links: `name` here, `peer` in the namespace behind `there`.
    pub fn add_veth(&mut self, name: &str, peer: &str, there: BorrowedFd<'_>) -> io::Result<()> {
        let mut other = link_message(0, 0);
        attribute(&mut other, libc::IFLA_IFNAME, &c_name(peer)?);
        attribute(&mut other, libc::IFLA_NET_NS_FD, &there.as_raw_fd().to_ne_bytes());
        let mut data = Vec::new();
        attribute(&mut data, VETH_INFO_PEER, &other);
        let mut info = Vec::new();
        attribute(&mut info, libc::IFLA_INFO_KIND, b"veth\0");
        attribute(&mut info, libc::IFLA_INFO_DATA, &data);
        let mut body = link_message(0, 0);
        attribute(&mut body, libc::IFLA_IFNAME, &c_name(name)?);
        attribute(&mut body, libc::IFLA_LINKINFO, &info);
        self.ask(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &body)
    }

    /// Give a link an address with a prefix of so many bits.
    pub fn add_address(&mut self, name: &str, ip: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let index = if_nametoindex(name)?;
        let mut body = vec![libc::AF_INET as u8, prefix, 0, 0];
        body.extend(index.to_ne_bytes());
        attribute(&mut body, libc::IFA_LOCAL, &ip.octets());
        attribute(&mut body, libc::IFA_ADDRESS, &ip.octets());
        self.ask(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &body)
    }

    pub fn set_up(&mut self, name: &str) -> io::Result<()> {
        let index = if_nametoindex(name)?;
        self.ask(libc::RTM_NEWLINK, 0, &link_message(index, IFF_UP))
    }

    /// Send one request and wait for the kernel's verdict.
    fn ask(&mut self, kind: u16, flags: libc::c_int, body: &[u8]) -> io::Result<()> {
        self.seq = self.seq.wrapping_add(1);
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
        let mut message = Vec::with_capacity(HEADER_LEN + body.len());
        message.extend(((HEADER_LEN + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.seq.to_ne_bytes());
        message.extend(0u32.to_ne_bytes());
        message.extend(body);
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty())?;
        let mut answer = [0u8; 4096];
        let length = recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        verdict(answer.get(..length).unwrap_or_default(), self.seq)
    }
}

/// The error number of an acknowledgement; zero means done.
fn verdict(answer: &[u8], seq: u32) -> io::Result<()> {
    let word = |at: usize| answer.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    let kind = answer.get(4..6).and_then(|bytes| bytes.first_chunk()).copied();
    let is_error = kind.map(u16::from_ne_bytes) == Some(libc::NLMSG_ERROR as u16);
    match (is_error, word(8) == Some(seq), word(HEADER_LEN)) {
        (true, true, Some(0)) => Ok(()),
        (true, true, Some(code)) => Err(io::Error::from_raw_os_error((code as i32).wrapping_neg())),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "an answer to another question")),
    }
}

/// `struct ifinfomsg`.
fn link_message(index: u32, up: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(up.to_ne_bytes());
    body.extend(up.to_ne_bytes());
    body
}

fn attribute(to: &mut Vec<u8>, kind: u16, value: &[u8]) {
    to.extend(((4 + value.len()) as u16).to_ne_bytes());
    to.extend(kind.to_ne_bytes());
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

fn c_name(name: &str) -> io::Result<Vec<u8>> {
    if name.is_empty() || name.len() > 15 || name.contains('\0') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledgement(seq: u32, code: i32) -> Vec<u8> {
        let mut answer = 36u32.to_ne_bytes().to_vec();
        answer.extend((libc::NLMSG_ERROR as u16).to_ne_bytes());
        answer.extend([0; 2]);
        answer.extend(seq.to_ne_bytes());
        answer.extend([0; 4]);
        answer.extend(code.to_ne_bytes());
        answer
    }

    #[test]
    fn a_verdict_is_read() {
        assert!(verdict(&acknowledgement(7, 0), 7).is_ok());
        let refused = verdict(&acknowledgement(7, -libc::EEXIST), 7).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EEXIST));
        assert!(verdict(&acknowledgement(6, 0), 7).is_err());
        assert!(verdict(&acknowledgement(7, 0)[..18], 7).is_err());
    }

    #[test]
    fn names_are_bounded() {
        assert!(c_name("vps0").is_ok());
        assert!(c_name("").is_err() && c_name("sixteen-bytes-xx").is_err());
    }
}
