//! The server's end of a tunnel over SSH, where no UDP passes: what ssh(1) on a laptop started. It
//! knows a port of this machine and nothing of who is there: whoever may log in could send to it
//! anyway, and the tunnel believes nobody who has no key.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::AtomicU16;
use std::time::Duration;

use super::{config, log};
use crate::base::failure::{Failure, Fault};
use crate::datagrams::{Carrier, Counts, Ended, Side, Words};
use crate::sys::process;
use crate::sys::sock::Udp;

/// A laptop says its hello as soon as it has connected.
const HELLO_LIMIT: Duration = Duration::from_secs(20);

/// Until either side ends it.
pub fn carry(file: &Path) -> Result<(), Failure> {
    let port = config::load(file)?.listen_port;
    let counts = Counts::default();
    let ended = carried(port, &counts);
    let (lost, marked) = counts.get();
    if lost + marked > 0 {
        log(&format!("{lost} packets waited too long and were lost, {marked} were marked"));
    }
    let why = match ended {
        Ok(Ended::Closed | Ended::Stopped) => return Ok(()),
        Ok(Ended::Silent) => "the laptop is not heard any more".to_owned(),
        Ok(Ended::Mute) => "the laptop says nothing".to_owned(),
        Ok(Ended::Bad(bad)) => format!("what comes is not what a laptop sends: {bad}"),
        Ok(Ended::Lost(error)) | Err(error) => error.to_string(),
    };
    let next = "/usr/libexec/hopbox/hop-agent status";
    Err(Failure::new(Fault::Failed, "a tunnel over SSH ended", why, next))
}

fn carried(port: u16, counts: &Counts) -> io::Result<Ended> {
    let socket = Udp::on_loopback()?;
    let side = Side {
        input: File::from(io::stdin().as_fd().try_clone_to_owned()?),
        output: File::from(process::take_stdout()?),
        socket: &socket,
        peer: &AtomicU16::new(port),
        noise: 0,
        hello_within: HELLO_LIMIT,
        counts,
    };
    Ok(Carrier::new(side)?.run(None, &mut Words::new(None)?, &mut || {}))
}
