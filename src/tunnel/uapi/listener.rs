//! The Unix socket at which wg(8) finds an interface: its file, its clients, their time.
//!
//! One poll serves all clients; requests are answered in the order in which they are complete. A
//! client has 5 s for each request and for taking its answer.

use super::text::{REQUEST_MAX, put};
use crate::sys::code::{EINVAL, EPROTO};
use crate::sys::inotify::FileWatch;
use crate::sys::poll::Interest;
use crate::tunnel::handle::Tunnel;
use crate::tunnel::stats::Status;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use zeroize::{Zeroize, Zeroizing};

/// Where wg(8) looks for sockets of userspace implementations.
pub const DIRECTORY: &str = "/var/run/wireguard";
/// Clients at a time; more wait in the kernel's queue.
const CLIENTS: usize = 16;
/// A client that has not sent a request, or not taken its answer, for so long is cut off, also
/// where it does so byte by byte.
const IDLE: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 64 * 1024;

/// The listening socket with its file, which is removed when this is dropped.
pub struct Listener {
    listener: UnixListener,
    watch: FileWatch,
    path: PathBuf,
    clients: Vec<Client>,
}

struct Client {
    stream: UnixStream,
    /// A request that is not complete yet.
    request: Zeroizing<Vec<u8>>,
    /// How far `request` was searched for its end.
    searched: usize,
    /// An answer that is not taken yet, and how much of it is.
    answer: Zeroizing<String>,
    taken: usize,
    until: Instant,
}

impl Listener {
    /// Open `<directory>/<interface>.sock`. A file that a dead process left is replaced;
    /// `AddrInUse` if somebody listens there. The caller sees to the file mode mask.
    pub fn open(directory: &Path, interface: &str) -> io::Result<Listener> {
        let mut maker = std::fs::DirBuilder::new();
        maker.recursive(true).mode(0o700).create(directory)?;
        let path = directory.join(format!("{interface}.sock"));
        let listener = listen(&path)?;
        listener.set_nonblocking(true)?;
        let watch = FileWatch::new(&path)?;
        Ok(Listener { listener, watch, path, clients: Vec::new() })
    }

    /// What to wait for: the file's watch, the listener, each client. In this order, the states
    /// go to [`Listener::serve`].
    pub fn interests(&self) -> Vec<(BorrowedFd<'_>, Interest)> {
        let full = self.clients.len() >= CLIENTS;
        let listen = if full { Interest::NONE } else { Interest::READ };
        let mut fds = vec![(self.watch.as_fd(), Interest::READ), (self.listener.as_fd(), listen)];
        fds.extend(self.clients.iter().map(|c| {
            let what = if c.answer.is_empty() { Interest::READ } else { Interest::WRITE };
            (c.stream.as_fd(), what)
        }));
        fds
    }

    /// How long poll may sleep before a client's time is over.
    pub fn patience(&self) -> Option<Duration> {
        let soonest = self.clients.iter().map(|c| c.until).min()?;
        Some(soonest.saturating_duration_since(Instant::now()))
    }

    /// Serve what is ready; false when the socket's file was deleted or replaced.
    pub fn serve(&mut self, states: &[Interest], tunnel: &Tunnel) -> bool {
        let mut states = states.iter().copied();
        let watch = states.next().unwrap_or(Interest::NONE);
        let listener = states.next().unwrap_or(Interest::NONE);
        let now = Instant::now();
        self.clients.retain_mut(|client| {
            let ready = states.next().is_some_and(Interest::any);
            (!ready || client.go_on(tunnel).is_ok()) && client.until > now
        });
        if listener.any() {
            self.admit();
        }
        !(watch.any() && self.watch.gone())
    }

    fn admit(&mut self) {
        while self.clients.len() < CLIENTS {
            let Ok((stream, _)) = self.listener.accept() else { return };
            if stream.set_nonblocking(true).is_ok() {
                self.clients.push(Client::new(stream));
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Not somebody else's file that took the place of ours.
        if !self.watch.replaced() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Client {
    fn new(stream: UnixStream) -> Client {
        Client {
            stream,
            request: Zeroizing::default(),
            searched: 0,
            answer: Zeroizing::default(),
            taken: 0,
            until: Instant::now() + IDLE,
        }
    }

    /// Read or write once; an error ends the client.
    fn go_on(&mut self, tunnel: &Tunnel) -> io::Result<()> {
        if self.answer.is_empty() {
            self.read()?;
            self.answer_next(tunnel);
        }
        if !self.answer.is_empty() {
            self.write(tunnel)?;
        }
        Ok(())
    }

    fn read(&mut self) -> io::Result<()> {
        let mut chunk = Zeroizing::new([0u8; READ_BYTES]);
        match self.stream.read(&mut chunk[..]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                if self.request.len().saturating_add(n) > REQUEST_MAX {
                    return Err(ErrorKind::OutOfMemory.into());
                }
                append(&mut self.request, chunk.get(..n).unwrap_or_default());
                Ok(())
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Answer the first complete request, if there is one.
    fn answer_next(&mut self, tunnel: &Tunnel) {
        let Some(end) = self.end_of_request() else { return };
        let rest = Zeroizing::new(self.request.get(end..).unwrap_or_default().to_vec());
        let request = std::mem::replace(&mut self.request, rest);
        self.searched = 0;
        self.answer = match std::str::from_utf8(request.get(..end).unwrap_or_default()) {
            Ok(text) => answer(text, tunnel),
            Err(_) => with_errno(Zeroizing::default(), EPROTO),
        };
        self.taken = 0;
        self.until = Instant::now() + IDLE;
    }

    /// A request ends with an empty line. Searches each byte once.
    fn end_of_request(&mut self) -> Option<usize> {
        let from = self.searched;
        self.searched = self.request.len().saturating_sub(1);
        let found = self.request.get(from..)?.windows(2).position(|w| w == b"\n\n")?;
        Some(from + found + 2)
    }

    fn write(&mut self, tunnel: &Tunnel) -> io::Result<()> {
        while !self.answer.is_empty() {
            let left = self.answer.as_bytes().get(self.taken..).unwrap_or_default();
            match self.stream.write(left) {
                Ok(n) => self.taken += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            }
            if self.taken >= self.answer.len() {
                self.answer = Zeroizing::default();
                // For the next request.
                self.until = Instant::now() + IDLE;
                // The next request may have come together with this one.
                self.answer_next(tunnel);
            }
        }
        Ok(())
    }
}

fn answer(request: &str, tunnel: &Tunnel) -> Zeroizing<String> {
    if request == "get=1\n\n" {
        return match tunnel.get() {
            Ok(text) => with_errno(text, 0),
            Err(e) => with_errno(Zeroizing::default(), crate::sys::errno(&e)),
        };
    }
    // Not part of the protocol that wg(8) speaks: a look into the engine, for its developers.
    if request == "drops=1\n\n" {
        return match tunnel.status() {
            Ok(status) => with_errno(drops(&status), 0),
            Err(e) => with_errno(Zeroizing::default(), crate::sys::errno(&e)),
        };
    }
    let code = match request.strip_prefix("set=1\n") {
        Some(body) => tunnel.set(body).err().unwrap_or(0),
        None => EINVAL,
    };
    with_errno(Zeroizing::default(), code)
}

/// One `reason=count` line for every reason to drop a packet.
fn drops(status: &Status) -> Zeroizing<String> {
    let mut text = Zeroizing::default();
    for (reason, count) in &status.drops {
        put(&mut text, reason, count);
    }
    text
}

/// wg(8) takes the number for a negated one, as the kernel returns it and wireguard-go sends it.
fn with_errno(mut text: Zeroizing<String>, code: i32) -> Zeroizing<String> {
    if text.capacity() - text.len() < 32 {
        let mut larger = Zeroizing::new(String::with_capacity(text.len() + 32));
        larger.push_str(&text);
        text = larger;
    }
    put(&mut text, "errno", -code);
    text.push('\n');
    text
}

/// Grow without leaving a copy of the old content behind.
fn append(buffer: &mut Zeroizing<Vec<u8>>, bytes: &[u8]) {
    if buffer.capacity() - buffer.len() < bytes.len() {
        let needed = buffer.len() + bytes.len();
        let size = needed.saturating_mul(2).min(REQUEST_MAX.max(needed));
        let mut larger = Vec::with_capacity(size);
        larger.extend_from_slice(buffer);
        buffer.zeroize();
        **buffer = larger;
    }
    buffer.extend_from_slice(bytes);
}

/// Listens before the name is there. wg(8) deletes every socket that refuses it, which would be
/// ours between `bind` and `listen`, and a dead process's while we look at it.
fn listen(path: &Path) -> io::Result<UnixListener> {
    match UnixStream::connect(path) {
        Err(e) if matches!(e.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {}
        Err(e) if e.kind() != ErrorKind::WouldBlock => return Err(e),
        _ => return Err(ErrorKind::AddrInUse.into()),
    }
    // Does not end in .sock, so nobody takes it for an interface.
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let listener = UnixListener::bind(&fresh)?;
    let named = std::fs::rename(&fresh, path);
    if named.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    named.map(|()| listener)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

    #[test]
    fn the_socket_of_a_dead_process_is_replaced_in_one_step() {
        let directory = std::env::temp_dir().join(format!("hop-listener-{}", std::process::id()));
        std::fs::create_dir(&directory).expect("a directory");
        // Closed, and yet its name stays.
        drop(UnixListener::bind(directory.join("wg0.sock")).expect("a stale socket"));
        let watch = Inotify::init(InitFlags::IN_NONBLOCK).expect("inotify");
        let what = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_TO;
        watch.add_watch(&directory, what).expect("a watch");
        let listener = Listener::open(&directory, "wg0").expect("opens");
        let events = watch.read_events().expect("events");
        let seen = |e: &&nix::sys::inotify::InotifyEvent| {
            e.name.as_ref().is_some_and(|name| name == "wg0.sock")
        };
        let seen: Vec<_> = events.iter().filter(seen).map(|e| e.mask).collect();
        // Neither missing for a moment, nor there before somebody listens.
        assert_eq!(seen, [AddWatchFlags::IN_MOVED_TO]);
        drop(listener);
        std::fs::remove_dir(&directory).expect("no file stays");
    }

    #[test]
    fn a_socket_with_somebody_behind_it_is_left_alone() {
        let directory =
            std::env::temp_dir().join(format!("hop-listener-taken-{}", std::process::id()));
        let first = Listener::open(&directory, "wg0").expect("opens");
        let second = Listener::open(&directory, "wg0").err().map(|e| e.kind());
        assert_eq!(second, Some(ErrorKind::AddrInUse));
        assert!(UnixStream::connect(directory.join("wg0.sock")).is_ok());
        drop(first);
        let left = std::fs::read_dir(&directory).expect("a directory").count();
        assert_eq!(left, 0, "no file stays");
        let _ = std::fs::remove_dir_all(&directory);
    }
}
