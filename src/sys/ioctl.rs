//! TUN devices and what is asked of an interface by ioctl.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const IFF_TUN: u16 = 0x0001;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
const NAME_LEN: usize = 16;

/// Bytes of `struct virtio_net_hdr_v1_hash_tunnel` in front of each packet when `vnet_hdr` is on. A
/// kernel that knows only its first ten takes as many, and leaves the rest alone.
pub const VNET_HDR_LEN: usize = 24;

/// Packets that may wait to be read from a TUN, instead of the kernel's 500: as many as any
/// Ethernet device and WireGuard in the kernel have. What the kernel cuts up before us, as that of
/// most tunnels within this one, comes 45 packets at a time; what finds the queue full is lost.
const QUEUE_LEN: u32 = 1000;

/// `struct ifreq`: a name and a union whose first bytes we use.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Request {
    name: [u8; NAME_LEN],
    data: [u8; 24],
}

/// A new TUN device; it lives as long as the descriptor.
pub struct Tun {
    pub fd: OwnedFd,
    pub name: String,
    /// Whether each packet carries a virtio-net header.
    pub vnet_hdr: bool,
}

/// Create the TUN `name`, or attach to it where it exists and nobody holds it (EBUSY otherwise).
/// With virtio-net headers where the kernel has them.
pub fn open_tun(name: &str) -> io::Result<Tun> {
    match open_with(name, IFF_TUN | IFF_NO_PI | IFF_VNET_HDR) {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => open_bare_tun(name),
        other => other,
    }
}

/// [`open_tun`] without virtio-net headers, as very old kernels have it.
pub fn open_bare_tun(name: &str) -> io::Result<Tun> {
    open_with(name, IFF_TUN | IFF_NO_PI)
}

fn open_with(name: &str, flags: u16) -> io::Result<Tun> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    let mut request = request_for(name)?;
    request.data[..2].copy_from_slice(&flags.to_ne_bytes());
    on_request(file.as_fd(), libc::TUNSETIFF, &mut request)?;
    if name_in(&request) != name {
        // The kernel took it for a pattern (`wg%d`); what it made goes with the descriptor.
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // A shorter one costs packets under load, which is no reason to refuse.
    let _ = set_queue_len(name, QUEUE_LEN);
    Ok(Tun { fd: OwnedFd::from(file), name: name.to_owned(), vnet_hdr: flags & IFF_VNET_HDR != 0 })
}

/// The name the device has now, and whether its packets carry a virtio-net header. EBADFD when the
/// device is gone; works also when it was moved to another network namespace.
pub fn tun_state(tun: BorrowedFd<'_>) -> io::Result<(String, bool)> {
    let mut request = Request { name: [0; NAME_LEN], data: [0; 24] };
    on_request(tun, libc::TUNGETIFF, &mut request)?;
    let flags = u16::from_ne_bytes([request.data[0], request.data[1]]);
    Ok((name_in(&request), flags & IFF_VNET_HDR != 0))
}

/// What the owner of a TUN with virtio-net headers is ready to do for the kernel, and the kernel
/// for it: each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offload {
    /// Finished packets only.
    Nothing,
    /// Checksums.
    Checksums,
    /// Segments of TCP.
    Tcp,
    /// And of UDP: Linux 6.2.
    Udp,
    /// And of both within a UDP tunnel such as VXLAN or GENEVE, on the way from the kernel only:
    /// Linux 6.17.
    Tunnels,
}

impl Offload {
    const CSUM: u32 = 0x01;
    const TSO: u32 = 0x02 | 0x04;
    const USO: u32 = 0x20 | 0x40;
    /// With and without checksums of the outer datagrams.
    const UDP_TUNNELS: u32 = 0x80 | 0x100;

    fn bits(self) -> u32 {
        match self {
            Offload::Nothing => 0,
            Offload::Checksums => Offload::CSUM,
            Offload::Tcp => Offload::CSUM | Offload::TSO,
            Offload::Udp => Offload::Tcp.bits() | Offload::USO,
            Offload::Tunnels => Offload::Udp.bits() | Offload::UDP_TUNNELS,
        }
    }
}

/// Agree on the highest level up to `most` that the kernel takes.
pub fn set_offload(tun: BorrowedFd<'_>, most: Offload) -> io::Result<Offload> {
    let levels = [Offload::Tunnels, Offload::Udp, Offload::Tcp, Offload::Checksums];
    for level in levels.into_iter().filter(|l| *l <= most) {
        if set_offload_bits(tun, level.bits()).is_ok() {
            return Ok(level);
        }
    }
    set_offload_bits(tun, 0).map(|()| Offload::Nothing)
}

/// Fix the header's size and say which offloads we understand (`TUN_F_*` bits).
fn set_offload_bits(tun: BorrowedFd<'_>, bits: u32) -> io::Result<()> {
    let mut size = VNET_HDR_LEN as i32;
    // SAFETY: the request reads one i32, which outlives the call.
    let r = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw mut size) };
    if r < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: this request takes a number, not a pointer.
    let r = unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(bits)) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// MTU of an interface of this network namespace.
pub fn mtu(name: &str) -> io::Result<u32> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    let mut request = request_for(name)?;
    on_request(socket.as_fd(), libc::SIOCGIFMTU as _, &mut request)?;
    let [a, b, c, d, ..] = request.data;
    Ok(u32::from_ne_bytes([a, b, c, d]))
}

/// Needs CAP_NET_ADMIN.
pub fn set_mtu(name: &str, mtu: u32) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    let mut request = request_for(name)?;
    request.data[..4].copy_from_slice(&mtu.to_ne_bytes());
    on_request(socket.as_fd(), libc::SIOCSIFMTU as _, &mut request)
}

/// How many packets may wait to be read from a TUN. Needs CAP_NET_ADMIN.
fn set_queue_len(name: &str, len: u32) -> io::Result<()> {
    let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    let mut request = request_for(name)?;
    request.data[..4].copy_from_slice(&len.to_ne_bytes());
    on_request(socket.as_fd(), libc::SIOCSIFTXQLEN as _, &mut request)
}

/// Index of an interface of this network namespace, if there is one of that name.
pub fn index(name: &str) -> Option<u32> {
    nix::net::if_::if_nametoindex(name).ok()
}

fn request_for(name: &str) -> io::Result<Request> {
    let mut request = Request { name: [0; NAME_LEN], data: [0; 24] };
    match request.name.get_mut(..name.len()) {
        // The name must end in a zero byte.
        Some(room) if name.len() < NAME_LEN && !name.is_empty() => {
            room.copy_from_slice(name.as_bytes())
        }
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    }
    Ok(request)
}

fn name_in(request: &Request) -> String {
    let end = request.name.iter().position(|b| *b == 0).unwrap_or(NAME_LEN);
    String::from_utf8_lossy(request.name.get(..end).unwrap_or_default()).into_owned()
}

fn on_request(fd: BorrowedFd<'_>, what: libc::Ioctl, request: &mut Request) -> io::Result<()> {
    // SAFETY: each caller passes a request number whose argument is a `struct ifreq`, and `Request`
    // has that struct's size (40 bytes) and alignment and outlives the call.
    let r = unsafe { libc::ioctl(fd.as_raw_fd(), what, &raw mut *request) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_kernels_size() {
        assert_eq!(size_of::<Request>(), 40);
        assert_eq!(size_of::<Request>(), size_of::<libc::ifreq>());
        assert!(request_for("").is_err());
        assert!(request_for("sixteen-bytes-xx").is_err());
        assert!(request_for("fifteen-bytes-x").is_ok());
    }

    #[test]
    fn loopback_has_an_index_and_an_mtu() {
        assert!(index("lo").is_some());
        assert!(mtu("lo").expect("mtu") >= 1280);
        assert_eq!(index("no-such-if"), None);
    }
}
