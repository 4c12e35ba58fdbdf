//! `/dev/net/tun` for a mount namespace of our own, on machines that have no such node.

use super::namespace;
use nix::mount::{MsFlags, mount};
use std::fs::{self, File};
use std::io;
use std::path::Path;

const NODE: &str = "/dev/net/tun";
/// What programs expect in /dev besides.
const USUAL: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Make the node appear, without a trace outside this mount namespace: the caller owns it and has
/// made it private. `scratch` is an empty directory of the caller. Nothing happens where the node
/// exists.
pub fn ensure(scratch: &Path) -> io::Result<()> {
    if Path::new(NODE).exists() {
        return Ok(());
    }
    if Path::new("/dev/net").is_dir() {
        mount_device_dir(Path::new("/dev/net"))?;
        return make_node(Path::new(NODE));
    }
    // A directory made in /dev would stay there: put a small /dev of ours in its place.
    mount_device_dir(scratch)?;
    for name in USUAL {
        let (from, to) = (Path::new("/dev").join(name), scratch.join(name));
        if from.exists() {
            File::create(&to)?;
            namespace::mount_bind(&from, &to)?;
        }
    }
    fs::create_dir(scratch.join("net"))?;
    make_node(&scratch.join("net/tun"))?;
    namespace::mount_bind(scratch, Path::new("/dev"))
}

fn make_node(path: &Path) -> io::Result<()> {
    namespace::make_char_device(path, 0o666, 10, 200)
}

/// An empty directory in memory in which device nodes work.
fn mount_device_dir(path: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    Ok(mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some("mode=755"))?)
}
