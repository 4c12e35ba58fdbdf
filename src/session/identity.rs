//! The laptop's own key for a host: made once, never replaced, never leaving this machine.

use crate::base::failure::{HostError, Kind};
use crate::base::key;
use crate::host::paths::Paths;
use crate::tunnel;

/// The public half of the host's key; the key is made if there is none. One that cannot be read is
/// an error that names its file.
pub fn public_key(paths: &Paths, host: &str) -> Result<[u8; key::KEY_BYTES], HostError> {
    let path = paths.key_file(host);
    let key = match key::load(&path) {
        Err(error) if error.kind == Kind::NotFound => {
            paths.ensure_config()?;
            let key = tunnel::generate_key().map_err(|e| HostError::io("make", &path, &e))?;
            key::store_new(&path, &key)?;
            key
        }
        other => other?,
    };
    Ok(tunnel::public_key(&key))
}

/// An error where there is a key that cannot be used: before anything is done that needs it.
pub fn check(paths: &Paths, host: &str) -> Result<(), HostError> {
    match key::load(&paths.key_file(host)) {
        Err(error) if error.kind != Kind::NotFound => Err(error),
        _ => Ok(()),
    }
}
