//! Small datagrams, up to 64 a system call, so that the load costs less than what it measures.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const BATCH: usize = 64;
const LONGEST: usize = 2048;
/// Of the socket buffers, so that the counter is not what loses.
static BUFFER: libc::c_int = 8 << 20;

/// Buffers and the lists that describe them to the kernel, which point into each other.
struct Batch {
    _room: Vec<u8>,
    _parts: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
}

impl Batch {
    fn new(bytes: usize) -> Batch {
        let mut room = vec![0x5a; BATCH * LONGEST];
        let mut parts: Vec<_> = room
            .chunks_mut(LONGEST)
            .map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: bytes })
            .collect();
        let messages = parts
            .iter_mut()
            .map(|part| {
                // SAFETY: zeros are a message without address, parts and control data.
                let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                message.msg_hdr.msg_iov = part;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        Batch { _room: room, _parts: parts, messages }
    }
}

fn enlarge(socket: &UdpSocket, option: libc::c_int) {
    // SAFETY: an integer, and its size. As root; what it does not get, it does without.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const BUFFER).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        );
    }
}

pub fn count(port: u16, time: Duration) -> io::Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", port))?;
    enlarge(&socket, libc::SO_RCVBUFFORCE);
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    let mut batch = Batch::new(LONGEST);
    let (end, mut packets, mut bytes) = (Instant::now() + time, 0u64, 0u64);
    while Instant::now() < end {
        // SAFETY: the messages point into the batch's own buffers, which live as long as it.
        let n = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                batch.messages.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_WAITFORONE,
                std::ptr::null_mut(),
            )
        };
        if let Ok(n) = usize::try_from(n) {
            packets += n as u64;
            bytes += batch.messages[..n].iter().map(|m| u64::from(m.msg_len)).sum::<u64>();
        }
    }
    println!("{{\"packets\":{packets},\"bytes\":{bytes}}}");
    Ok(())
}

pub fn send(to: SocketAddr, rate: f64, bytes: usize, time: Duration) -> io::Result<()> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.connect(to)?;
    enlarge(&socket, libc::SO_SNDBUFFORCE);
    let mut batch = Batch::new(bytes.min(LONGEST));
    let (began, mut packets) = (Instant::now(), 0u64);
    loop {
        let elapsed = began.elapsed();
        if elapsed >= time {
            break;
        }
        let due = match rate > 0.0 {
            true => ((rate * elapsed.as_secs_f64()) as u64).saturating_sub(packets),
            false => BATCH as u64,
        };
        if due == 0 {
            std::thread::sleep(Duration::from_micros(50));
            continue;
        }
        let due = due.min(BATCH as u64) as u32;
        // SAFETY: as above.
        let n = unsafe { libc::sendmmsg(socket.as_raw_fd(), batch.messages.as_mut_ptr(), due, 0) };
        packets += u64::try_from(n).unwrap_or(0);
    }
    println!("{{\"packets\":{packets}}}");
    Ok(())
}
