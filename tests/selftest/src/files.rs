//! What `hop setup` would have left on laptop and VPS: keys, host file, agent file, helper file.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::Path;

use serde_json::json;
use zeroize::Zeroizing;

use hopbox::base::key::{self, Secret};
use hopbox::base::{address_plan, file};
use hopbox::host::config::{self, Endpoint, HostConfig};
use hopbox::host::paths::Paths;
use hopbox::host::store;
use hopbox::sys::random;
use hopbox::tunnel;

pub const HOST: &str = "mybox";
pub const NAME: &str = "mybox.hop";
pub const LAPTOP_IP: Ipv4Addr = laptop_ip(0);
pub const VPS_IP: Ipv4Addr = vps_ip(0);
/// The ends of the cable, from a range for documentation (RFC 5737).
pub const LAPTOP_WAN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub const VPS_WAN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const UDP_PORT: u16 = 51820;

/// Keys and token of one pair of machines.
#[derive(Clone)]
pub struct Secrets {
    laptop: Secret,
    vps: Secret,
    preshared: Secret,
    pub token: Zeroizing<String>,
}

impl Secrets {
    pub fn generate() -> io::Result<Secrets> {
        let mut preshared = Zeroizing::new([0; 32]);
        random::fill(&mut preshared[..])?;
        let mut token = Zeroizing::new([0; 32]);
        random::fill(&mut token[..])?;
        let (laptop, vps) = (tunnel::generate_key()?, tunnel::generate_key()?);
        Ok(Secrets { laptop, vps, preshared, token: key::encode(&token) })
    }
}

/// The laptop's address towards host number `number`.
pub const fn laptop_ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 10, number, 1)
}

/// The address of host number `number`.
pub const fn vps_ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 10, number, 2)
}

/// Files of a machine's /etc that do not depend on keys.
pub fn etc(user: Option<u32>) -> Vec<(&'static str, String)> {
    let uids: Vec<u32> = user.into_iter().collect();
    let group = user.map(|user| format!("hopbox:x:{user}:\n")).unwrap_or_default();
    vec![
        ("hosts", "127.0.0.1\tlocalhost\n".to_owned()),
        ("nsswitch.conf", "hosts: files\n".to_owned()),
        ("group", group),
        ("hopbox/helper.json", json!({"allow_uids": uids}).to_string()),
    ]
}

/// The laptop's key and host file.
pub fn write_laptop(paths: &Paths, secrets: &Secrets) -> Result<(), String> {
    write_host(paths, secrets, HOST, 0, &VPS_WAN.to_string())
}

/// The same for host number `number` of this name, whose server is found at `endpoint`.
pub fn write_host(
    paths: &Paths,
    secrets: &Secrets,
    name: &str,
    number: u8,
    endpoint: &str,
) -> Result<(), String> {
    let host = HostConfig {
        name: name.to_owned(),
        endpoint: Endpoint { host: endpoint.to_owned(), port: UDP_PORT },
        public_key: tunnel::public_key(&secrets.vps),
        preshared_key: Some(secrets.preshared.clone()),
        key_file: config::first_key_file(name),
        local_ip: laptop_ip(number),
        peer_ip: vps_ip(number),
        number,
        mtu: address_plan::MTU,
        keepalive_s: config::KEEPALIVE_S,
        api_port: hopbox::rpc::API_PORT,
        token: secrets.token.clone(),
        user: None,
        identity: None,
        ssh: None,
        provider: None,
        transport: Default::default(),
        second_port: None,
    };
    store::save(paths, &host).map_err(|error| error.to_string())?;
    key::store_new(&store::key_file(paths, name), &secrets.laptop)
        .map_err(|error| error.to_string())
}

/// The agent's key and file, and what the laptop calls its server, in its directory on the calling
/// thread's machine.
pub fn write_vps(secrets: &Secrets, user: Option<u32>) -> io::Result<()> {
    write_agent(secrets, user, 0)?;
    let host = NAME.trim_end_matches(".hop");
    let names = json!({"version": 1, "names": {laptop_ip(0).to_string(): host}});
    let dir = Path::new("/var/lib/hopbox-agent");
    file::replace(&dir.join("agent.names"), names.to_string().as_bytes())?;
    give(dir, user)
}

/// The same for the server of host number `number`.
pub fn write_agent(secrets: &Secrets, user: Option<u32>, number: u8) -> io::Result<()> {
    let dir = Path::new("/var/lib/hopbox-agent");
    let (key, file) = (&dir.join("agent.key"), &dir.join("agent.json"));
    DirBuilder::new().mode(0o700).create(dir)?;
    let config = json!({
        "version": 1,
        "address": vps_ip(number).to_string(),
        "listen_port": UDP_PORT,
        "token": secrets.token.as_str(),
        "peers": [{
            "name": "laptop",
            "public_key": key::encode(&tunnel::public_key(&secrets.laptop)).as_str(),
            "preshared_key": key::encode(&secrets.preshared).as_str(),
            "address": laptop_ip(number).to_string(),
        }],
    });
    key::store_new(key, &secrets.vps).map_err(io::Error::other)?;
    file::replace(file, config.to_string().as_bytes())?;
    give(dir, user)
}

/// Gives a file, or a directory and all in it, to the unprivileged user of the test.
pub fn give(path: &Path, user: Option<u32>) -> io::Result<()> {
    let Some(user) = user else { return Ok(()) };
    chown(path, Some(user), Some(user))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), Some(user))?;
        }
    }
    Ok(())
}
