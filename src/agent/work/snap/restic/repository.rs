//! Where a repository is, and what opens it. The place and its credentials go to restic by its
//! environment, the password by its standard input: nothing of it is an argument, a file or a line
//! that is said.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::sftp::Server;
use crate::agent::work::state;
use crate::workspace::env::Env;
use crate::workspace::manifest::Backup;

/// Variables of backends, which are a workspace's to set: nothing else of it reaches restic.
const CREDENTIALS: [&str; 9] =
    ["AWS_", "B2_", "AZURE_", "GOOGLE_", "OS_", "ST_", "RCLONE_", "RESTIC_REST_", "RESTIC_AWS_"];
/// A shorter word is not looked for in what is said.
const HIDDEN_BYTES: usize = 6;

pub struct Repository {
    /// As restic takes it.
    pub target: Zeroizing<String>,
    pub password: Zeroizing<String>,
    pub credentials: Vec<(String, Zeroizing<String>)>,
}

impl Repository {
    /// An error is a sentence.
    pub fn of(backup: &Backup, env: &Env) -> Result<Repository, String> {
        let variable = &backup.password_env;
        let password = env.get(variable).filter(|password| !password.is_empty());
        let password = password.ok_or_else(|| {
            format!(
                "{variable} is not set: put the repository's password into .env.local, and hop up"
            )
        })?;
        if password.contains('\n') {
            return Err(format!("{variable} has more than one line, of which restic reads one"));
        }
        let is_theirs = |name: &str| CREDENTIALS.iter().any(|start| name.starts_with(start));
        let credentials = env.iter().filter(|(name, _)| is_theirs(name) && name != variable);
        let credentials =
            credentials.map(|(name, value)| (name.to_owned(), value.to_owned().into()));
        Ok(Repository {
            target: target(&backup.target, env).into(),
            password: password.to_owned().into(),
            credentials: credentials.collect(),
        })
    }

    /// Who is asked through ssh(1).
    pub fn server(&self) -> Option<Server> {
        Server::of(&self.target)
    }

    /// What such a repository may want, and the workspace does not have.
    pub fn missing(&self) -> Option<&'static str> {
        let has = |name: &str| self.credentials.iter().any(|(known, _)| known == name);
        if self.target.starts_with("rest:") && user_info(&self.target).is_none() {
            return Some("RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD");
        }
        if self.target.starts_with("s3:") && !has("AWS_ACCESS_KEY_ID") {
            return Some("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
        }
        None
    }

    /// Of one that is a directory here.
    pub fn path(&self) -> Option<&Path> {
        let path = Path::new(self.target.strip_prefix("local:").unwrap_or(&self.target));
        path.is_absolute().then_some(path)
    }

    /// As it may be shown: without a login in its address.
    pub fn shown(&self) -> String {
        shown(&self.target)
    }

    /// What somebody said, without what is secret here.
    pub fn hide(&self, said: &str) -> String {
        let user = user_info(&self.target).filter(|user| user.contains(':'));
        let words = self.credentials.iter().map(|(_, value)| value.as_str()).chain(user);
        let words = words.chain(std::iter::once(self.password.as_str()));
        let long = words.filter(|word| word.len() >= HIDDEN_BYTES);
        long.fold(said.to_owned(), |said, word| said.replace(word, "***"))
    }

    pub fn variables(&self) -> Vec<(OsString, OsString)> {
        let own = ("RESTIC_REPOSITORY".into(), self.target.as_str().into());
        let theirs =
            self.credentials.iter().map(|(name, value)| (name.into(), value.as_str().into()));
        std::iter::once(own).chain(theirs).collect()
    }

    /// Its file, where locks can be looked at one by one.
    pub fn lock_file(&self, id: &str) -> Option<PathBuf> {
        let plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.path().filter(|_| plain).map(|path| path.join("locks").join(id))
    }
}

/// As restic takes it: in the home directory, and with the login of a REST server, which restic
/// before 0.17 reads out of an address alone, and no word says so.
fn target(target: &str, env: &Env) -> String {
    let home = target.strip_prefix("~/").and_then(|below| {
        let home = state::home()?;
        Some(home.join(below).to_str()?.to_owned())
    });
    let set = |name: &str| env.get(name).filter(|value| !value.is_empty()).map(encoded);
    let login = set("RESTIC_REST_USERNAME").zip(set("RESTIC_REST_PASSWORD"));
    let with_login = || {
        let (user, password) = login.filter(|_| user_info(target).is_none())?;
        let (scheme, rest) = target.strip_prefix("rest:")?.split_once("://")?;
        Some(format!("rest:{scheme}://{user}:{password}@{rest}"))
    };
    home.or_else(with_login).unwrap_or_else(|| target.to_owned())
}

/// For a place in an address.
fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut all = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            all.push(char::from(byte));
        } else {
            let _ = write!(all, "%{byte:02X}");
        }
    }
    all
}

/// `rest:https://user:password@host/`
fn user_info(target: &str) -> Option<&str> {
    let (_, rest) = target.split_once("://")?;
    let authority = rest.split('/').next()?;
    authority.rsplit_once('@').map(|(user, _)| user)
}

fn shown(target: &str) -> String {
    match user_info(target) {
        Some(user) => target.replacen(&format!("{user}@"), "", 1),
        None => target.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::manifest::Keep;

    fn of(target: &str, env: &[(&str, &str)]) -> Result<Repository, String> {
        let (target, password_env) = (target.to_owned(), "PW".to_owned());
        let backup = Backup { target, password_env, schedule: None, keep: Keep::default() };
        let mut all = Env::default();
        env.iter().for_each(|(name, value)| all.set(*name, *value));
        Repository::of(&backup, &all)
    }

    #[test]
    fn only_what_is_a_backends_reaches_restic_and_nothing_secret_is_shown() {
        let env = [
            ("PW", "secret-word"),
            ("AWS_SECRET_ACCESS_KEY", "aws-secret"),
            ("OTHER", "x"),
            ("LD_PRELOAD", "x"),
            ("RESTIC_PASSWORD_COMMAND", "x"),
            ("RESTIC_CACERT", "x"),
        ];
        let found = of("rest:https://me:my-password@host:8000/a@b", &env).unwrap();
        let names: Vec<_> = found.variables().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["RESTIC_REPOSITORY", "AWS_SECRET_ACCESS_KEY"]);
        assert_eq!(found.shown(), "rest:https://host:8000/a@b");
        let said = "me:my-password@ secret-word aws-secret";
        assert_eq!(found.hide(said), "***@ *** ***");
        let login =
            [("PW", "x"), ("RESTIC_REST_USERNAME", "me"), ("RESTIC_REST_PASSWORD", "a/b@ c")];
        let with = of("rest:https://host:8000/r", &login).unwrap();
        assert_eq!(*with.target, "rest:https://me:a%2Fb%40%20c@host:8000/r");
        assert_eq!(with.shown(), "rest:https://host:8000/r");
        assert_eq!(with.hide("me:a%2Fb%40%20c@ a/b@ c"), "***@ ***");
        assert_eq!(*of("rest:https://u:p@host/", &login).unwrap().target, "rest:https://u:p@host/");
        assert_eq!((with.missing(), found.missing()), (None, None));
        let missing = |target: &str| of(target, &[("PW", "x")]).unwrap().missing().is_some();
        assert!(missing("rest:http://h/") && missing("s3:s3.host/b") && !missing("/srv/r"));
        assert_eq!(of("s3:s3.host/bucket", &env).unwrap().shown(), "s3:s3.host/bucket");
        assert!(of("/srv/r", &[]).is_err_and(|why| why.contains("PW is not set")));
        assert!(of("/srv/r", &[("PW", "a\nb")]).is_err());
        let path = |target: &str| of(target, &env).unwrap().path().map(Path::to_owned);
        assert_eq!(path("local:/srv/r"), Some("/srv/r".into()));
        assert_eq!(path("sftp:host:/srv/r"), None);
        let here = of("/srv/r", &env).unwrap();
        assert_eq!(here.lock_file("0af"), Some("/srv/r/locks/0af".into()));
        assert_eq!(here.lock_file("../x"), None);
    }
}
