//! Variables for programs. A value may be a secret: it is wiped, and nothing prints it.

use std::collections::BTreeMap;
use std::fmt;

use zeroize::Zeroizing;

/// Most variables of one scope.
pub const VARIABLES: usize = 512;
/// Linux gives a program no longer one (`MAX_ARG_STRLEN`, with the name).
pub const VALUE_BYTES: usize = 96 * 1024;

/// By name; a later setting of the same name wins.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Env(BTreeMap<String, Zeroizing<String>>);

impl Env {
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.0.insert(key.into(), Zeroizing::new(value.into()));
    }

    pub fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.as_str())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These, and over them those.
    pub fn under(&self, over: &Env) -> Env {
        let mut both = self.clone();
        over.iter().for_each(|(key, value)| both.set(key, value));
        both
    }
}

/// The names alone.
impl fmt::Debug for Env {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}
