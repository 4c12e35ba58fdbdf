//! utun devices and what is asked of an interface by ioctl.

use super::sock;
use std::io;
use std::mem::{size_of_val, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const NAME_LEN: usize = libc::IFNAMSIZ;
const CONTROL: &[u8] = b"com.apple.net.utun_control";
/// sys/sockio.h
const SIOCGIFMTU: libc::c_ulong = 0xc020_6933;
const SIOCSIFMTU: libc::c_ulong = 0x8020_6934;

/// `struct ifreq`: a name and a union whose first bytes we use.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Request {
    name: [u8; NAME_LEN],
    data: [u8; 16],
}

const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());

/// A new utun; it lives as long as the descriptor.
pub struct Tun {
    pub fd: OwnedFd,
    pub name: String,
    /// There are no virtio-net headers here.
    pub vnet_hdr: bool,
}

/// Create `utun<n>`, or the next free one for `utun`. Needs root.
pub fn open_tun(name: &str) -> io::Result<Tun> {
    let number = name.strip_prefix("utun").ok_or(io::ErrorKind::InvalidInput)?;
    // Unit 0 is the next free one, and n + 1 is utun<n>.
    let unit = match number.parse::<u16>() {
        Ok(n) => u32::from(n) + 1,
        Err(_) if number.is_empty() => 0,
        Err(_) => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let fd = sock::open(libc::PF_SYSTEM, libc::SOCK_DGRAM, libc::SYSPROTO_CONTROL)?;
    // SAFETY: both are plain data, for which all zeroes is a value.
    let (mut info, mut to): (libc::ctl_info, libc::sockaddr_ctl) = unsafe { zeroed() };
    for (to, from) in info.ctl_name.iter_mut().zip(CONTROL) {
        *to = *from as libc::c_char;
    }
    // SAFETY: the request reads and writes one ctl_info, which outlives the call.
    if unsafe { libc::ioctl(fd.as_raw_fd(), libc::CTLIOCGINFO, &raw mut info) } < 0 {
        return Err(io::Error::last_os_error());
    }
    to.sc_len = size_of_val(&to) as libc::c_uchar;
    to.sc_family = libc::AF_SYSTEM as libc::c_uchar;
    to.ss_sysaddr = libc::AF_SYS_CONTROL as u16;
    to.sc_id = info.ctl_id;
    to.sc_unit = unit;
    let len = size_of_val(&to) as libc::socklen_t;
    // SAFETY: the address is readable for the length given.
    if unsafe { libc::connect(fd.as_raw_fd(), (&raw const to).cast(), len) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let (name, vnet_hdr) = tun_state(fd.as_fd())?;
    Ok(Tun { fd, name, vnet_hdr })
}

/// The name of the device. An error when the descriptor is none.
pub fn tun_state(tun: BorrowedFd<'_>) -> io::Result<(String, bool)> {
    let mut name = [0_u8; NAME_LEN];
    let mut len = NAME_LEN as libc::socklen_t;
    let (level, option) = (libc::SYSPROTO_CONTROL, libc::UTUN_OPT_IFNAME);
    // SAFETY: name is writable for len bytes, and the kernel writes no more.
    let r = unsafe {
        libc::getsockopt(tun.as_raw_fd(), level, option, name.as_mut_ptr().cast(), &raw mut len)
    };
    if r < 0 {
        return Err(io::Error::last_os_error());
    }
    let end = name.iter().position(|b| *b == 0).unwrap_or(NAME_LEN);
    Ok((String::from_utf8_lossy(name.get(..end).unwrap_or_default()).into_owned(), false))
}

/// What the owner of a TUN and the kernel do for each other; here, nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offload {
    /// Finished packets only.
    Nothing,
    /// Checksums.
    Checksums,
    /// Segments of TCP.
    Tcp,
    /// And of UDP.
    Udp,
    /// And of both within a tunnel.
    Tunnels,
}

/// Agree on the highest level that the kernel takes.
pub fn set_offload(_: BorrowedFd<'_>, _: Offload) -> io::Result<Offload> {
    Ok(Offload::Nothing)
}

/// MTU of an interface.
pub fn mtu(name: &str) -> io::Result<u32> {
    let mut request = request_for(name)?;
    on_request(SIOCGIFMTU, &mut request)?;
    let [a, b, c, d, ..] = request.data;
    Ok(u32::from_ne_bytes([a, b, c, d]))
}

/// Needs root.
pub fn set_mtu(name: &str, mtu: u32) -> io::Result<()> {
    let mut request = request_for(name)?;
    request.data[..4].copy_from_slice(&mtu.to_ne_bytes());
    on_request(SIOCSIFMTU, &mut request)
}

/// Index of an interface, if there is one of that name.
pub fn index(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

fn request_for(name: &str) -> io::Result<Request> {
    let mut request = Request { name: [0; NAME_LEN], data: [0; 16] };
    match request.name.get_mut(..name.len()) {
        // The name must end in a zero byte.
        Some(room) if name.len() < NAME_LEN && !name.is_empty() => {
            room.copy_from_slice(name.as_bytes())
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    }
    Ok(request)
}

fn on_request(what: libc::c_ulong, request: &mut Request) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: each caller passes a request number whose argument is a `struct ifreq`, and `Request`
    // has that struct's size and alignment and outlives the call.
    let r = unsafe { libc::ioctl(socket.as_raw_fd(), what, &raw mut *request) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
