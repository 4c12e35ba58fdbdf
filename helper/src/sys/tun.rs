//! The TUN driver.

use super::check;
use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;

/// An ioctl of the TUN driver that reads or writes one int.
fn tun_int(tun: &File, request: libc::Ioctl, value: &mut libc::c_int) -> io::Result<()> {
    // SAFETY: callers pass only requests whose argument is a pointer to one int.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), request, value as *mut libc::c_int) }).map(|_| ())
}

/// The IFF_* flags that TUNSETIFF of this kernel understands.
pub fn tun_features(tun: &File) -> io::Result<libc::c_int> {
    let mut features = 0;
    tun_int(tun, libc::TUNGETFEATURES, &mut features)?;
    Ok(features)
}

/// Sets the length of the virtio-net header before each packet, in bytes.
pub fn tun_set_header(tun: &File, bytes: libc::c_int) -> io::Result<()> {
    let mut bytes = bytes;
    tun_int(tun, libc::TUNSETVNETHDRSZ, &mut bytes)
}

/// Makes `tun` (an open /dev/net/tun) the device `name`, which must be shorter than IFNAMSIZ.
pub fn tun_set_interface(tun: &File, name: &str, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: ifreq is plain data, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which request is.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, &mut request) }).map(|_| ())
}
