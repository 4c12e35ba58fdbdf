//! Whether somebody still reads our standard output. A program that has read enough, such as
//! `grep -m1`, goes without a word: who writes next finds out, and who has nothing to write would
//! keep a shell waiting for ever.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;

use crate::sys::poll::{self, Interest};
use crate::sys::threads;

/// Our standard output, where its other end can go: a pipe's or a socket's.
pub fn output() -> Option<File> {
    let output = File::from(io::stdout().as_fd().try_clone_to_owned().ok()?);
    let kind = output.metadata().ok()?.file_type();
    (kind.is_fifo() || kind.is_socket()).then_some(output)
}

/// Calls `act` from another thread once its reader has gone. Without a thread, as before a reader
/// that is no program, whoever writes finds out.
pub fn then(act: impl FnOnce() + Send + 'static) {
    if let Some(output) = output() {
        let _ = threads::start("reader", move || {
            wait(&output);
            act();
        });
    }
}

/// Until its reader has gone.
fn wait(output: &File) {
    // A signal ends the wait early.
    while let Ok(false) = poll::wait_one(output.as_fd(), Interest::NONE, None) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_reader_that_goes_is_noticed_without_a_word() {
        let (read, write) = poll::pipe().unwrap();
        let write = File::from(write);
        let wait = {
            let write = write.try_clone().unwrap();
            thread::spawn(move || wait(&write))
        };
        assert!(!poll::look(write.as_fd(), Interest::NONE).any());
        drop(read);
        wait.join().unwrap();
        assert!(poll::look(write.as_fd(), Interest::NONE).broken());
    }
}
