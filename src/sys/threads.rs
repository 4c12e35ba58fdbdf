//! Threads that are begun. Where the system has none to give (a limit of the user's, or of a
//! service's unit: EAGAIN), `std::thread::spawn` and a scope's `spawn` panic, so nobody but tests
//! may call them (`tests/tidy.rs`); here it is an error, and what is done then is the caller's.

use std::io;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

/// Begins `work` on a thread of this name, of which the kernel shows 15 bytes.
pub fn start<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(work).map_err(|error| none(name, &error))
}

/// The same, on one that has ended before its scope is left.
pub fn start_within<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    let thread = Builder::new().name(name.to_owned());
    thread.spawn_scoped(scope, work).map_err(|error| none(name, &error))
}

/// Not of the kind that the system's is: whoever is told "try again" of a descriptor tries again.
fn none(name: &str, error: &io::Error) -> io::Error {
    io::Error::other(format!("the system gives no thread for {name:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::thread;

    #[test]
    fn work_is_done_on_a_thread_of_that_name() {
        let name = || thread::current().name().map(str::to_owned);
        assert_eq!(start("own", name).unwrap().join().unwrap().as_deref(), Some("own"));
        let (mut changed, word) = (false, "within".to_owned());
        thread::scope(|scope| {
            let change = || changed = thread::current().name() == Some(&word);
            start_within(scope, "within", change).unwrap();
        });
        assert!(changed);
    }

    /// The standard library gives threads no smaller stack than that variable says, and the kernel
    /// has no room for one of an exabyte: EAGAIN, as at a limit. The test's own is the first one.
    #[test]
    fn a_system_without_threads_is_an_error_and_no_panic() {
        if std::env::var_os("RUST_MIN_STACK").is_none() {
            let mut again = Command::new(std::env::current_exe().unwrap());
            again.env("RUST_MIN_STACK", (1_u64 << 60).to_string()).args(["--exact", "--nocapture"]);
            let test = "sys::threads::tests::a_system_without_threads_is_an_error_and_no_panic";
            let output = again.args([test, "--test-threads=1"]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{output:?}");
            return;
        }
        let error = start("own", || ()).unwrap_err().to_string();
        assert!(error.starts_with("the system gives no thread for \"own\": "), "{error}");
        thread::scope(|scope| start_within(scope, "within", || ()).map(drop)).unwrap_err();
    }
}
