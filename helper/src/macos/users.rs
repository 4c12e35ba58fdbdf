//! The users that `--install` admits on macOS, in the text of the configuration. Must not know:
//! files.

use crate::net::config::parse;
use serde_json::{Map, Value};

/// The text of the file with one more user in it.
pub fn with_user(text: &str, uid: u32) -> Result<String, String> {
    let config = parse(text.as_bytes())?;
    if config.admission.allow_uids.contains(&uid) {
        return Ok(text.to_string());
    }
    let mut top: Map<String, Value> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let uids: Vec<u32> = config.admission.allow_uids.into_iter().chain([uid]).collect();
    top.insert("allow_uids".to_string(), uids.into());
    Ok(format!("{}\n", Value::Object(top)))
}

/// Whether it says nothing but which users are admitted.
pub fn only_users(text: &str) -> bool {
    let top: Result<Map<String, Value>, _> = serde_json::from_str(text);
    top.is_ok_and(|top| top.keys().eq(["allow_uids"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_added_once_and_the_rest_stays() {
        let once = with_user("{}", 501).unwrap();
        assert_eq!(once, "{\"allow_uids\":[501]}\n");
        assert_eq!(with_user(&once, 501).unwrap(), once);
        assert!(only_users(&once) && only_users(&with_user(&once, 502).unwrap()));
        let rich = r#"{"pools":["10.20.0.0/16"],"allow_uids":[502]}"#;
        let config = parse(with_user(rich, 501).unwrap().as_bytes()).unwrap();
        assert_eq!(config.admission.allow_uids, [502, 501]);
        assert_eq!(config.pools.list(), ["10.20.0.0/16"]);
        assert!(!only_users(rich) && !only_users("{}") && !only_users("x"));
        // What cannot be read is never written over.
        assert!(with_user("{\"allow_uid\":[1]}", 501).is_err() && with_user("", 501).is_err());
    }
}
