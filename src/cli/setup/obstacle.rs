//! What keeps a server from being set up: found in its answers before anything is sent there, and
//! each with the command that helps.

use super::survey::Survey;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::ssh::right::{FENCED, Right};
use crate::ssh::run::Target;
use crate::text::fix::Fix;

/// Needed for both programs, the ones before them, and a log.
const DISK_KB: u64 = 64 * 1024;
/// And so many files.
const INODES: u64 = 64;

/// Where something is put on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Programs,
    Home,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    System,
    NoSystemd,
    NoTun,
    NoB2sum,
    NoSudo,
    /// What it makes of a command is no root that can do anything.
    Fenced,
    NoHome,
    /// The login may not write in its home.
    HomeClosed,
    /// A plain mount, or one that is an image.
    ReadOnly {
        place: Place,
        image: bool,
    },
    Disk {
        place: Place,
        free_kb: u64,
    },
    Inodes {
        place: Place,
        free: u64,
    },
}

/// The first that is in the way.
pub fn find(survey: &Survey) -> Option<Obstacle> {
    let yes = |fact: &str| survey.get(fact) == "yes";
    let number = |fact: &str| survey.get(fact).parse::<u64>().ok();
    let plain = [
        (survey.get("system") != "Linux", Obstacle::System),
        (!yes("systemd"), Obstacle::NoSystemd),
        (!yes("tun"), Obstacle::NoTun),
        (!yes("b2sum"), Obstacle::NoB2sum),
        (survey.sudo == Right::None, Obstacle::NoSudo),
        (survey.sudo == Right::Fenced, Obstacle::Fenced),
        (yes("no_home"), Obstacle::NoHome),
    ];
    if let Some((_, fault)) = plain.into_iter().find(|(there, _)| *there) {
        return Some(fault);
    }
    let image = yes("image");
    for (place, name) in [(Place::Programs, "disk"), (Place::Home, "home")] {
        if yes(&format!("{name}_ro")) {
            return Some(Obstacle::ReadOnly { place, image: image && place == Place::Programs });
        }
        if let Some(free_kb) = number(&format!("{name}_kb")).filter(|free| *free < DISK_KB) {
            return Some(Obstacle::Disk { place, free_kb });
        }
        if let Some(free) = number(&format!("{name}_inodes")).filter(|free| *free < INODES) {
            return Some(Obstacle::Inodes { place, free });
        }
    }
    yes("home_closed").then_some(Obstacle::HomeClosed)
}

impl Obstacle {
    fn why(&self, survey: &Survey) -> String {
        let at = |place: &Place| match place {
            Place::Programs => "/usr/libexec".to_owned(),
            Place::Home => format!("your home, {},", survey.get("home")),
        };
        match self {
            Obstacle::System => {
                format!("it runs {}, and a server must run Linux", survey.get("system"))
            }
            Obstacle::NoSystemd => {
                "it is not run by systemd, which is to start the agent".to_owned()
            }
            Obstacle::NoTun => "it has no /dev/net/tun, which a tunnel is made with".to_owned(),
            Obstacle::NoB2sum => {
                "it has no b2sum (GNU coreutils), which checks what is sent".to_owned()
            }
            Obstacle::NoSudo => {
                format!("{} is not root there, and there is no sudo", survey.get("user"))
            }
            Obstacle::Fenced => {
                format!("sudo there makes no root of {}: {FENCED}", survey.get("user"))
            }
            Obstacle::NoHome => format!("{}, your home there, is missing", survey.get("home")),
            Obstacle::HomeClosed => {
                format!("you may not write in {}, your home there", survey.get("home"))
            }
            Obstacle::ReadOnly { place, image: false } => {
                format!("{} is on a file system that is mounted read-only", at(place))
            }
            Obstacle::ReadOnly { image: true, .. } => {
                "its /usr is an image that is read-only, and the programs live in /usr/libexec: \
                 this system can be a server only while that is writable"
                    .to_owned()
            }
            Obstacle::Disk { place, free_kb } => {
                let (free, need) = (free_kb / 1024, DISK_KB / 1024);
                format!("{} has {free} MB free there, and {need} MB are needed", at(place))
            }
            Obstacle::Inodes { place, free } => format!(
                "{} has room for {free} more files (inodes) there, and {INODES} are needed",
                at(place)
            ),
        }
    }

    /// The one command that helps.
    pub fn next(&self, survey: &Survey, ssh: &Target, by_root: &Fix) -> Fix {
        let user = survey.get("user");
        match self {
            Obstacle::System => ssh.by_hand("uname -a"),
            Obstacle::NoSystemd => ssh.by_hand("ps -p 1"),
            Obstacle::NoTun => ssh.by_hand("sudo modprobe tun"),
            Obstacle::NoB2sum => ssh.by_hand("sudo apt-get install coreutils"),
            Obstacle::NoSudo | Obstacle::Fenced => by_root.clone(),
            Obstacle::NoHome => ssh.by_hand(fix!("sudo mkhomedir_helper {}", user)),
            Obstacle::HomeClosed => ssh.by_hand(fix!("sudo chown {} .", user)),
            Obstacle::ReadOnly { image: true, .. } => {
                ssh.by_hand("sudo ostree admin unlock --hotfix")
            }
            Obstacle::ReadOnly { place: Place::Programs, .. } => {
                ssh.by_hand("sudo mount -o remount,rw /usr")
            }
            Obstacle::ReadOnly { place: Place::Home, .. } => {
                ssh.by_hand("sudo mount -o remount,rw /home")
            }
            Obstacle::Disk { place: Place::Programs, .. } => ssh.by_hand("df -h /usr/libexec"),
            Obstacle::Disk { place: Place::Home, .. } => ssh.by_hand("df -h ."),
            Obstacle::Inodes { place: Place::Programs, .. } => ssh.by_hand("df -i /usr/libexec"),
            Obstacle::Inodes { place: Place::Home, .. } => ssh.by_hand("df -i ."),
        }
    }
}

/// `ssh` is where it is, `by_root` the same setup with another login.
pub fn check(survey: &Survey, ssh: &Target, by_root: &Fix) -> Result<(), Failure> {
    let Some(fault) = find(survey) else { return Ok(()) };
    let what = format!("{} cannot be set up", ssh.address);
    let (why, next) = (fault.why(survey), fault.next(survey, ssh, by_root));
    Err(Failure::new(Fault::Failed, what, why, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "hopbox-survey=1\nsystem=Linux\nuser=dev\nhome=/home/dev\nsystemd=yes\n\
        tun=yes\nb2sum=yes\ndisk_kb=1000000\nhome_kb=1000000\ndisk_inodes=9999\nhome_inodes=\n\
        sudo=free\nend=yes\n";

    #[test]
    fn every_fault_has_its_fix() {
        let (disk, home) = (Place::Programs, Place::Home);
        let ssh = Target { address: "vps".to_owned(), ..Target::default() };
        for (from, to, fault, said, next) in [
            ("system=Linux", "system=Plan 9", Obstacle::System, "runs Plan 9", "uname -a"),
            ("systemd=yes", "systemd=", Obstacle::NoSystemd, "systemd", "ps -p 1"),
            ("tun=yes", "x=y", Obstacle::NoTun, "/dev/net/tun", "modprobe tun"),
            ("b2sum=yes", "x=y", Obstacle::NoB2sum, "b2sum", "install coreutils"),
            ("sudo=free", "sudo=none", Obstacle::NoSudo, "no sudo", "hop setup"),
            ("sudo=free", "sudo=fenced", Obstacle::Fenced, "runas_default", "hop setup"),
            (
                "tun=yes",
                "tun=yes\nno_home=yes",
                Obstacle::NoHome,
                "missing",
                "mkhomedir_helper dev",
            ),
            (
                "tun=yes",
                "tun=yes\nhome_closed=yes",
                Obstacle::HomeClosed,
                "not write",
                "chown dev .",
            ),
            (
                "tun=yes",
                "tun=yes\ndisk_ro=yes",
                Obstacle::ReadOnly { place: disk, image: false },
                "/usr/libexec is on",
                "remount,rw /usr",
            ),
            (
                "tun=yes",
                "tun=yes\ndisk_ro=yes\nimage=yes",
                Obstacle::ReadOnly { place: disk, image: true },
                "an image",
                "ostree admin unlock",
            ),
            (
                "tun=yes",
                "tun=yes\nhome_ro=yes\nimage=yes",
                Obstacle::ReadOnly { place: home, image: false },
                "/home/dev",
                "remount,rw /home",
            ),
            (
                "disk_kb=1000000",
                "disk_kb=1000",
                Obstacle::Disk { place: disk, free_kb: 1000 },
                "/usr/libexec has 0 MB",
                "df -h /usr/libexec",
            ),
            (
                "home_kb=1000000",
                "home_kb=2048",
                Obstacle::Disk { place: home, free_kb: 2048 },
                "has 2 MB",
                "df -h .",
            ),
            (
                "disk_inodes=9999",
                "disk_inodes=3",
                Obstacle::Inodes { place: disk, free: 3 },
                "3 more files",
                "df -i /usr/libexec",
            ),
            (
                "home_inodes=",
                "home_inodes=0",
                Obstacle::Inodes { place: home, free: 0 },
                "0 more files",
                "df -i .",
            ),
        ] {
            let survey = Survey::parse(&GOOD.replace(from, to)).unwrap();
            assert_eq!(find(&survey), Some(fault), "{to}");
            let failure = check(&survey, &ssh, &"hop setup".into()).err().unwrap();
            assert!(failure.why.contains(said), "{to}: {}", failure.why);
            assert!(failure.next.contains(next), "{to}: {:?}", failure.next);
        }
        check(&Survey::parse(GOOD).unwrap(), &ssh, &"hop setup".into()).unwrap();
    }
}
