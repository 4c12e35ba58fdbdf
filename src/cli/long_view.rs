//! A view of what goes on at a host, for as long as somebody looks: through an agent that is
//! replaced or killed, and a tunnel that is mended, to the end of its session. Each time it is
//! opened again its caller says from where on.
//!
//! Bounds: an agent that is not there for 10 minutes is waited for no more; a try each second.

use std::thread;
use std::time::{Duration, Instant};

use super::command::Call;
use super::service_names::{LIMIT, There};
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::rpc::client::CallError;
use crate::rpc::method::Stream;

const TRY_EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(600);

/// Why a view has stopped.
pub enum Stopped {
    /// This side wants no more of it.
    Here(Failure),
    There(CallError),
}

impl From<CallError> for Stopped {
    fn from(error: CallError) -> Stopped {
        Stopped::There(error)
    }
}

pub struct LongView<'a> {
    there: &'a There,
    /// Since when there is none.
    lost: Option<Instant>,
}

impl<'a> LongView<'a> {
    pub fn of(there: &'a There) -> LongView<'a> {
        there.watch.until_unread();
        LongView { there, lost: None }
    }

    /// Shows what comes until the stream has ended, or nobody looks any more.
    pub fn read<S: Stream>(
        &mut self,
        call: &mut Call,
        stream: S,
        params: &S::Params,
        mut show: impl FnMut(&mut Call, S::Event) -> Result<(), Failure>,
    ) -> Result<(), Stopped> {
        let watch = &self.there.watch;
        if watch.is_unread() {
            return Ok(());
        }
        let mut events = self.there.client.open(stream, params, LIMIT)?;
        if let Ok(canceller) = events.canceller() {
            watch.attend(canceller);
        }
        loop {
            let event = match events.next_event() {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(_) if watch.is_unread() => break,
                Err(error) => return Err(error.into()),
            };
            if self.lost.take().is_some() {
                call.out.say(&format!("{} is there again", self.there.host));
            }
            show(call, event).map_err(Stopped::Here)?;
            if call.out.is_closed() {
                break;
            }
        }
        Ok(())
    }

    /// Waits a moment, if it may go on: else says why not.
    pub fn again(&mut self, call: &mut Call, stopped: Stopped) -> Result<(), Failure> {
        let host = &self.there.host;
        let error = match stopped {
            Stopped::Here(failure) => return Err(failure),
            Stopped::There(error) => error,
        };
        if self.there.watch.is_over() {
            let (why, next) = ("its session here was ended", fix!("hop up {}", host));
            return Err(Failure::new(Fault::Unreachable, format!("{host} goes down"), why, next));
        }
        if !error.is_passing() || self.lost.is_some_and(|lost| lost.elapsed() > PATIENCE) {
            return Err(self.there.failed(error));
        }
        if self.lost.is_none() {
            self.lost = Some(Instant::now());
            call.out.say(&format!("{host} does not answer ({error}); this goes on when it does"));
        }
        thread::sleep(TRY_EVERY);
        Ok(())
    }
}
