//! The sockets at which this login's programs ask: one in the directory of `place`, where the
//! kernel says who asks; and, while a workspace declares bridges, one on 127.0.0.1 for sandboxes
//! that know no Unix sockets, where whoever asks proves to have read a file of the login's. The
//! kernel chooses its port, from those that it gives to anybody who does not mind. A laptop's
//! browser is at a third one (`browser`), where that is declared.
//!
//! Bounds: 96 connections at a time, a thread for each; a request within 2 s.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::attend::{self, Whose};
use super::browser;
use super::declared;
use super::place::{Here, Place, namespaces};
use super::queue::Queue;
use super::wire::nonce;
use crate::agent::log;
use crate::base::line_socket::{self, LineSocket};
use crate::sys::loopback::LoopbackListener;
use crate::sys::poll::{self, Interest};
use crate::sys::process;
use crate::workspace::manifest::Bridge;

const CONNECTIONS: usize = 96;
/// How often it is looked whether the files are still there, and what is declared.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// After an accept that failed for want of descriptors.
const PAUSE: Duration = Duration::from_millis(20);

/// For as long as this process lives.
pub fn serve(place: &Place, queue: &Arc<Queue>) {
    let mut local = Local::default();
    loop {
        if let Err(error) = local.look(place) {
            log(&format!("programs here cannot ask for a laptop: {error}"));
        }
        local.wait(queue);
    }
}

#[derive(Default)]
struct Local {
    unix: Option<LineSocket>,
    tcp: Option<(LoopbackListener, Arc<str>)>,
    browser: Option<LoopbackListener>,
    told: Option<Here>,
    open: Arc<AtomicUsize>,
}

impl Local {
    fn look(&mut self, place: &Place) -> io::Result<()> {
        place.make()?;
        if !self.unix.as_ref().is_some_and(LineSocket::is_there) {
            // Another's file is not taken away with it.
            self.unix = None;
            let bound = LineSocket::bind(&place.socket());
            self.unix = Some(bound.map_err(|failure| io::Error::other(failure.why))?);
        }
        match (declared::any(), &self.tcp) {
            (true, None) => self.tcp = Some(listen()?),
            (false, Some(_)) => self.tcp = None,
            _ => {}
        }
        match (declared::is(Bridge::Cdp), &self.browser) {
            (true, None) => self.browser = browser::listen(),
            (false, Some(_)) => self.browser = None,
            _ => {}
        }
        let tcp = match &self.tcp {
            Some((listener, secret)) => Some((listener.port()?, secret.to_string())),
            None => None,
        };
        let browser = self.browser.as_ref().map(LoopbackListener::port).transpose()?;
        let here = Here { namespaces: namespaces(), tcp, browser };
        if self.told.as_ref() != Some(&here) || place.read().is_none() {
            place.put(&here)?;
            self.told = Some(here);
        }
        Ok(())
    }

    fn wait(&self, queue: &Arc<Queue>) {
        let Some(unix) = &self.unix else { return thread::sleep(LOOK_EVERY) };
        let mut fds = vec![(unix.as_fd(), Interest::READ)];
        fds.extend(self.tcp.iter().map(|(listener, _)| (listener.as_fd(), Interest::READ)));
        fds.extend(self.browser.iter().map(|listener| (listener.as_fd(), Interest::READ)));
        match poll::wait(&fds, &mut Vec::new(), Some(LOOK_EVERY)) {
            Ok(0) => return,
            Ok(_) => {}
            Err(_) => return thread::sleep(PAUSE),
        }
        // Nobody may be there: accepting does not wait.
        let theirs = queue.clone();
        self.begin(unix.accept().and_then(of_this_login), move |stream| {
            // Who has gone has nothing to be told.
            let _ = attend::attend(&theirs, stream, &Whose::Told);
        });
        if let Some((listener, secret)) = &self.tcp {
            let (theirs, whose) = (queue.clone(), Whose::Proven(secret.clone()));
            self.begin(listener.accept(), move |stream| {
                let _ = attend::attend(&theirs, stream, &whose);
            });
        }
        if let Some(listener) = &self.browser {
            let theirs = queue.clone();
            self.begin(listener.accept(), move |stream| browser::attend(&theirs, stream));
        }
    }

    fn begin(
        &self,
        asked: io::Result<UnixStream>,
        attend: impl FnOnce(UnixStream) + Send + 'static,
    ) {
        let stream = match asked {
            Ok(stream) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => return thread::sleep(PAUSE),
        };
        if self.open.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS {
            self.open.fetch_sub(1, Ordering::AcqRel);
            return attend::refuse(&stream);
        }
        let counted = Counted(self.open.clone());
        let attend = move || {
            let _counted = counted;
            attend(stream);
        };
        let _ = thread::Builder::new().name("bridge".to_owned()).spawn(attend);
    }
}

fn of_this_login(stream: UnixStream) -> io::Result<UnixStream> {
    if line_socket::check_peer(&stream, process::uid()).is_ok() {
        return Ok(stream);
    }
    log("somebody else than this login asked for a laptop, and was not heard");
    Err(ErrorKind::WouldBlock.into())
}

/// One connection of those that may be.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn listen() -> io::Result<(LoopbackListener, Arc<str>)> {
    Ok((LoopbackListener::bind(0)?, nonce()?.into()))
}
