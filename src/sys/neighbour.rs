//! The hardware address of the first machine on the way to an address, as the kernel knows it.
//! Nothing is sent into the network by asking.

use super::netlink::{split, u32_at};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const HEADER_LEN: usize = 16;
/// Of a route and of a neighbour alike.
const BODY_LEN: usize = 12;
const ATTRIBUTE_LEN: usize = 4;
/// A router of the other family (linux/rtnetlink.h); libc has it for glibc alone.
const RTA_VIA: u16 = 18;
const ANSWER_BYTES: usize = 8 * 1024;
/// Longer ones are of no network that a laptop is in.
const MOST_BYTES: usize = 20;

/// Of the router, or of the machine itself where it is in the same network. `None` where there is
/// no route or no such address, as on a line to one other end; before it was asked for; and of
/// kernels before 5.0, which tell only of all.
pub fn first_hop(to: IpAddr) -> Option<Vec<u8>> {
    let mut body = vec![family(to), bits(to), 0, 0];
    body.resize(BODY_LEN, 0);
    let route = ask(libc::RTM_GETROUTE, libc::RTM_NEWROUTE, body, (libc::RTA_DST, to))?;
    let link = attribute(&route, libc::RTA_OIF).and_then(|value| u32_at(value, 0))?;
    let via = attribute(&route, RTA_VIA).and_then(|via| address(via.get(2..)?));
    let gateway = attribute(&route, libc::RTA_GATEWAY).and_then(address).or(via).unwrap_or(to);
    let mut body = vec![family(gateway), 0, 0, 0];
    body.extend(link.to_ne_bytes());
    body.resize(BODY_LEN, 0);
    let next = ask(libc::RTM_GETNEIGH, libc::RTM_NEWNEIGH, body, (libc::NDA_DST, gateway))?;
    let found = attribute(&next, libc::NDA_LLADDR)?;
    let is_one = (1..=MOST_BYTES).contains(&found.len()) && found.iter().any(|byte| *byte != 0);
    is_one.then(|| found.to_vec())
}

/// One question about `of`, and the body of its answer. The kernel answers within the sending.
fn ask(question: u16, answer: u16, body: Vec<u8>, of: (u16, IpAddr)) -> Option<Vec<u8>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let protocol = SockProtocol::NetlinkRoute;
    let mut socket =
        File::from(socket(AddressFamily::Netlink, SockType::Raw, flags, protocol).ok()?);
    socket.write_all(&message(question, &body, of)).ok()?;
    let mut buffer = [0; ANSWER_BYTES];
    let length = socket.read(&mut buffer).ok()?;
    let read = buffer.get(..length)?;
    let (first, _) = split(read, u32_at(read, 0), HEADER_LEN)?;
    let kind = u16::from_ne_bytes(*first.get(4..)?.first_chunk()?);
    (kind == answer).then(|| first.get(HEADER_LEN..).map(<[u8]>::to_vec))?
}

fn message(question: u16, body: &[u8], (kind, of): (u16, IpAddr)) -> Vec<u8> {
    let value = octets(of);
    let length = HEADER_LEN + body.len() + ATTRIBUTE_LEN + value.len();
    let mut message = Vec::with_capacity(length);
    message.extend(u32::try_from(length).unwrap_or(0).to_ne_bytes());
    message.extend(question.to_ne_bytes());
    message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message.extend(u16::try_from(ATTRIBUTE_LEN + value.len()).unwrap_or(0).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message
}

/// The value of the first attribute of this kind behind a body.
fn attribute(answer: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = answer.get(BODY_LEN..)?;
    let length = |bytes: &[u8]| Some(u32::from(u16::from_ne_bytes(*bytes.first_chunk()?)));
    while let Some((attribute, next)) = split(rest, length(rest), ATTRIBUTE_LEN) {
        let kind = u16::from_ne_bytes(*attribute.get(2..)?.first_chunk()?);
        if kind == wanted {
            return attribute.get(ATTRIBUTE_LEN..);
        }
        rest = next;
    }
    None
}

fn family(ip: IpAddr) -> u8 {
    let family = if ip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u8::try_from(family).unwrap_or_default()
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(Ipv4Addr::from(*value.first_chunk::<4>()?).into()),
        16 => Some(Ipv6Addr::from(*value.first_chunk::<16>()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_no_hardware_address() {
        assert_eq!(first_hop(Ipv4Addr::LOCALHOST.into()), None);
        assert_eq!(first_hop(Ipv6Addr::LOCALHOST.into()), None);
    }

    #[test]
    fn a_value_is_found_among_others_and_no_truncation_breaks_the_reader() {
        let mut answer = vec![0; BODY_LEN];
        for (kind, value) in [(7u16, &[1, 2, 3][..]), (5, &[192, 0, 2, 1])] {
            answer.extend((4 + value.len() as u16).to_ne_bytes());
            answer.extend(kind.to_ne_bytes());
            answer.extend(value);
            answer.resize(answer.len().next_multiple_of(4), 0);
        }
        let found = attribute(&answer, 5).and_then(address);
        assert_eq!(found, Some(Ipv4Addr::new(192, 0, 2, 1).into()));
        assert_eq!(attribute(&answer, 6), None);
        for cut in 0..answer.len() {
            assert_eq!(attribute(&answer[..cut], 5), None);
        }
    }
}
