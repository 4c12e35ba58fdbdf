//! The ceiling for `make bench`: `src/tunnel` as it is, with a device that neither seals nor opens
//! and knows no handshake. What it reaches is what the I/O allows. It is configured like `hop wg`,
//! has one peer, protects nothing, and is part of no program: `no_crypto INTERFACE`.
#![allow(dead_code, unused_imports, clippy::wrong_self_convention)]

// The tunnel looks for these at the root.
use hopbox::{base, sys};
#[path = "../../src/tunnel/mod.rs"]
mod tunnel;

/// The protocol's types, and a device in the place of its own.
mod wg {
    use std::ops::{Deref, DerefMut};

    pub use hopbox::wg::*;

    /// The real one does all but data packets: it holds the configuration, and is up or down.
    pub struct Device {
        real: hopbox::wg::Device,
        to: Option<Endpoint>,
    }

    /// The message type of data, before a receiver and a counter that nobody looks at.
    const HEADER: [u8; 4] = [4, 0, 0, 0];

    impl Device {
        pub fn new(entropy: Box<dyn Entropy>) -> Device {
            Device { real: hopbox::wg::Device::new(entropy), to: None }
        }

        pub fn update_peer(
            &mut self,
            now: Now,
            update: &PeerUpdate,
            sink: &mut dyn Sink,
        ) -> Result<(), ConfigError> {
            let to = update.endpoint.map(|remote| Endpoint { remote, local: None });
            self.to = to.or(self.to);
            self.real.update_peer(now, update, sink)
        }

        pub fn from_tun(
            &mut self,
            _: Now,
            buf: &mut [u8],
            len: usize,
            _: &mut dyn Sink,
        ) -> Outbound {
            buf[..4].copy_from_slice(&HEADER);
            match self.to {
                Some(to) => {
                    let len = HEADROOM + len.next_multiple_of(16) + 16;
                    Outbound::Send { to, tos: 0, len }
                }
                None => Outbound::Dropped(Drop::NoEndpoint),
            }
        }

        pub fn from_tun_unsealed(
            &mut self,
            now: Now,
            buf: &mut [u8],
            len: usize,
            sink: &mut dyn Sink,
        ) -> (Outbound, Option<Sealing>) {
            (self.from_tun(now, buf, len, sink), None)
        }

        pub fn opening(&mut self, _: &DataHeader) -> Option<Opening> {
            None
        }

        pub fn data_from_wire(
            &mut self,
            _: Now,
            _: DataHeader,
            buf: &mut [u8],
            _: Option<Opened>,
            _: &Arrival,
            _: &mut dyn Sink,
        ) -> Inbound {
            // Padding goes by the length in the packet itself.
            let len = match buf.get(HEADROOM..) {
                Some(&[first, _, a, b, ..]) if first >> 4 == 4 => {
                    usize::from(a) << 8 | usize::from(b)
                }
                Some(&[first, _, _, _, a, b, ..]) if first >> 4 == 6 => {
                    40 + (usize::from(a) << 8 | usize::from(b))
                }
                _ => 0,
            };
            match len > 0 && HEADROOM + len + 16 <= buf.len() {
                true => Inbound::Packet { start: HEADROOM, len },
                false => Inbound::Dropped(Drop::Malformed),
            }
        }
    }

    impl Deref for Device {
        type Target = hopbox::wg::Device;

        fn deref(&self) -> &hopbox::wg::Device {
            &self.real
        }
    }

    impl DerefMut for Device {
        fn deref_mut(&mut self) -> &mut hopbox::wg::Device {
            &mut self.real
        }
    }
}

fn main() {
    let Some(interface) = std::env::args().nth(1) else {
        eprintln!("no_crypto INTERFACE");
        std::process::exit(2);
    };
    if let Err(why) = tunnel::wg_command::run(&interface, true) {
        eprintln!("no_crypto: {why}");
        std::process::exit(1);
    }
}
