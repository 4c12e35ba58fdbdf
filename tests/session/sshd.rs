//! A real sshd on the server and the login's own ssh(1) on the laptop, for what users had before.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::ssh::target::Target;
use hopbox_selftest::files::{VPS_WAN, give};
use hopbox_selftest::machine::{Machine, SOON};
use hopbox_selftest::programs;

use super::world::*;

/// As ssh(1) knows the server.
pub const ALIAS: &str = "by-ssh";

/// Ended with this value.
pub struct Sshd(Option<Child>);

impl Sshd {
    pub fn pid(&self) -> u32 {
        self.0.as_ref().expect("it runs").id()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        end(self.0.take());
    }
}

/// Whom the C library takes the login and the server's unprivileged user for.
fn know(machine: &Machine, home: &Path) {
    let uid = USER.unwrap();
    let text = format!(
        "root:x:0:0::/root:/bin/sh\ndev:*:{uid}:{uid}::{}:/bin/sh\n\
         sshd:*:4244:4244::/run/sshd:/usr/sbin/nologin\n",
        home.display()
    );
    let write = move || {
        fs::write("/etc/passwd", text)?;
        fs::create_dir_all("/run/sshd")
    };
    machine.run(SOON, move || write().map_err(|error| error.to_string())).unwrap();
}

/// `path`: where the login's programs are on the server. It answers when this returns.
pub fn start(world: &World, path: &str) -> Sshd {
    let (keys, home) = (world.home.join("sshd"), world.home.join("laptop"));
    for machine in [&world.laptop, &world.vps[0].machine] {
        know(machine, &home);
    }
    let (keys, home) = (keys.display(), home.display());
    world.sh(&format!(
        "mkdir -p {keys} {home}/.ssh && ssh-keygen -q -t ed25519 -N '' -f {keys}/host && \
         ssh-keygen -q -t ed25519 -N '' -f {home}/.ssh/id && \
         cp {home}/.ssh/id.pub {home}/.ssh/authorized_keys && \
         printf '%s\\n' 'Port 22' 'HostKey {keys}/host' 'PidFile none' 'StrictModes no' \
         'UsePAM no' 'SetEnv PATH={path}' > {keys}/config && \
         printf '%s\\n' 'Host {ALIAS}' 'HostName {VPS_WAN}' 'User dev' \
         'IdentityFile {home}/.ssh/id' 'StrictHostKeyChecking no' 'LogLevel ERROR' \
         'UserKnownHostsFile /dev/null' 'ExitOnForwardFailure yes' > {home}/.ssh/config"
    ));
    let home = world.home.join("laptop");
    give(&home.join(".ssh"), USER).unwrap();
    fs::set_permissions(home.join(".ssh"), fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = programs::command(Path::new("/usr/sbin/sshd"), None);
    command.args(["-D", "-e", "-f"]).arg(world.home.join("sshd/config"));
    let log = world.home.join("sshd/log");
    let start = move || programs::start(command, &log).map_err(|error| error.to_string());
    let sshd = Sshd(Some(world.vps[0].machine.run(SOON, start).unwrap()));
    let began = Instant::now();
    while world.laptop.run(SOON, || Ok(TcpStream::connect((VPS_WAN, 22)).is_err())).unwrap() {
        let log = || fs::read_to_string(world.home.join("sshd/log")).unwrap_or_default();
        assert!(began.elapsed() < LIMIT, "no sshd: {}", log());
        thread::sleep(Duration::from_millis(20));
    }
    sshd
}

/// One more on the server, which leads on to the first: `by-ssh` is found from there alone.
pub fn jump_host(world: &World) -> Sshd {
    let (keys, home) = (world.home.join("sshd"), world.home.join("laptop"));
    let (keys, home) = (keys.display(), home.display());
    world.sh(&format!(
        "sed 's/^Port 22$/Port 2222/' {keys}/config >{keys}/jump && \
         sed -i 's/^HostName .*/HostName 127.0.0.1\\nProxyJump jump/' {home}/.ssh/config && \
         printf '%s\\n' 'Host jump' 'HostName {VPS_WAN}' 'Port 2222' 'User dev' \
         'IdentityFile {home}/.ssh/id' 'StrictHostKeyChecking no' 'LogLevel ERROR' \
         'UserKnownHostsFile /dev/null' >>{home}/.ssh/config"
    ));
    let mut command = programs::command(Path::new("/usr/sbin/sshd"), None);
    command.args(["-D", "-e", "-f"]).arg(world.home.join("sshd/jump"));
    let log = world.home.join("sshd/jump-log");
    let start = move || programs::start(command, &log).map_err(|error| error.to_string());
    Sshd(Some(world.vps[0].machine.run(SOON, start).unwrap()))
}

/// Where SSH finds the server beside the tunnel, with its key pinned, after [`start`].
pub fn target(world: &World) -> Target {
    let (keys, known) = (world.home.join("sshd/host.pub"), world.home.join("known_hosts"));
    let key = fs::read_to_string(keys).unwrap();
    fs::write(&known, format!("hopbox-mybox {key}")).unwrap();
    Target {
        address: VPS_WAN.to_string(),
        user: Some("dev".to_owned()),
        identity: Some(world.home.join("laptop/.ssh/id")),
        port: None,
        pinned: Some(("hopbox-mybox".to_owned(), known)),
    }
}

/// The agent's program becomes what a login finds on the server, as after a setup.
pub fn install_agent(world: &World) {
    let agent = world.programs.agent.display().to_string();
    let machine = &world.vps[0].machine;
    sh(
        machine,
        &format!(
            "mount -t tmpfs none /usr/libexec && mkdir /usr/libexec/hopbox && \
             cp {agent} /usr/libexec/hopbox/hop-agent"
        ),
    );
}

/// A program of the login's on the laptop, which finds its ssh(1) set up.
pub fn login(world: &World, program: &str, words: &[&str]) -> Child {
    let mut command = world.command(Path::new(program), words);
    command.stderr(Stdio::inherit()).stdout(Stdio::null());
    let start = move || command.spawn().map_err(|error| error.to_string());
    world.laptop.run(SOON, start).unwrap()
}
