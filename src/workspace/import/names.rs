//! The nearest names that a workspace and a service may have.

use crate::workspace::check;

/// The nearest name that a workspace may have.
pub fn label(text: &str) -> String {
    let name = plain(text, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    match check::name(&name) {
        Ok(()) => name,
        Err(_) => {
            let name = format!("app-{name}");
            let name = name.trim_end_matches('-');
            if check::name(name).is_ok() { name.to_owned() } else { "app".to_owned() }
        }
    }
}

pub fn service_name(text: &str) -> String {
    let name = plain(text, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if check::service(&name).is_ok() { name } else { "service".to_owned() }
}

fn plain(text: &str, keep: impl Fn(char) -> bool) -> String {
    let lower = text.to_ascii_lowercase();
    let mut name: String = lower.chars().take(59).map(|c| if keep(c) { c } else { '-' }).collect();
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    name.trim_matches(['-', '_']).to_owned()
}
