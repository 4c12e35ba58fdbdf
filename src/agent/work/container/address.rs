//! Where the ports of containers are published: the tunnel's address, which `front` tells with each
//! request. It is kept once there is a container, for the time after a boot, when nobody has asked
//! yet.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::agent::work::state;
use crate::base::file;
use crate::sys::bounded;

/// No workspace has this name.
const FILE: &str = ".address";
const LOOK_EVERY: Duration = Duration::from_millis(100);

fn path() -> io::Result<PathBuf> {
    Ok(state::own_dir()?.join(FILE))
}

/// What this process was told last.
static TOLD: Mutex<Option<Ipv4Addr>> = Mutex::new(None);

/// The address that was told last.
pub fn known() -> Option<Ipv4Addr> {
    TOLD.lock().unwrap_or_else(PoisonError::into_inner).or_else(kept)
}

fn kept() -> Option<Ipv4Addr> {
    bounded::text(path().ok()?).ok()?.trim().parse().ok()
}

/// With each request: what is known is not looked up again.
pub fn told(address: Ipv4Addr) -> io::Result<()> {
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if *told != Some(address) {
        if kept().is_some() {
            keep(address)?;
        }
        *told = Some(address);
    }
    Ok(())
}

/// One that is kept already is not written again.
pub fn keep(address: Ipv4Addr) -> io::Result<()> {
    if kept() == Some(address) {
        return Ok(());
    }
    state::private_dir(&state::own_dir()?)?;
    file::replace(&path()?, address.to_string().as_bytes())
}

/// Until this machine has the address, which a tunnel may bring later: an engine would not try
/// again by itself.
pub fn is_here_within(address: Ipv4Addr, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        // Nothing is ever received there.
        match UdpSocket::bind((address, 0)) {
            Ok(_) => return true,
            Err(_) if Instant::now() >= end => return false,
            Err(_) => thread::sleep(LOOK_EVERY),
        }
    }
}
