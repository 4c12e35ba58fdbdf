//! Which group may add files to `/etc/hopbox`: one that has nobody in it but the agent. A login's
//! own group is that on most systems, but not where many logins share one, such as "users".

use super::Failure;
use super::local::run;
use crate::sys::bounded;

/// Made where the login's group is shared. It has no members: the agent's unit alone names it.
const OWN: &str = "hopbox-agent";

/// The group's number, and its name if the unit must name it.
pub fn of(login: &str, gid: u32) -> Result<(u32, Option<&'static str>), Failure> {
    let group = run("getent", &["group", &gid.to_string()]).unwrap_or_default();
    let passwd = bounded::text("/etc/passwd").unwrap_or_default();
    if is_private(login, gid, &group, &passwd) {
        return Ok((gid, None));
    }
    let number = || {
        let line = run("getent", &["group", OWN]).ok()?;
        line.split(':').nth(2)?.parse().ok()
    };
    if number().is_none() {
        run("groupadd", &["--system", OWN])?;
    }
    let gone = || Failure::new(super::FAILED, "groupadd made no group", OWN, "getent group");
    number().map(|gid| (gid, Some(OWN))).ok_or_else(gone)
}

pub fn remove() {
    if run("getent", &["group", OWN]).is_ok() {
        if let Err(failure) = run("groupdel", &[OWN]) {
            super::local::warn(&failure);
        }
    }
}

/// `group`: its line in the group database.
fn is_private(login: &str, gid: u32, group: &str, passwd: &str) -> bool {
    let words: Vec<&str> = group.trim_end().split(':').collect();
    let [name, _, _, members] = words[..] else { return false };
    let number = gid.to_string();
    let others = passwd.lines().filter(|line| {
        let mut words = line.split(':');
        words.next() != Some(login) && words.nth(2) == Some(&number)
    });
    name == login
        && members.split(',').all(|member| member.is_empty() || member == login)
        && others.count() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_with_others_in_it_is_not_private() {
        let passwd = "root:x:0:0::/root:/bin/sh\ndev:x:2001:2001::/home/dev:/bin/sh\n\
                      pat:x:2002:100::/home/pat:/bin/sh\n";
        let private = |login, gid, group| is_private(login, gid, group, passwd);
        assert!(private("dev", 2001, "dev:x:2001:\n"));
        assert!(private("dev", 2001, "dev:x:2001:dev\n"));
        assert!(!private("dev", 2001, "dev:x:2001:dev,pat\n"), "a member");
        assert!(!private("dev", 100, "dev:x:100:\n"), "somebody's first group");
        assert!(!private("dev", 3000, "users:x:3000:\n"), "a group of many");
        assert!(!private("dev", 3000, ""), "unknown");
    }
}
