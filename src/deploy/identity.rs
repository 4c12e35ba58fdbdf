//! The laptop's own key for a host: made once, never replaced, never leaving this machine.

use crate::base::failure::{Failure, Fault};
use crate::base::key;
use crate::host::paths::Paths;
use crate::host::store;
use crate::tunnel;

/// The public half of the host's key; the key is made if there is none. One that cannot be read is
/// an error that names its file.
pub fn public_key(paths: &Paths, host: &str) -> Result<[u8; key::KEY_BYTES], Failure> {
    let path = store::key_file(paths, host);
    let key = match key::load(&path) {
        Err(error) if error.fault == Fault::NotFound => {
            paths.ensure_config()?;
            let key = tunnel::generate_key().map_err(|e| Failure::io("make", &path, &e))?;
            key::store_new(&path, &key)?;
            key
        }
        other => other?,
    };
    Ok(tunnel::public_key(&key))
}

/// An error where there is a key that cannot be used: before anything is done that needs it.
pub fn check(paths: &Paths, host: &str) -> Result<(), Failure> {
    match key::load(&store::key_file(paths, host)) {
        Err(error) if error.fault != Fault::NotFound => Err(error),
        _ => Ok(()),
    }
}
