//! What a packet meets on its way, in either direction.

use super::crypto_workers::CryptoWorkers;
use super::io::Io;
use super::path::Path;
use super::shield::Shield;
use crate::wg::{Device, Now};

pub(super) struct PacketIo<'a> {
    pub now: Now,
    pub device: &'a mut Device,
    pub io: &'a mut Io,
    pub workers: &'a mut CryptoWorkers,
    /// `None` where peers may reach this machine.
    pub shield: &'a mut Option<Shield>,
    pub path: &'a mut Path,
}
