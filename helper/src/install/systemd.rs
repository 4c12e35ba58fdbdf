//! Three words to systemd, over its private socket, in D-Bus by hand: the helper runs no program,
//! not even systemctl. Root only. Must not know: what is installed.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const SOCKET: &str = "/run/systemd/private";
const TIMEOUT: Duration = Duration::from_secs(20);
/// Most messages that are read before the reply to ours: signals that nobody asked for.
const MESSAGES_MAX: usize = 1000;
const MESSAGE_MAX: usize = 1 << 20;
const SERIAL: u32 = 1;
const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;

/// Calls a method of the manager whose arguments are all strings.
pub fn call(method: &str, arguments: &[&str]) -> io::Result<()> {
    let mut stream = UnixStream::connect(SOCKET)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    // uid 0, in hexadecimal digits of its decimal ones. BEGIN goes along: what follows it in the
    // same read of systemd is left lying until more comes.
    stream.write_all(b"\0AUTH EXTERNAL 30\r\nBEGIN\r\n")?;
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") && line.len() < 256 {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.extend(byte);
    }
    if !line.starts_with(b"OK ") {
        return Err(io::Error::other("systemd does not know us"));
    }
    stream.write_all(&message(method, arguments))?;
    for _ in 0..MESSAGES_MAX {
        let (kind, serial, text) = receive(&mut stream)?;
        match kind {
            RETURN if serial == Some(SERIAL) => return Ok(()),
            ERROR if serial == Some(SERIAL) => {
                return Err(io::Error::other(format!("{method}: {text}")));
            }
            _ => {}
        }
    }
    Err(io::Error::other("systemd does not answer"))
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn string(bytes: &mut Vec<u8>, text: &str) {
    pad(bytes, 4);
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

fn message(method: &str, arguments: &[&str]) -> Vec<u8> {
    let mut body = Vec::new();
    arguments.iter().for_each(|text| string(&mut body, text));
    let mut fields = Vec::new();
    let texts = [
        (1, b'o', "/org/freedesktop/systemd1"),
        (2, b's', "org.freedesktop.systemd1.Manager"),
        (3, b's', method),
        (6, b's', "org.freedesktop.systemd1"),
    ];
    for (code, kind, text) in texts {
        pad(&mut fields, 8);
        fields.extend([code, 1, kind, 0]);
        string(&mut fields, text);
    }
    if !arguments.is_empty() {
        pad(&mut fields, 8);
        fields.extend([8, 1, b'g', 0, arguments.len() as u8]);
        fields.extend(vec![b's'; arguments.len()]);
        fields.push(0);
    }
    let mut bytes = vec![b'l', CALL, 0, 1];
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(SERIAL.to_le_bytes());
    bytes.extend((fields.len() as u32).to_le_bytes());
    bytes.extend(fields);
    pad(&mut bytes, 8);
    bytes.extend(body);
    bytes
}

/// One message: its type, the serial it replies to, and its text where it is an error.
fn receive(stream: &mut UnixStream) -> io::Result<(u8, Option<u32>, String)> {
    let mut head = [0; 16];
    stream.read_exact(&mut head)?;
    let [order, kind, ..] = head;
    let word = |bytes: &[u8], at: usize| {
        bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|b| u32::from_le_bytes(*b))
    };
    let (body, fields) = (word(&head, 4).unwrap_or(0), word(&head, 12).unwrap_or(0));
    let (body, fields) = (body as usize, (fields as usize).next_multiple_of(8));
    if order != b'l' || body > MESSAGE_MAX || fields > MESSAGE_MAX {
        return Err(io::Error::other("systemd says something that is no message"));
    }
    let mut rest = vec![0; fields + body];
    stream.read_exact(&mut rest)?;
    // The field REPLY_SERIAL is a struct at a multiple of eight: 5, signature "u", the number.
    let reply = (0..fields).step_by(8).find(|at| rest.get(*at..at + 4) == Some(&[5, 1, b'u', 0]));
    let serial = reply.and_then(|at| word(&rest, at + 4));
    let text = rest.get(fields + 4..).unwrap_or_default();
    Ok((kind, serial, String::from_utf8_lossy(text).trim_end_matches('\0').to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_the_specification_has_it() {
        let bytes = message("StartUnit", &["a.socket", "replace"]);
        assert_eq!(bytes[..4], [b'l', 1, 0, 1]);
        // Two strings: 4 + 8 + 1, padded to 16, and 4 + 7 + 1.
        assert_eq!(bytes[4..8], 28_u32.to_le_bytes());
        let fields = u32::from_le_bytes(*bytes[12..].first_chunk().unwrap()) as usize;
        assert_eq!(bytes.len(), (16 + fields).next_multiple_of(8) + 28);
        assert!(bytes.windows(9).any(|part| part == b"StartUnit"));
        assert!(bytes.windows(4).any(|part| part == b"\x02ss\0"));
    }

    #[test]
    fn replies_are_told_from_other_messages() {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        let mut reply = vec![b'l', RETURN, 0, 1, 0, 0, 0, 0, 9, 0, 0, 0, 8, 0, 0, 0];
        reply.extend([5, 1, b'u', 0, 1, 0, 0, 0]);
        theirs.write_all(&reply).unwrap();
        assert_eq!(receive(&mut ours).unwrap(), (RETURN, Some(1), String::new()));
        theirs.write_all(&[b'B'; 16]).unwrap();
        assert!(receive(&mut ours).is_err());
        drop(theirs);
        assert!(receive(&mut ours).is_err());
    }
}
