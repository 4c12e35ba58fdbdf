//! A browser that programs on the server steer (the Chrome DevTools protocol): one of its own, with
//! a profile that is thrown away, on this desktop. It reaches the server's ports and the hosts that
//! are named, and nothing else: not this machine, not its network, no file of the user's. Whoever
//! steers it can tell it to read a file or to use no proxy, so that the kernel sees to this
//! (`sys::confine`), and not only its command line.
//!
//! Reading order: `profile` (what is thrown away) → `chromium` (the program, its life) →
//! `proxy` (its only way out).
//!
//! Bounds: one browser; 64 connections that steer, 128 of its own; 5 minutes without any that
//! steers.

mod chromium;
mod profile;
mod proxy;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::programs::Programs;
use chromium::Running;
pub use profile::throw_away;
pub use proxy::{Denied, Exits};

const STEERING: usize = 64;
const CONNECT: Duration = Duration::from_secs(5);
/// For all of it to end.
const END: Duration = Duration::from_secs(8);
const LOOK_EVERY: Duration = Duration::from_millis(20);

#[derive(Default)]
pub struct Browser {
    running: Mutex<Option<Running>>,
    steering: Arc<AtomicUsize>,
    /// Where its way out is, once there was one.
    proxy: Mutex<Option<u16>>,
    /// Somebody here said yes to the one that runs, or the policy did.
    is_agreed: AtomicBool,
}

/// A connection that steers, counted until it goes.
pub struct Steers(Arc<AtomicUsize>);

impl Drop for Steers {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Browser {
    /// Ends one that runs, with its profile.
    pub fn end(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = running.as_ref() else { return };
        running.stop();
        let end = Instant::now() + END;
        while running.is_there() && Instant::now() < end {
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Whether one runs that somebody here said yes to.
    pub fn is_agreed(&self) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().is_some_and(Running::is_there) && self.is_agreed.load(Ordering::SeqCst)
    }

    /// A connection to the browser, which is started where none runs: its way out leads to `exits`.
    pub fn connect(
        &self,
        programs: &Programs,
        profile: PathBuf,
        exits: &Arc<dyn Exits>,
    ) -> Result<(TcpStream, Steers), String> {
        if self.steering.fetch_add(1, Ordering::SeqCst) >= STEERING {
            self.steering.fetch_sub(1, Ordering::SeqCst);
            return Err(format!("{STEERING} connections steer it already"));
        }
        let steers = Steers(self.steering.clone());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let port = match running.as_ref().filter(|one| one.is_there()) {
            Some(one) => one.port,
            None => {
                let through = self.proxy(exits).map_err(|error| error.to_string())?;
                let steering = self.steering.clone();
                let started = chromium::start(programs, profile, through, steering, exits.clone())?;
                running.insert(started).port
            }
        };
        drop(running);
        let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        let stream = TcpStream::connect_timeout(&at.into(), CONNECT);
        let stream = stream.map_err(|error| format!("the browser: {error}"))?;
        self.is_agreed.store(true, Ordering::SeqCst);
        Ok((stream, steers))
    }

    fn proxy(&self, exits: &Arc<dyn Exits>) -> io::Result<u16> {
        let mut proxy = self.proxy.lock().unwrap_or_else(PoisonError::into_inner);
        match *proxy {
            Some(port) => Ok(port),
            None => Ok(*proxy.insert(proxy::start(exits)?)),
        }
    }
}
