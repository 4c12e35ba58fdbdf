//! What is said of the programs that run on a host: by `hop doctor`, `hop status -v` and
//! `hop setup`. Nothing of it is in a tunnel's way.

use super::command::Call;
use super::page::{Line, Page, VALUES};
use crate::deploy::running::{self, Judged, Verdict};
use crate::deploy::verify;
use crate::fix;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::session::diagnose::Check;

const WHAT: &str = "programs";
/// Of a digest's 128 digits.
const DIGITS: usize = 16;

/// Nothing of a host that is not up.
pub fn look(paths: &Paths, host: &HostConfig) -> Vec<Judged> {
    verify::running(paths, host).map_or_else(Vec::new, |told| running::compared(&told))
}

pub fn checks(paths: &Paths, host: &HostConfig) -> Vec<Check> {
    look(paths, host).iter().map(|one| check(&host.name, one)).collect()
}

fn check(host: &str, one: &Judged) -> Check {
    let cause = format!("{}: {}", one.name, one.in_words());
    let fault = match one.verdict {
        Verdict::Replaced => "program_replaced",
        Verdict::Other => "program_other",
        _ => return Check::fine(WHAT, cause),
    };
    let digest = one.digest.as_ref().and_then(|hex| hex.get(..DIGITS));
    let evidence = match digest {
        Some(digest) => format!("what runs is {digest} by b2sum, version {}", one.version),
        None => format!("what runs is version {}, from a file that is gone", one.version),
    };
    Check::fault(WHAT, fault, cause, evidence, fix!("hop upgrade {}", host))
}

pub fn add(page: &mut Page, all: &[Judged]) {
    for one in all {
        page.add(Line::row("program", VALUES, format!("{}: {}", one.name, one.in_words())));
    }
}

/// After a setup, which leaves what works as it is.
pub fn tell(call: &mut Call, host: &str, all: &[Judged]) {
    let faults = all.iter().filter(|one| one.verdict.is_fault());
    let names: Vec<String> =
        faults.map(|one| format!("{}: {}", one.name, one.in_words())).collect();
    if !names.is_empty() {
        let next = fix!("hop upgrade {}", host);
        call.out.warn("program_other", &format!("{}: {next}", names.join("; ")));
        return;
    }
    let are =
        |wanted: &[Verdict]| !all.is_empty() && all.iter().all(|one| wanted.contains(&one.verdict));
    if are(&[Verdict::Released]) {
        call.out.say("what runs there is as released");
    } else if are(&[Verdict::Released, Verdict::Ours]) {
        call.out.say("what runs there is what this laptop installs");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_to_be_done_about_a_program_is_one_command() {
        let judged = |verdict, digest: Option<&str>| Judged {
            name: "hop-helper",
            version: "0.1.0".to_owned(),
            digest: digest.map(str::to_owned),
            verdict,
        };
        let all = [
            (Verdict::Released, None),
            (Verdict::Ours, None),
            (Verdict::Other, Some("program_other")),
            (Verdict::Replaced, Some("program_replaced")),
            (Verdict::AnotherVersion, None),
            (Verdict::Alone, None),
            (Verdict::Untold, None),
        ];
        for (verdict, fault) in all {
            for digest in [None, Some("0123456789abcdef0123")] {
                let check = check("mybox", &judged(verdict, digest));
                assert_eq!(check.fault, fault, "{verdict:?}");
                assert_eq!(verdict.is_fault(), fault.is_some(), "{verdict:?}");
                let advised = fault.map_or("", |_| "hop upgrade mybox");
                assert_eq!(&*check.fix, advised, "{verdict:?}");
                assert!(check.cause.starts_with("hop-helper: "), "{}", check.cause);
            }
        }
        let untold = check("mybox", &judged(Verdict::Untold, None));
        assert!(untold.cause.contains("0.1.0 does not tell"), "{}", untold.cause);
    }
}
