//! Configuration text through `Tunnel::set`: what is refused changes nothing, what is taken is told
//! again, and what is told is taken again and means the same.
//!
//! The parser is private, so a whole tunnel is used: its TUN is one end of a socket pair, and its
//! thread lives in a network namespace without any interface, so that nothing ever leaves it. Only
//! root can make that namespace; for others this target does nothing and says so once.

use hopbox::sys::process;
use hopbox::tunnel::{self, Config, TunDevice, Tunnel};
use hopbox_selftest::sys::namespace::{self, Space};
use std::os::unix::net::UnixDatagram;

const CLEAN: &str = "fwmark=0\nreplace_peers=true\n";

struct Door {
    tunnel: Tunnel,
    _far: UnixDatagram,
}

fn open() -> Option<Door> {
    if !process::is_root() || namespace::unshare(&[Space::Net]).is_err() {
        println!("SKIP uapi: needs root, for a network namespace of its own");
        return None;
    }
    let (near, far) = UnixDatagram::pair().expect("socket pair");
    let tun = TunDevice { fd: near.into(), name: "fuzz0".into(), mtu: 1420, vnet_hdr: false };
    let tunnel = tunnel::start(tun, &Config::default()).expect("tunnel");
    Some(Door { tunnel, _far: far })
}

/// What is told, without figures that change by themselves.
fn told(t: &Tunnel) -> String {
    let text = t.get().expect("an answer");
    let counts = |l: &&str| {
        !["tx_bytes=", "rx_bytes=", "last_handshake_"].iter().any(|key| l.starts_with(key))
    };
    text.lines().filter(counts).flat_map(|l| [l, "\n"]).collect()
}

pub fn uapi(data: &[u8]) {
    thread_local! {
        static DOOR: Option<Door> = open();
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    DOOR.with(|door| {
        let Some(Door { tunnel: t, .. }) = door else { return };
        t.set(&format!("private_key={}\n{CLEAN}", "00".repeat(32))).expect("clean");
        let before = told(t);
        match t.set(text) {
            Err(code) => {
                assert!(code > 0);
                assert_eq!(told(t), before, "refused with {code}, and yet something changed");
            }
            Ok(()) => {
                kept(text, &told(t));
                round(t);
            }
        }
    });
}

/// The interval of a single peer is what was asked for last.
fn kept(text: &str, told: &str) {
    let lines: Vec<&str> = text.split('\n').take_while(|l| !l.is_empty()).collect();
    let all = |key: &str| lines.iter().filter_map(|l| l.strip_prefix(key)).collect::<Vec<_>>();
    let asked = all("persistent_keepalive_interval=");
    let plain = all("public_key=").len() == 1 && all("remove=").is_empty();
    if let (true, Some(last), true) = (plain, asked.last(), told.contains("public_key=")) {
        let seconds: u16 = last.parse().expect("taken as a number");
        assert!(told.contains(&format!("persistent_keepalive_interval={seconds}\n")));
    }
}

fn round(t: &Tunnel) {
    let first = told(t);
    // A peer's lines are as a request would have them; the device's follow `CLEAN`.
    t.set(&format!("{CLEAN}{first}")).unwrap_or_else(|e| panic!("{e} for what was told:\n{first}"));
    assert_eq!(told(t), first);
}
