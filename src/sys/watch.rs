//! Waiting for the same few descriptors again and again, which poll(2) would tell the kernel each
//! time.

use super::poll::{self, Interest};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// What to wait for, in the caller's order; None for what is not there.
pub type Wish<'a> = (Option<BorrowedFd<'a>>, Interest);

/// Up to `N` descriptors.
pub struct Watch<const N: usize> {
    #[cfg(target_os = "linux")]
    told: Option<linux::Told<N>>,
}

impl<const N: usize> Watch<N> {
    #[allow(clippy::new_without_default)] // nobody asks for it
    pub fn new() -> Watch<N> {
        Watch {
            #[cfg(target_os = "linux")]
            told: None,
        }
    }

    /// Wait until one of `wishes` is ready; what happened to each. `None` waits without end. A
    /// signal ends the wait early with nothing ready.
    ///
    /// `version` must differ from the last call's if a descriptor was closed since: another one
    /// may have its number now.
    pub fn wait(
        &mut self,
        wishes: [Wish<'_>; N],
        version: u64,
        timeout: Option<Duration>,
    ) -> io::Result<[Interest; N]> {
        #[cfg(target_os = "linux")]
        {
            if !self.told.as_ref().is_some_and(|told| told.are(&wishes, version)) {
                self.told = linux::Told::tell(&wishes, version).ok();
            }
            if let Some(told) = &self.told {
                return told.wait(timeout);
            }
        }
        let _ = version;
        poll::wait_some(wishes, timeout)
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{Interest, Wish, poll};
    use nix::errno::Errno;
    use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
    use std::io;
    use std::os::fd::{AsRawFd, RawFd};
    use std::time::Duration;

    /// An epoll instance that knows these wishes. Others get one of their own: wishes change when
    /// a device goes up or down or the network changes.
    pub struct Told<const N: usize> {
        epoll: Epoll,
        wishes: [Option<(RawFd, Interest)>; N],
        version: u64,
    }

    fn named<const N: usize>(wishes: &[Wish<'_>; N]) -> [Option<(RawFd, Interest)>; N] {
        wishes.map(|(fd, interest)| Some((fd?.as_raw_fd(), interest)))
    }

    impl<const N: usize> Told<N> {
        pub fn tell(wishes: &[Wish<'_>; N], version: u64) -> io::Result<Told<N>> {
            let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
            for (place, (fd, interest)) in (0..).zip(wishes) {
                let Some(fd) = fd else { continue };
                let flags = EpollFlags::from_bits_truncate(i32::from(interest.bits()));
                epoll.add(fd, EpollEvent::new(flags, place))?;
            }
            Ok(Told { epoll, wishes: named(wishes), version })
        }

        pub fn are(&self, wishes: &[Wish<'_>; N], version: u64) -> bool {
            self.version == version && self.wishes == named(wishes)
        }

        pub fn wait(&self, timeout: Option<Duration>) -> io::Result<[Interest; N]> {
            let mut events = [EpollEvent::empty(); N];
            let n = match self.epoll.wait(&mut events, poll::timeout_of(timeout)) {
                Err(Errno::EINTR) => 0,
                other => other?,
            };
            let mut states = [Interest::NONE; N];
            for event in events.iter().take(n) {
                let place = usize::try_from(event.data()).unwrap_or(N);
                if let Some(state) = states.get_mut(place) {
                    *state = Interest::happened(event.events().bits());
                }
            }
            Ok(states)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::poll::{Wake, pipe};
    use std::os::fd::AsFd;

    const SOON: Option<Duration> = Some(Duration::from_millis(5));

    #[test]
    fn each_descriptor_is_told_apart_and_what_is_absent_stays_silent() {
        let (one, other) = (Wake::new().expect("eventfd"), Wake::new().expect("eventfd"));
        let mut watch = Watch::new();
        let mut wait = || {
            let wishes = [
                (Some(one.as_fd()), Interest::READ),
                (None, Interest::READ),
                (Some(other.as_fd()), Interest::READ),
            ];
            watch.wait(wishes, 0, SOON).expect("wait").map(Interest::readable)
        };
        assert_eq!(wait(), [false; 3]);
        other.wake();
        assert_eq!(wait(), [false, false, true]);
        assert_eq!(wait(), [false, false, true], "until it is drained");
        one.wake();
        assert_eq!(wait(), [true, false, true]);
        one.drain();
        other.drain();
        assert_eq!(wait(), [false; 3]);
    }

    #[test]
    fn another_interest_and_a_hang_up_are_seen() {
        let (r, w) = pipe().expect("pipe");
        let mut watch = Watch::new();
        let mut state = |what| {
            let [state] = watch.wait([(Some(w.as_fd()), what)], 0, SOON).expect("wait");
            state
        };
        assert!(!state(Interest::READ).any());
        assert!(state(Interest::WRITE).writable());
        assert!(!state(Interest::READ).any());
        drop(r);
        assert!(state(Interest::READ).broken());
    }

    #[test]
    fn a_new_descriptor_of_an_old_number_needs_a_new_version() {
        let mut watch = Watch::new();
        for version in 0..3 {
            // Closed at the end of each round, so that the next one has the same number.
            let wake = Wake::new().expect("eventfd");
            wake.wake();
            let wishes = [(Some(wake.as_fd()), Interest::READ)];
            let [state] = watch.wait(wishes, version, None).expect("wait");
            assert!(state.readable());
        }
    }
}
