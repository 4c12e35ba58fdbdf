//! `hop wg` with as many crypto workers as it is told to have, whatever this machine has cores for:
//! `lanes WORKERS INTERFACE`, for lanes.py. It is configured by wg(8), one client at a time, and
//! runs until it is killed.

use hopbox::sys::ioctl;
use hopbox::tunnel::{Config, TunDevice, Tunnel, start_with_workers};
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};

const MTU: u16 = 1420;

fn answer(mut client: UnixStream, tunnel: &Tunnel) -> std::io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?);
    let mut request = String::new();
    while !request.ends_with("\n\n") {
        if lines.read_line(&mut request)? == 0 {
            return Ok(());
        }
    }
    let (text, code) = match request.strip_prefix("set=1\n") {
        Some(body) => (Default::default(), tunnel.set(body).err().unwrap_or(0)),
        None => (tunnel.get()?, 0),
    };
    write!(client, "{}errno={}\n\n", *text, -code)
}

fn run(workers: usize, interface: &str) -> Result<(), Box<dyn Error>> {
    let path = format!("/var/run/wireguard/{interface}.sock");
    // Of one that was killed; before there is an interface, for which lanes.py waits.
    let _ = std::fs::remove_file(&path);
    let tun = ioctl::open_tun(interface)?;
    ioctl::set_mtu(&tun.name, MTU.into())?;
    let device = TunDevice { fd: tun.fd, name: tun.name, mtu: MTU, vnet_hdr: tun.vnet_hdr };
    let tunnel = start_with_workers(device, &Config::default(), workers)?;
    std::fs::create_dir_all("/var/run/wireguard")?;
    let listener = UnixListener::bind(path)?;
    for client in listener.incoming() {
        answer(client?, &tunnel)?;
    }
    Ok(())
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = match &args[..] {
        [workers, interface] => workers.parse().map_err(Box::from).and_then(|n| run(n, interface)),
        _ => Err("usage: lanes WORKERS INTERFACE".into()),
    };
    if let Err(why) = done {
        eprintln!("lanes: {why}");
        std::process::exit(1);
    }
}
