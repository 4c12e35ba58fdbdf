//! A promise of SECURITY.md is as good as the test that it names, so each name leads to one.

use std::path::Path;

use super::{read, sources};

/// The module whose unit tests are in this file: `src/ssh/error.rs`, `…/error/tests.rs` and
/// `…/error_tests.rs` are all of `ssh::error`.
fn tested(path: &Path) -> String {
    let path = path.with_extension("").to_string_lossy().replace('/', "::");
    let ends = ["::tests", "_tests", "::mod"];
    ends.iter().find_map(|end| path.strip_suffix(end)).unwrap_or(&path).to_owned()
}

fn is_there(module: &str, test: &str) -> bool {
    sources().iter().any(|path| {
        let text = read(path);
        let is_it = format!("::{}", tested(path)).ends_with(&format!("::{module}"));
        is_it && text.contains("#[test]") && text.contains(&format!("fn {test}"))
    })
}

#[test]
fn a_promise_names_unit_tests_that_are_there() {
    let text = read("SECURITY.md");
    let named: Vec<_> = text.split('`').filter_map(|name| name.split_once("::tests")).collect();
    assert!(named.len() > 40, "{named:?}");
    let lost: Vec<_> = named
        .iter()
        .filter(|(module, test)| !is_there(module, test.strip_prefix("::").unwrap_or("")))
        .collect();
    assert!(lost.is_empty(), "SECURITY.md: {lost:?}");
}
