//! The characters that whoever reads us can read, as locale(7) has it.

use std::borrow::Cow;
use std::env;

use crate::text::ascii;

/// Of these the first that is set to something decides.
const VARIABLES: [&str; 3] = ["LC_ALL", "LC_CTYPE", "LANG"];

/// Whether our words may be more than ASCII. Without a word it is the C locale.
pub fn is_utf8() -> bool {
    let set = |name: &&str| env::var_os(name).filter(|value| !value.is_empty());
    let chosen = VARIABLES.iter().find_map(set);
    chosen.is_some_and(|locale| is_of_utf8(&locale.to_string_lossy()))
}

/// Lines of text as they can be read there.
pub fn text(text: &str) -> Cow<'_, str> {
    if is_utf8() { text.into() } else { ascii::text(text) }
}

/// The same for JSON.
pub fn json(json: &str) -> Cow<'_, str> {
    if is_utf8() { json.into() } else { ascii::json(json) }
}

/// `language_TERRITORY.codeset@modifier`; macOS says the codeset alone.
fn is_of_utf8(locale: &str) -> bool {
    let codeset = locale.split_once('.').map_or(locale, |(_, codeset)| codeset);
    let codeset = codeset.split('@').next().unwrap_or_default();
    codeset.replace('-', "").eq_ignore_ascii_case("utf8")
}

#[cfg(test)]
mod tests {
    use super::is_of_utf8;

    #[test]
    fn a_locale_says_its_characters() {
        for utf8 in ["C.UTF-8", "en_US.UTF-8", "de_DE.utf8@euro", "UTF-8", "C.utf8"] {
            assert!(is_of_utf8(utf8), "{utf8}");
        }
        for other in ["C", "POSIX", "en_US", "de_DE@euro", "de_DE.ISO-8859-15@euro", "", "utf"] {
            assert!(!is_of_utf8(other), "{other}");
        }
    }
}
