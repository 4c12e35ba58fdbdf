//! Inner packets on a TUN descriptor that was opened elsewhere.
//!
//! Knows nothing of the protocol. Sorts what can go wrong into: nothing there, down, gone, try
//! later.

use crate::sys::ioctl::Offload;
#[cfg(target_os = "linux")]
use crate::sys::poll::{self, Interest};
use crate::sys::{code, errno, ioctl, set_nonblocking};
use crate::tunnel::gso::{HEADER_LEN, Header, PLAIN, Segments};
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;

/// A TUN interface that somebody opened for us. The tunnel owns and closes it.
pub struct TunDevice {
    pub fd: OwnedFd,
    pub name: String,
    pub mtu: u16,
    /// Packets carry a virtio-net header of 10 bytes.
    pub vnet_hdr: bool,
}

/// What stands in the way of a read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunError {
    /// Nothing to read, or no room to write: wait for readiness.
    Wait,
    /// The interface is down.
    Down,
    /// The device is detached or deleted; no packet will ever come again.
    Gone,
    /// The packet was refused, and only this packet.
    Refused,
    /// Anything else: try again after a pause.
    Later,
}

/// Room for the longest packet and its header.
pub const READ_LEN: usize = HEADER_LEN + 65_535;

pub struct Tun {
    file: File,
    mtu: u16,
    vnet_hdr: bool,
    offload: Offload,
    /// It is an end of a pair of sockets: always up, and gone when the other end is closed.
    stands_in: bool,
}

impl Tun {
    /// Offloads are agreed on as far as the kernel has them, and `most` at most.
    pub fn new(device: TunDevice, most: Offload) -> io::Result<Tun> {
        set_nonblocking(device.fd.as_fd())?;
        let offload = match device.vnet_hdr {
            true => ioctl::set_offload(device.fd.as_fd(), most)?,
            false => {
                // Whoever had the device before may have agreed on something that cannot be told
                // without a header. What knows nothing of offloads, as a socket, has none.
                let _ = ioctl::set_offload(device.fd.as_fd(), Offload::Nothing);
                Offload::Nothing
            }
        };
        let file = File::from(device.fd);
        // On macOS every TUN is a socket.
        let is_socket = file.metadata()?.file_type().is_socket();
        let stands_in = cfg!(target_os = "linux") && is_socket;
        let TunDevice { mtu, vnet_hdr, .. } = device;
        Ok(Tun { file, mtu, vnet_hdr, offload, stands_in })
    }

    /// Whether there is no interface, but something in its place.
    pub fn stands_in(&self) -> bool {
        self.stands_in
    }

    pub fn offload(&self) -> Offload {
        self.offload
    }

    /// Read one packet, or what is to be cut into many, into `room` of [`READ_LEN`] bytes.
    pub fn read<'a>(&mut self, room: &'a mut [u8]) -> Result<Segments<'a>, TunError> {
        let n = self.file.read(room).map_err(|e| classify(&e))?;
        let filled = room.get_mut(..n).ok_or(TunError::Refused)?;
        #[cfg(target_os = "macos")]
        let filled = filled.get_mut(utun::LEN..).ok_or(TunError::Refused)?;
        if !self.vnet_hdr {
            // What stands in for a TUN has no header to say what is to be done.
            let long = Header::by_length(filled, self.mtu).filter(|_| self.stands_in);
            if let Some(header) = long {
                return Segments::new(&header, filled).ok_or(TunError::Refused);
            }
            return match filled.is_empty() {
                false => Ok(Segments::whole(filled)),
                true if self.stands_in => Err(TunError::Gone),
                true => Err(TunError::Refused),
            };
        }
        let (header, packet) = filled.split_first_chunk_mut().ok_or(TunError::Refused)?;
        let header = Header::read(header).ok_or(TunError::Refused)?;
        Segments::new(&header, packet).ok_or(TunError::Refused)
    }

    /// Write one packet, merged or not, that begins with a virtio-net header.
    pub fn write_parts(&mut self, parts: &[IoSlice<'_>]) -> Result<(), TunError> {
        if let ([only], false) = (parts, self.vnet_hdr) {
            return self.put(only.get(HEADER_LEN..).ok_or(TunError::Refused)?);
        }
        match parts {
            [only] => self.put(only),
            _ => self.file.write_vectored(parts).map(drop).map_err(|e| classify(&e)),
        }
    }

    /// Write a packet that stands alone.
    pub fn write(&mut self, packet: &[u8]) -> Result<(), TunError> {
        if !self.vnet_hdr {
            return self.put(packet);
        }
        let parts = [IoSlice::new(&PLAIN), IoSlice::new(packet)];
        self.file.write_vectored(&parts).map(drop).map_err(|e| classify(&e))
    }

    /// Whether the interface is up, wherever it is: the driver offers room to write only then.
    #[cfg(target_os = "linux")]
    pub fn is_up(&self) -> bool {
        self.stands_in || poll::look(self.file.as_fd(), Interest::WRITE).writable()
    }

    /// Whether the interface is up.
    #[cfg(target_os = "macos")]
    pub fn is_up(&self) -> bool {
        let name = ioctl::tun_state(self.file.as_fd()).map(|(name, _)| name);
        let iface = name.and_then(|name| crate::sys::iface::find(&name));
        iface.is_ok_and(|iface| iface.is_some_and(|iface| iface.up))
    }

    /// Whether the device was deleted. One that moved to another network namespace was not.
    pub fn is_gone(&self) -> bool {
        match ioctl::tun_state(self.file.as_fd()) {
            Ok(_) => false,
            Err(e) => matches!(errno(&e), code::EBADFD | code::ENODEV | code::ENXIO | code::EBADF),
        }
    }

    #[cfg(target_os = "linux")]
    fn put(&mut self, bytes: &[u8]) -> Result<(), TunError> {
        self.file.write(bytes).map(drop).map_err(|e| classify(&e))
    }

    #[cfg(target_os = "macos")]
    fn put(&mut self, packet: &[u8]) -> Result<(), TunError> {
        let family = utun::family(packet);
        let parts = [IoSlice::new(&family), IoSlice::new(packet)];
        self.file.write_vectored(&parts).map(drop).map_err(|e| classify(&e))
    }
}

/// What a utun has in front of each packet (net/if_utun.h).
#[cfg(any(test, target_os = "macos"))]
mod utun {
    pub const LEN: usize = 4;
    const AF_INET: u32 = 2;
    const AF_INET6: u32 = 30;

    /// Its address family, in network order.
    pub fn family(packet: &[u8]) -> [u8; LEN] {
        let v6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
        if v6 { AF_INET6.to_be_bytes() } else { AF_INET.to_be_bytes() }
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn classify(e: &io::Error) -> TunError {
    match errno(e) {
        code::EAGAIN | code::EINTR => TunError::Wait,
        code::EIO | code::ENETDOWN => TunError::Down,
        code::EBADFD | code::ENODEV | code::ENXIO | code::EBADF => TunError::Gone,
        code::EPIPE => TunError::Gone,
        code::EINVAL | code::EMSGSIZE => TunError::Refused,
        _ => TunError::Later,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_utun_is_told_the_family() {
        assert_eq!(utun::family(&[0x45, 0]), [0, 0, 0, 2]);
        assert_eq!(utun::family(&[0x60, 0]), [0, 0, 0, 30]);
        assert_eq!(utun::family(&[]).len(), utun::LEN);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_stands_in_has_long_packets_cut() {
        let (ours, theirs) = crate::sys::packet_pair().unwrap();
        let device = TunDevice { fd: theirs, name: String::new(), mtu: 100, vnet_hdr: false };
        let (mut tun, mut ours) = (Tun::new(device, Offload::Nothing).unwrap(), File::from(ours));
        let mut v4 = [0; 190];
        (v4[0], v4[3], v4[32]) = (0x45, 190, 0x50);
        let mut v6 = [0; 210];
        (v6[0], v6[5], v6[52]) = (0x60, 170, 0x50);
        let mut cut = |packet: &[u8]| -> Vec<usize> {
            ours.write_all(packet).unwrap();
            let (mut room, mut out) = ([0; 300], [0; 300]);
            let mut segments = tun.read(&mut room).unwrap();
            std::iter::from_fn(|| segments.next(&mut out)).collect()
        };
        for (protocol, lens, lens_v6) in
            [(6, &[100, 100, 70][..], &[100, 100, 100, 90][..]), (17, &[190], &[210])]
        {
            (v4[9], v6[6]) = (protocol, protocol);
            assert_eq!(cut(&v4), lens, "{protocol}");
            assert_eq!(cut(&v6), lens_v6, "{protocol}");
        }
    }
}
