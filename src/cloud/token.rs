//! The file of a provider's token: of the user alone, read each time and kept nowhere.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::base::failure::{Failure, Fault};
use crate::base::file;
use crate::fix;
use crate::sys::{bounded, process};

/// Shortest and longest token; Hetzner's have 64.
const CHARS: std::ops::RangeInclusive<usize> = 16..=256;

/// Refused when it is another user's, others may read or change it, or it holds anything but one
/// token in one line.
pub fn load(path: &Path) -> Result<Zeroizing<String>, Failure> {
    let file = bounded::open(path).map_err(|error| Failure::io("read", path, &error))?;
    let owner = file.metadata().map_err(|error| Failure::io("read", path, &error))?.uid();
    let refuse = |why: String| {
        let what = format!("{} cannot be used", path.display());
        Failure::new(Fault::Config, what, why, fix!("ls -l {}", path))
    };
    if owner != process::uid() {
        return Err(refuse(format!("it belongs to user {owner}, and a token is its user's alone")));
    }
    let text = file::read_opened(file, path)?;
    let token = text.strip_suffix('\n').unwrap_or(&text);
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-.~".contains(&byte);
    if !CHARS.contains(&token.len()) || !token.bytes().all(safe) {
        // What is there is not repeated: it may be a secret.
        return Err(refuse("it must hold a token in one line, and nothing else".to_owned()));
    }
    Ok(Zeroizing::new(token.to_owned()))
}
