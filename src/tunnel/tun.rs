//! Inner packets on a TUN descriptor that was opened elsewhere.
//!
//! Knows nothing of the protocol beyond the free space it leaves in front of a packet. Sorts what
//! can go wrong into: nothing there, down, gone, try later.

use super::TunDevice;
use super::offload;
use crate::sys::poll::{self, Interest};
use crate::sys::{code, errno, ioctl};
use crate::wg;
use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// What stands in the way of a read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
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

pub(super) struct Tun {
    file: File,
    vnet_hdr: bool,
}

impl Tun {
    pub fn new(device: TunDevice) -> io::Result<Tun> {
        ioctl::set_nonblocking(device.fd.as_fd())?;
        if device.vnet_hdr {
            ioctl::set_offload(device.fd.as_fd(), 0)?;
        }
        Ok(Tun { file: File::from(device.fd), vnet_hdr: device.vnet_hdr })
    }

    /// Read one packet into `slot[wg::HEADROOM..]`, leaving `wg::TAILROOM` behind it; its length.
    pub fn read(&mut self, slot: &mut [u8]) -> Result<usize, Trouble> {
        let header = if self.vnet_hdr { offload::HEADER_LEN } else { 0 };
        let first = wg::HEADROOM.saturating_sub(header);
        let last = slot.len().saturating_sub(wg::TAILROOM);
        let room = slot.get_mut(first..last).ok_or(Trouble::Refused)?;
        let n = self.file.read(room).map_err(|e| classify(&e))?;
        if !self.vnet_hdr {
            return if n == 0 { Err(Trouble::Refused) } else { Ok(n) };
        }
        let filled = room.get_mut(..n).ok_or(Trouble::Refused)?;
        let (header, packet) = filled.split_first_chunk_mut().ok_or(Trouble::Refused)?;
        if offload::finish(header, packet) { Ok(packet.len()) } else { Err(Trouble::Refused) }
    }

    /// Write the packet `buf[start..start + len]`; bytes before it may be overwritten.
    pub fn write_within(
        &mut self,
        buf: &mut [u8],
        start: usize,
        len: usize,
    ) -> Result<(), Trouble> {
        let end = start.saturating_add(len);
        if !self.vnet_hdr {
            return self.put(buf.get(start..end).ok_or(Trouble::Refused)?);
        }
        let from = start.checked_sub(offload::HEADER_LEN).ok_or(Trouble::Refused)?;
        let whole = buf.get_mut(from..end).ok_or(Trouble::Refused)?;
        if let Some(header) = whole.first_chunk_mut() {
            *header = offload::PLAIN;
        }
        self.put(whole)
    }

    /// Write a packet that stands alone.
    pub fn write(&mut self, packet: &[u8]) -> Result<(), Trouble> {
        if !self.vnet_hdr {
            return self.put(packet);
        }
        let parts = [IoSlice::new(&offload::PLAIN), IoSlice::new(packet)];
        self.file.write_vectored(&parts).map(drop).map_err(|e| classify(&e))
    }

    /// Whether the interface is up, wherever it is: the driver offers room to write only then.
    pub fn is_up(&self) -> bool {
        poll::look(self.file.as_fd(), Interest::WRITE).writable()
    }

    /// Whether the device was deleted. One that moved to another network namespace was not.
    pub fn is_gone(&self) -> bool {
        match ioctl::tun_state(self.file.as_fd()) {
            Ok(_) => false,
            Err(e) => matches!(errno(&e), code::EBADFD | code::ENODEV | code::ENXIO | code::EBADF),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.file.write(bytes).map(drop).map_err(|e| classify(&e))
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn classify(e: &io::Error) -> Trouble {
    match errno(e) {
        code::EAGAIN | code::EINTR => Trouble::Wait,
        code::EIO | code::ENETDOWN => Trouble::Down,
        code::EBADFD | code::ENODEV | code::ENXIO | code::EBADF => Trouble::Gone,
        code::EINVAL | code::EMSGSIZE => Trouble::Refused,
        _ => Trouble::Later,
    }
}
