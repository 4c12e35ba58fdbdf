//! A Unix socket at which one line is asked and one answered: where it may lie, who is at the other
//! end, and how long that may take. What the lines say is for others to know.
//!
//! It lies in a directory of its user's that nobody else can write, so that nobody else can listen
//! in its place. Whoever asks looks at who listens (SO_PEERCRED) before the first byte, since a
//! directory in /tmp or a link may be somebody else's; whoever is asked looks where the directory
//! may be entered by others than should ask.
//!
//! Bounds: 8 connections a turn, a request of 4096 bytes within 500 ms, as long for the answer to
//! be taken; whoever asks says theirs.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::failure::{Failure, Fault};
use crate::fix;
use crate::sys::line::Lines;
use crate::sys::{cmsg, process};

const PER_TURN: usize = 8;
const REQUEST_BYTES: usize = 4096;
const REQUEST_LIMIT: Duration = Duration::from_millis(500);

/// The listening socket with its file, which goes with this value.
pub struct LineSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Of the file: another may have taken its place, or none. Nobody else gets the number while
    /// this one listens.
    inode: u64,
}

impl LineSocket {
    /// Takes the place of a socket that is there: the caller knows that it is of a process that was
    /// killed, or that ends.
    pub fn bind(path: &Path) -> Result<LineSocket, Failure> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        check_dir(dir)?;
        let bound = || {
            match fs::remove_file(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(path)?;
            fs::set_permissions(path, Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            Ok(LineSocket { listener, path: path.to_owned(), inode: inode(path)? })
        };
        bound().map_err(|error| {
            let what = format!("cannot listen at {}", path.display());
            Failure::new(Fault::Failed, what, error.to_string(), fix!("ls -la {}", dir))
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether whoever looks for it finds it.
    pub fn is_there(&self) -> bool {
        inode(&self.path).is_ok_and(|found| found == self.inode)
    }

    /// Who is there, if somebody is.
    pub fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }

    /// Whoever is there, each with the line that they sent, if they did.
    pub fn asked(&self) -> impl Iterator<Item = (UnixStream, io::Result<String>)> {
        let asked = |stream: &UnixStream| {
            stream.set_write_timeout(Some(REQUEST_LIMIT))?;
            Lines::new(stream, REQUEST_BYTES).next(REQUEST_LIMIT, None)
        };
        let there = (0..PER_TURN).map_while(|_| self.accept().ok());
        there.map(move |stream| {
            let line = asked(&stream);
            (stream, line)
        })
    }
}

impl AsFd for LineSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for LineSocket {
    fn drop(&mut self) {
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<u64> {
    fs::symlink_metadata(path).map(|found| found.ino())
}

fn check_dir(dir: &Path) -> Result<(), Failure> {
    let found = fs::symlink_metadata(dir).map_err(|error| Failure::io("look at", dir, &error))?;
    if found.is_dir() && found.uid() == process::uid() && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    let what = format!("{} cannot be used", dir.display());
    let why = "it must be a directory of this user, which nobody else can write";
    Err(Failure::new(Fault::Usage, what, why, fix!("ls -ld {}", dir)))
}

/// Refuses whoever is at the other end and not of this user. A number that stands for all that a
/// user namespace has none for is no user's.
pub fn check_peer(stream: &UnixStream, user: u32) -> io::Result<()> {
    let uid = cmsg::peer_uid(stream)?;
    match uid == user && !cmsg::is_nobody(uid) {
        true => Ok(()),
        false => Err(stranger(format!("user {uid} listens there, and not user {user}"))),
    }
}

fn stranger(why: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

/// A connection to this user's process at `path`, on which nothing has been sent. An error of the
/// kind `InvalidData` says that it is somebody else's.
pub fn connect(path: &Path, user: u32, limit: Duration) -> io::Result<UnixStream> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
        return Err(stranger(format!("{} is a link", path.display())));
    }
    let stream = cmsg::connect_unix(path, limit)?;
    check_peer(&stream, user)?;
    stream.set_write_timeout(Some(limit))?;
    Ok(stream)
}

/// One line to this user's process at `path`, and the one that it answers, of `most` bytes.
pub fn ask(path: &Path, user: u32, line: &str, most: usize, limit: Duration) -> io::Result<String> {
    let stream = connect(path, user, limit)?;
    put(&stream, line)?;
    Lines::new(&stream, most).next(limit, None)
}

/// Sends a line. Waits as long as the stream's own limit says while the other side takes nothing.
pub fn put(mut stream: &UnixStream, line: &str) -> io::Result<()> {
    stream.write_all(format!("{line}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::thread;
    use std::time::Instant;

    const SOON: Duration = Duration::from_secs(10);

    fn scratch(what: &str) -> PathBuf {
        let dir = format!("hopbox-line-{what}-{}", std::process::id());
        let dir = std::env::temp_dir().join(dir);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
        dir
    }

    fn one(socket: &LineSocket) -> (UnixStream, io::Result<String>) {
        let end = Instant::now() + SOON;
        loop {
            if let Some(asked) = socket.asked().next() {
                return asked;
            }
            assert!(Instant::now() < end, "nobody asks");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_line_is_answered_with_one_and_a_request_has_its_bounds() {
        let dir = scratch("asked");
        let path = dir.join("x.sock");
        let socket = LineSocket::bind(&path).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let at = path.clone();
        let asks = thread::spawn(move || ask(&at, process::uid(), "how?", 4, SOON));
        let (stream, line) = one(&socket);
        assert_eq!(line.unwrap(), "how?");
        put(&stream, "well").unwrap();
        assert_eq!(asks.join().unwrap().unwrap(), "well");
        // Too long, no text, cut off, and one that drips.
        for bad in [&[b'x'; REQUEST_BYTES + 1][..], b"\xff\n", b"half"] {
            let mut other = UnixStream::connect(&path).unwrap();
            other.write_all(bad).unwrap();
            drop(other);
            assert!(one(&socket).1.is_err());
        }
        let mut slow = UnixStream::connect(&path).unwrap();
        let drip = thread::spawn(move || {
            while slow.write_all(b" ").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        });
        let began = Instant::now();
        assert!(one(&socket).1.is_err());
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        drip.join().unwrap();
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn it_takes_the_place_of_a_dead_one_and_leaves_another_ones_file() {
        let dir = scratch("place");
        let path = dir.join("x.sock");
        drop(UnixListener::bind(&path).unwrap());
        let first = LineSocket::bind(&path).unwrap();
        let second = LineSocket::bind(&path).unwrap();
        assert!(!first.is_there() && second.is_there());
        drop(first);
        assert!(second.is_there(), "it is another's by now");
        drop(second);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn nobody_listens_where_others_write_or_asks_whoever_is_there() {
        let dir = scratch("strangers");
        let path = dir.join("x.sock");
        for mode in [0o777, 0o720, 0o702] {
            fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
            assert_eq!(LineSocket::bind(&path).err().unwrap().fault, Fault::Usage, "{mode:o}");
        }
        fs::set_permissions(&dir, Permissions::from_mode(0o700)).unwrap();
        symlink(&dir, dir.join("link")).unwrap();
        assert!(LineSocket::bind(&dir.join("link/x.sock")).is_err());
        let _socket = LineSocket::bind(&path).unwrap();
        symlink(&path, dir.join("y.sock")).unwrap();
        let ours = process::uid();
        let kind = |path: &Path, user| connect(path, user, SOON).err().map(|error| error.kind());
        assert_eq!(kind(&path, ours), None);
        assert_eq!(kind(&path, ours + 1), Some(ErrorKind::InvalidData));
        assert_eq!(kind(&dir.join("y.sock"), ours), Some(ErrorKind::InvalidData));
        assert_eq!(kind(&dir.join("z.sock"), ours), Some(ErrorKind::NotFound));
        fs::remove_dir_all(dir).unwrap();
    }
}
