//! What single texts of a manifest may be: names, ports, durations, sizes, paths. Each gives the
//! value, or why it is none and what to write.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::manifest::{Port, Probe};
use super::wrong::{Refusal, quoted};
use crate::base::field;

/// Longest path, image, word or one-line text.
pub const LINE_BYTES: usize = 4096;
/// Longest command for a shell.
pub const SCRIPT_BYTES: usize = 64 * 1024;
/// The agent's own.
pub const API_PORT: u16 = 4200;

const MEMORY_BYTES: RangeInclusive<u64> = 6 << 20..=64 << 40;
/// As hop-helper-server has them.
const TMPFS_BYTES: RangeInclusive<u64> = 64 << 10..=64 << 30;
const MOUNT_BYTES: usize = 200;
const MOUNT_STEPS: usize = 16;
const CPU_PERCENT: RangeInclusive<u64> = 1..=102_400;
const DURATION_MS: RangeInclusive<u64> = 100..=86_400_000;

type Checked<T> = Result<T, Refusal>;

fn refuse<T>(why: impl Into<String>, fix: impl Into<String>) -> Checked<T> {
    Err(Refusal::new(why, fix))
}

/// A workspace, which is part of the names of units and containers, and a host.
pub fn name(text: &str) -> Checked<()> {
    let told = |why: String| Refusal::new(why.replace("a host name ", ""), "write it as my-app");
    field::check_name(text).map_err(told)
}

pub fn host(text: &str) -> Checked<()> {
    field::check_name(text)
        .map_err(|why| Refusal::new(why, "write the name of a host that is set up"))
}

/// A service: part of the names of units and containers, too.
pub fn service(text: &str) -> Checked<()> {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let inner = |byte: u8| edge(byte) || byte == b'-' || byte == b'_';
    let bytes = text.as_bytes();
    let fits = (1..=63).contains(&bytes.len()) && bytes.iter().all(|&byte| inner(byte));
    if fits && bytes.first().is_some_and(|&b| edge(b)) && bytes.last().is_some_and(|&b| edge(b)) {
        return Ok(());
    }
    let why = format!("{} is no name of a service", quoted(text));
    refuse(why, "write 1 to 63 of a-z, 0-9, - and _, with a letter or digit at both ends")
}

pub fn script(text: &str) -> Checked<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if text.len() <= 63 && text.bytes().all(plain) && starts {
        return Ok(());
    }
    let why = format!("{} is no name of a script", quoted(text));
    refuse(why, "write 1 to 63 letters, digits, -, _, . and :, with a letter or digit first")
}

pub fn env_key(text: &str) -> Checked<()> {
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    let plain = |byte: u8| first(byte) || byte.is_ascii_digit() || byte == b'.' || byte == b'-';
    if text.len() <= 255 && text.bytes().all(plain) && text.bytes().next().is_some_and(first) {
        return Ok(());
    }
    let why = format!("{} is no name of a variable", quoted(text));
    refuse(why, "write letters, digits, _, . and -, with a letter or _ first")
}

/// The text is not repeated: it may be a secret.
pub fn env_value(text: &str) -> Checked<String> {
    if text.len() > super::env::VALUE_BYTES {
        return refuse(format!("is longer than {} bytes", super::env::VALUE_BYTES), "use a file");
    }
    if text.contains('\0') {
        return refuse("holds a zero byte, which no variable can", "use a file");
    }
    Ok(text.to_owned())
}

/// Something that is one line and not empty.
pub fn line(text: &str) -> Checked<String> {
    if text.trim().is_empty() {
        return refuse("is empty", "write it, or remove the key");
    }
    if text.len() > LINE_BYTES || text.contains(char::is_control) {
        return refuse(format!("must be one line of at most {LINE_BYTES} bytes"), "shorten it");
    }
    Ok(text.to_owned())
}

/// For a shell.
pub fn shell(text: &str) -> Checked<String> {
    if text.trim().is_empty() {
        return refuse("is empty", "write a command, or remove the key");
    }
    if text.len() > SCRIPT_BYTES || text.contains('\0') {
        let why = format!("must be at most {SCRIPT_BYTES} bytes, none of them zero");
        return refuse(why, "put it into a file of the project, and run that");
    }
    Ok(text.to_owned())
}

/// One word of a command.
pub fn word(text: &str) -> Checked<String> {
    if text.len() > SCRIPT_BYTES || text.contains('\0') {
        return refuse(format!("must be at most {SCRIPT_BYTES} bytes, none of them zero"), "");
    }
    Ok(text.to_owned())
}

/// `5432` or `8080:80`.
pub fn port(text: &str) -> Checked<Port> {
    let form = "write \"8080:80\", or \"80\" where both are the same";
    let plain = text.strip_suffix("/tcp").unwrap_or(text);
    if plain.contains('/') {
        return refuse(format!("{}: only TCP ports are published", quoted(text)), form);
    }
    let address = plain.contains('[') || plain.matches('.').count() == 3;
    if plain.matches(':').count() > 1 || address {
        let why = format!("{}: a port is published on the tunnel's address alone", quoted(text));
        return refuse(why, format!("{form}; public: true opens it to the internet"));
    }
    if plain.trim_start_matches('-').contains('-') {
        return refuse(format!("{}: a range is not read", quoted(text)), "list each port");
    }
    let (published, target) = plain.split_once(':').unwrap_or((plain, plain));
    Ok(Port { published: port_number(published)?, target: port_number(target)? })
}

pub fn port_number(text: &str) -> Checked<u16> {
    let digits = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits => Ok(port),
        _ => {
            let why = format!("{} is no port", quoted(text));
            refuse(why, "write a whole number from 1 to 65535")
        }
    }
}

/// `app.example.org`: what the helper of the server takes for its nginx.
pub fn domain(text: &str) -> Checked<String> {
    const LABEL: std::ops::RangeInclusive<usize> = 1..=63;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let label = |label: &str| {
        let edge = label.starts_with('-') || label.ends_with('-');
        LABEL.contains(&label.len()) && label.bytes().all(plain) && !edge
    };
    let is_number = |label: &str| !label.bytes().any(|byte| byte.is_ascii_lowercase());
    if text.len() <= 253
        && text.split('.').all(label)
        && text.rsplit_once('.').is_some_and(|(_, last)| !is_number(last))
    {
        return Ok(text.to_owned());
    }
    let fix = "write it as app.example.org: lower case, no *, no port, other letters as xn--…";
    refuse(format!("{} is no name of a site", quoted(text)), fix)
}

/// `500ms`, `2s`, `1m30s`, `1.5h`.
pub fn duration(text: &str) -> Checked<Duration> {
    let wrong = || {
        let why = format!("{} is no duration from 100ms to 24h", quoted(text));
        Refusal::new(why, "write it as 500ms, 2s or 1m30s")
    };
    let (mut rest, mut total, mut smallest) = (text, 0_u64, u64::MAX);
    while !rest.is_empty() {
        let (number, after) = split_number(rest);
        // The longer unit first: `ms` begins with `m`.
        let units = [("ms", 1_u64), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
        let unit = units.iter().find_map(|(unit, ms)| Some((*ms, after.strip_prefix(unit)?)));
        let (ms, after) = unit.ok_or_else(wrong)?;
        let part = scaled(number, ms).ok_or_else(wrong)?;
        if ms >= smallest {
            return Err(wrong());
        }
        (rest, smallest) = (after, ms);
        total = total.checked_add(part).ok_or_else(wrong)?;
    }
    match DURATION_MS.contains(&total) {
        true => Ok(Duration::from_millis(total)),
        false => Err(wrong()),
    }
}

/// `512M`, `1.5G`, `512MiB`: powers of 1024, as docker(1) and systemd(1) read them.
pub fn memory(text: &str) -> Checked<u64> {
    size(text, MEMORY_BYTES, "6M to 64T")
}

/// Of a directory in memory.
pub fn tmpfs(text: &str) -> Checked<u64> {
    size(text, TMPFS_BYTES, "64K to 64G")
}

fn size(text: &str, within: RangeInclusive<u64>, from_to: &str) -> Checked<u64> {
    let wrong = || {
        let why = format!("{} is no size from {from_to}", quoted(text));
        Refusal::new(why, "write it as 512M or 1.5G (of 1024)")
    };
    let (number, unit) = split_number(text);
    let unit = match unit.to_ascii_lowercase().as_str() {
        "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    scaled(number, unit).filter(|bytes| within.contains(bytes)).ok_or_else(wrong)
}

/// `1.5` CPUs, in hundredths.
pub fn cpu(text: &str) -> Checked<u32> {
    let percent = scaled(text, 100).filter(|percent| CPU_PERCENT.contains(percent));
    let exact = text.split_once('.').is_none_or(|(_, fraction)| fraction.len() <= 2);
    match percent.and_then(|percent| u32::try_from(percent).ok()) {
        Some(percent) if exact => Ok(percent),
        _ => {
            let why = format!("{} is no number of CPUs from 0.01 to 1024", quoted(text));
            refuse(why, "write it as 2, 1.5 or 0.25")
        }
    }
}

fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// `number` times `unit`, rounded down; at most three places behind the point.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = match number.split_once('.') {
        None => (number, ""),
        Some((_, "")) => return None,
        Some(both) => both,
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 3 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let thousandths: u64 = format!("{fraction:0<3}").parse().ok()?;
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    whole.checked_add(thousandths.checked_mul(unit)? / 1000)
}

/// Absolute, or below the login's home; what it names is the same however it is looked at.
pub fn server_path(text: &str) -> Checked<String> {
    let below = text.strip_prefix("~/").or_else(|| text.strip_prefix('/'));
    let Some(below) = below else {
        let why = format!("{}: the server knows no directory that it starts from", quoted(text));
        return refuse(why, "write an absolute path, or one below ~/");
    };
    clean(text, below)
}

/// Where something is mounted: what hop-helper-server takes, without `~/`.
pub fn mount_path(text: &str) -> Checked<String> {
    match text.strip_prefix("~/").filter(|path| is_plain(path)) {
        Some(path) => Ok(path.to_owned()),
        None => refuse(
            format!("{}: mounts are below ~/, by plain names", quoted(text)),
            "write a directory such as ~/shop/tmp, of A-Z, a-z, 0-9, ., _, @, + and -",
        ),
    }
}

/// What is mounted there.
pub fn mount_source(text: &str) -> Checked<String> {
    match text.strip_prefix('/').filter(|path| is_plain(path)) {
        Some(_) => Ok(text.to_owned()),
        None => refuse(
            format!("{}: no directory from / on, by plain names", quoted(text)),
            "write a directory that the server's /etc/hopbox/bind-sources lists",
        ),
    }
}

fn is_plain(path: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._@+-".contains(&b);
    let step = |step: &str| !matches!(step, "" | "." | "..") && step.bytes().all(plain);
    path.len() < MOUNT_BYTES && path.split('/').count() <= MOUNT_STEPS && path.split('/').all(step)
}

/// Where a container sees a directory.
pub fn container_path(text: &str) -> Checked<String> {
    match text.strip_prefix('/') {
        Some(below) => clean(text, below),
        None => refuse(format!("{} is no absolute path", quoted(text)), "begin it with /"),
    }
}

fn clean(text: &str, below: &str) -> Checked<String> {
    let below = below.strip_suffix('/').unwrap_or(below);
    let odd = below.split('/').any(|part| matches!(part, "" | "." | ".."));
    if odd
        || text.len() > LINE_BYTES
        || text.contains([':', ','])
        || text.contains(char::is_control)
    {
        let why = format!("{}: . and .., // , : and , are not taken in a path", quoted(text));
        return refuse(why, "write the directory's plain path, and not / alone");
    }
    Ok(text.strip_suffix('/').unwrap_or(text).to_owned())
}

/// As docker(1) takes it; nothing is replaced in it.
pub fn image(text: &str) -> Checked<String> {
    let form = "write it as postgres:16 or ghcr.io/owner/name:tag";
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if text.len() > 512 || !starts || !text.bytes().all(plain) {
        return refuse(format!("{} is no name of an image", quoted(text)), form);
    }
    let (name, digest) = text.split_once('@').unwrap_or((text, "sha256:0"));
    let (path, last) = name.rsplit_once('/').unwrap_or(("", name));
    let (base, tag) = last.split_once(':').unwrap_or((last, "latest"));
    // A registry's name may have capitals, an image's not.
    let own = path.split_once('/').map_or("", |(_, own)| own);
    let lower = |text: &str| !text.bytes().any(|byte| byte.is_ascii_uppercase());
    let parts = path.is_empty() || path.split('/').all(|part| !part.is_empty());
    if !parts || base.is_empty() || tag.is_empty() || tag.contains(':') || digest.is_empty() {
        return refuse(format!("{} is no name of an image", quoted(text)), form);
    }
    if !lower(base) || !lower(own) {
        return refuse(format!("{}: an image's name has no capitals", quoted(text)), form);
    }
    Ok(text.to_owned())
}

/// `localhost:5432`, or the port alone.
pub fn tcp_probe(text: &str) -> Checked<Probe> {
    Ok(Probe::Tcp { port: local_port(text, "write it as localhost:5432")? })
}

/// `http://localhost:8000/health`
pub fn http_probe(text: &str) -> Checked<Probe> {
    let form = "write it as http://localhost:8000/health";
    if text.starts_with("https://") {
        return refuse(
            format!("{}: only http is asked", quoted(text)),
            "use health.exec with curl",
        );
    }
    let Some(rest) = text.strip_prefix("http://") else {
        return refuse(format!("{} is no address", quoted(text)), form);
    };
    let (authority, path) = match rest.find(['/', '?', '#']) {
        Some(at) => rest.split_at_checked(at).unwrap_or((rest, "")),
        None => (rest, ""),
    };
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    if path.len() > LINE_BYTES || !path.bytes().all(plain) {
        return refuse(format!("{} is no address", quoted(text)), form);
    }
    let port =
        if authority.contains(':') { authority.to_owned() } else { authority.to_owned() + ":80" };
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(Probe::Http { port: local_port(&port, form)?, path: format!("{slash}{path}") })
}

fn local_port(text: &str, form: &str) -> Checked<u16> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("localhost", text));
    if !matches!(host, "localhost" | "127.0.0.1" | "[::1]") {
        let why = format!("{}: a check asks the service itself, as localhost", quoted(text));
        return refuse(why, form);
    }
    port_number(port)
}

/// A user in a container: a name or number, and a group.
pub fn user(text: &str) -> Checked<String> {
    let part = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        (1..=64).contains(&part.len()) && part.bytes().all(plain) && !part.starts_with('-')
    };
    let (name, group) = text.split_once(':').unwrap_or((text, "0"));
    match part(name) && part(group) {
        true => Ok(text.to_owned()),
        false => refuse(format!("{} is no user", quoted(text)), "write it as 1000:1000"),
    }
}

/// `publisher.name`
pub fn extension(text: &str) -> Checked<String> {
    let part = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=128).contains(&part.len()) && part.bytes().all(plain) && !part.starts_with('-')
    };
    match text.split_once('.') {
        Some((publisher, name)) if part(publisher) && name.split('.').all(part) => {
            Ok(text.to_owned())
        }
        _ => refuse(format!("{} is no extension", quoted(text)), "write it as golang.go"),
    }
}

/// Where restic keeps its repository.
pub fn backup_target(text: &str) -> Checked<String> {
    let text = line(text)?;
    let kinds = ["local:", "sftp:", "rest:", "s3:", "b2:", "azure:", "gs:", "swift:", "rclone:"];
    if kinds.iter().any(|kind| text.strip_prefix(kind).is_some_and(|rest| !rest.is_empty())) {
        return Ok(text);
    }
    server_path(&text).map_err(|_| {
        let why = format!("{} is no repository of restic", quoted(&text));
        Refusal::new(why, "write an absolute path on the server, or s3:…, sftp:…, rest:…")
    })
}

#[cfg(test)]
mod tests;
