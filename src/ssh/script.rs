//! Scripts on the other side. One that comes on standard input is read to its end before anything
//! of it runs, and what it runs reads nothing: a shell that reads its script line by line would
//! share it with every program that reads, such as a sudo that records its input.

/// The command that runs a script from standard input, under any login shell.
pub const WHOLE: &str = "sh -c 's=$(cat) && exec </dev/null && eval \"$s\"'";

/// Begins a script that is run from a file and has nothing to read.
pub const READS_NOTHING: &str = "exec </dev/null\n";

#[cfg(test)]
pub(crate) mod tests;
