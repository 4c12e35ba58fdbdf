//! One machine of the self test: a thread in its own network and mount namespace. Work is sent to
//! it; the processes and sockets that the work makes belong to that machine.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use crate::sys::namespace::{self, Space};
use crate::sys::tun_node;
use crate::sys::veth::Rtnl;
use hopbox::sys::bounded::{self, TEXT_BYTES};

/// Longest time for work that does not wait for anything.
pub const SOON: Duration = Duration::from_secs(5);
const LINK: &str = "uplink";
const PREFIX: u8 = 24;
/// What the C library needs of /etc to load programs; the rest of /etc is ours.
const KEPT: [&str; 3] = ["ld.so.cache", "ld.so.conf", "ld-musl-x86_64.path"];

type Work = Box<dyn FnOnce() + Send>;

/// Ends with the value; its namespaces end with its last process.
pub struct Machine {
    name: &'static str,
    work: Sender<Work>,
}

/// A result that is on its way.
pub struct Pending<T> {
    name: &'static str,
    result: Receiver<Result<T, String>>,
}

impl<T> Pending<T> {
    pub fn wait(self, limit: Duration) -> Result<T, String> {
        match self.result.recv_timeout(limit) {
            Ok(result) => result.map_err(|why| format!("{}: {why}", self.name)),
            Err(_) => Err(format!("{}: no result within {} s", self.name, limit.as_secs())),
        }
    }
}

impl Machine {
    /// A machine without any connection. `etc` are the files of its /etc: name and text.
    pub fn start(name: &'static str, etc: Vec<(&'static str, String)>) -> Result<Machine, String> {
        let (work, jobs) = mpsc::channel::<Work>();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || jobs.into_iter().for_each(|job| job()))
            .map_err(|error| format!("{name}: cannot start a thread: {error}"))?;
        let machine = Machine { name, work };
        machine.run(SOON, move || settle(&etc))?;
        Ok(machine)
    }

    /// Sends work; the machine does one piece after the other.
    pub fn start_work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Pending<T> {
        let (send, result) = mpsc::channel();
        // If the thread is gone the sender is dropped, which the wait reports.
        let _ = self.work.send(Box::new(move || {
            let _ = send.send(work());
        }));
        Pending { name: self.name, result }
    }

    /// Sends work and waits for its result.
    pub fn run<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        self.start_work(work).wait(limit)
    }
}

/// A cable between two machines, with an address at each end.
pub fn join(one: &Machine, at: Ipv4Addr, other: &Machine, there: Ipv4Addr) -> Result<(), String> {
    join_as(one, (LINK, at), other, there, PREFIX)
}

/// The same for a machine that has several cables: its link's name, and bits of the network.
pub fn join_as(
    one: &Machine,
    (link, at): (&'static str, Ipv4Addr),
    other: &Machine,
    there: Ipv4Addr,
    prefix: u8,
) -> Result<(), String> {
    let space = other.run(SOON, || said(namespace::current_space(Space::Net)))?;
    one.run(SOON, move || {
        said(cable(link, &space))?;
        said(address(link, at, prefix))
    })?;
    other.run(SOON, move || said(address(LINK, there, prefix)))
}

fn cable(link: &str, space: &OwnedFd) -> io::Result<()> {
    Rtnl::open()?.add_veth(link, LINK, space.as_fd())
}

fn address(link: &str, ip: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let mut kernel = Rtnl::open()?;
    kernel.add_address(link, ip, prefix)?;
    kernel.set_up(link)
}

/// What every machine of the test shares: private mounts, our own /proc, a scratch directory,
/// and a TUN node where this machine has none.
pub fn prepare_mounts(scratch: &Path) -> Result<(), String> {
    let step = |what: &str, done: io::Result<()>| done.map_err(|error| format!("{what}: {error}"));
    step("make mounts private", namespace::make_private_recursive())?;
    // Refused inside some containers; the old one still shows /proc/self rightly.
    let _ = namespace::mount_proc(Path::new("/proc"));
    step("mount a scratch directory", namespace::mount_tmpfs(scratch, 0o755))?;
    let dev = scratch.join("dev");
    step("make a directory", fs::create_dir(&dev))?;
    step("make /dev/net/tun", tun_node::ensure(&dev))
}

/// Moves the calling thread into namespaces of its own, with its own /run and /etc.
fn settle(etc: &[(&str, String)]) -> Result<(), String> {
    said(namespace::unshare(&[Space::Net, Space::Mount]))?;
    said(namespace::make_private_recursive())?;
    said(Rtnl::open().and_then(|mut kernel| kernel.set_up("lo")))?;
    said(namespace::mount_tmpfs(Path::new("/run"), 0o755))?;
    // What its helper keeps is gone with it.
    for kept in ["/var/lib", "/var/log"].map(Path::new).into_iter().filter(|path| path.is_dir()) {
        said(namespace::mount_tmpfs(kept, 0o755))?;
    }
    // The machine's own /etc/hosts is not even visible from here.
    let kept: Vec<_> = KEPT
        .iter()
        .map(|name| (name, bounded::read(Path::new("/etc").join(name), TEXT_BYTES)))
        .collect();
    said(namespace::mount_tmpfs(Path::new("/etc"), 0o755))?;
    for (name, bytes) in kept {
        if let Ok(bytes) = bytes {
            said(fs::write(Path::new("/etc").join(name), bytes))?;
        }
    }
    said(fs::create_dir("/etc/hopbox"))?;
    for (name, text) in etc {
        said(fs::write(Path::new("/etc").join(name), text))?;
    }
    Ok(())
}

fn said<T>(outcome: io::Result<T>) -> Result<T, String> {
    outcome.map_err(|error| error.to_string())
}

/// Names of the interfaces of the calling thread's machine.
pub fn interfaces() -> Result<Vec<String>, String> {
    let text = said(bounded::text("/proc/thread-self/net/dev"))?;
    let name = |line: &str| line.split_once(':').map(|(name, _)| name.trim().to_owned());
    Ok(text.lines().filter_map(name).collect())
}

/// Whether the calling thread's machine has a route to exactly this address.
pub fn has_route(to: Ipv4Addr) -> Result<bool, String> {
    let text = said(bounded::text("/proc/thread-self/net/route"))?;
    // The kernel prints the address as one number in the machine's byte order.
    let number = format!("{:08X}", u32::from_ne_bytes(to.octets()));
    Ok(text.lines().any(|line| line.split_whitespace().nth(1) == Some(number.as_str())))
}
