//! Which of our programs a server gets that has some: decided by version, before root acts.
//! Those of a newer hop stay, for the sake of the laptops that it serves.

use std::cmp::Ordering;

use super::artifacts::Programs;
use super::preflight::Survey;
use crate::rpc::VERSION;
use crate::ssh::upload::Upload;

/// What is replaced of what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy<'a> {
    /// What does not work, or is older.
    KeepWorking,
    /// What is another build than ours, and those of these names, which need a new start.
    Exact { again: &'a [String] },
}

/// Those that are to be sent: a helper never without what installs it, and that for the firewall
/// where nft(8) is, which it runs.
pub fn missing(survey: &Survey, programs: Programs, policy: Policy) -> Vec<Upload> {
    let Programs { agent, helper, installer, server } = programs;
    let needs = |program: &Upload| needs(survey, program, policy);
    let both = needs(&helper) || needs(&installer);
    let server = server.filter(|server| survey.get("nft") == "yes" && needs(server));
    let wanted = [
        needs(&agent).then_some(agent),
        both.then_some(helper),
        (both || server.is_some()).then_some(installer),
        server,
    ];
    wanted.into_iter().flatten().collect()
}

fn needs(survey: &Survey, upload: &Upload, policy: Policy) -> bool {
    // The survey's names have no prefix.
    let name = upload.name.strip_prefix("hop-").unwrap_or(upload.name);
    let is_there = survey.get(name) == upload.hash;
    if let Policy::Exact { again } = policy {
        return !is_there || again.iter().any(|name| name == upload.name);
    }
    if is_there {
        return false;
    }
    match version(survey, name) {
        None => true,
        Some(theirs) => match compare(theirs, VERSION) {
            Ordering::Less => true,
            // Another build of the same: only an upgrade replaces what works.
            Ordering::Equal => survey.get(&format!("active_{name}")) != "yes",
            Ordering::Greater => false,
        },
    }
}

/// The agent's version, where it is newer than ours.
pub fn newer(survey: &Survey) -> Option<&str> {
    version(survey, "agent").filter(|theirs| compare(theirs, VERSION) == Ordering::Greater)
}

/// What a program there says of itself; nothing if it does not run.
fn version<'a>(survey: &'a Survey, name: &str) -> Option<&'a str> {
    let said = survey.get(&format!("version_{name}"));
    let mut words = said.strip_prefix("hop-")?.strip_prefix(name)?.split_whitespace();
    words.next()
}

/// Numbers by their value; what is not released yet comes before it is.
fn compare(a: &str, b: &str) -> Ordering {
    let parts = |text: &str| {
        let text = text.split('+').next().unwrap_or_default();
        let (numbers, rest) = text.split_once('-').unwrap_or((text, ""));
        let numbers: Vec<u64> = numbers.split('.').map(|n| n.parse().unwrap_or(0)).collect();
        (numbers, rest.is_empty(), rest.to_owned())
    };
    parts(a).cmp(&parts(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_the_order_of_their_release() {
        let order = ["0.1.0-rc1", "0.1.0-rc2", "0.1.0", "0.1.9", "0.1.10", "0.2.0", "1.0.0"];
        for pair in order.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare("0.1.0", "0.1.0+here"), Ordering::Equal);
    }

    #[test]
    fn a_program_stays_unless_it_is_older_or_does_not_work() {
        let own = std::env::current_exe().unwrap();
        let upload = Upload::load("hop-agent", &own).unwrap();
        let needs = |facts: &str| {
            let text = format!("hopbox-survey=1\nsudo=free\n{facts}\nend=yes\n");
            let survey = Survey::parse(&text).unwrap();
            (needs(&survey, &upload, Policy::KeepWorking), newer(&survey).is_some())
        };
        assert_eq!(needs(""), (true, false));
        assert_eq!(needs("version_agent=hop-agent 0.0.1\nactive_agent=yes"), (true, false));
        let same = format!("version_agent=hop-agent {VERSION}");
        assert_eq!(needs(&same), (true, false), "it does not run");
        assert_eq!(needs(&format!("{same}\nactive_agent=yes")), (false, false));
        assert_eq!(needs(&format!("agent={}", upload.hash)), (false, false));
        assert_eq!(needs("version_agent=hop-agent 9.0.0"), (false, true));
        assert_eq!(needs("version_agent=Segmentation fault"), (true, false));

        let exact = |facts: &str, again: &[String]| {
            let text = format!("hopbox-survey=1\nsudo=free\n{facts}\nend=yes\n");
            super::needs(&Survey::parse(&text).unwrap(), &upload, Policy::Exact { again })
        };
        let there = format!("agent={}", upload.hash);
        assert!(exact(&format!("{same}\nactive_agent=yes"), &[]), "another build");
        assert!(!exact(&there, &[]) && !exact(&there, &["hop-helper".to_owned()]));
        assert!(exact(&there, &["hop-agent".to_owned()]), "it waits for a new start");
    }
}
