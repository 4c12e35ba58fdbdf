//! What keeps a server from being set up: found in its answers before anything is sent there, and
//! each with the command that helps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::preflight::{self, Survey};
use crate::base::failure::{Failure, Fault};
use crate::base::time_text::took;
use crate::fix;
use crate::ssh::connection::Connection;
use crate::ssh::right::{FENCED, Right};
use crate::ssh::script::WHOLE;
use crate::ssh::target::Target;
use crate::text::fix::Fix;

/// Needed for both programs, the ones before them, and a log.
const DISK_KB: u64 = 64 * 1024;
/// And so many files.
const INODES: u64 = 64;
const LOOK_LIMIT: Duration = Duration::from_secs(30);

/// Systems whose /usr can be made writable by nobody, because it is an image that is checked.
const IMAGES: [&str; 4] = ["bottlerocket", "cos", "flatcar", "talos"];
/// Makes room for programs over such a /usr, also after the next start.
const OVERLAY: &str = "sudo sh -c 'cd /var/lib && mkdir -p libexec/upper libexec/work && \
    echo overlay /usr/libexec overlay lowerdir=/usr/libexec,upperdir=/var/lib/libexec/upper,\
workdir=/var/lib/libexec/work 0 0 >>/etc/fstab && mount /usr/libexec'";

/// Where something is put on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Programs,
    Units,
    Home,
}

/// What keeps a place from being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// A plain mount.
    Mount,
    /// An image of ostree's, which can be unlocked.
    Ostree,
    /// Another image.
    Image,
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
    /// A system that is made of its configuration alone.
    NixOs,
    ReadOnly {
        place: Place,
        by: Closed,
    },
    /// SELinux is in force, and would keep systemd from what is put there.
    Label,
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
        (survey.get("os") == "nixos", Obstacle::NixOs),
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
    let places = [(Place::Programs, "disk"), (Place::Units, "units"), (Place::Home, "home")];
    for (place, name) in places {
        if !survey.get(&format!("{name}_ro")).is_empty() {
            let by = match place {
                Place::Programs if yes("image") => Closed::Ostree,
                Place::Programs if IMAGES.contains(&survey.get("os")) => Closed::Image,
                _ => Closed::Mount,
            };
            return Some(Obstacle::ReadOnly { place, by });
        }
        if place == Place::Units {
            continue;
        }
        if let Some(free_kb) = number(&format!("{name}_kb")).filter(|free| *free < DISK_KB) {
            return Some(Obstacle::Disk { place, free_kb });
        }
        if let Some(free) = number(&format!("{name}_inodes")).filter(|free| *free < INODES) {
            return Some(Obstacle::Inodes { place, free });
        }
    }
    if !["", "?", "bin_t"].contains(&survey.get("selinux")) {
        return Some(Obstacle::Label);
    }
    yes("home_closed").then_some(Obstacle::HomeClosed)
}

impl Obstacle {
    fn why(&self, survey: &Survey) -> String {
        let at = |place: &Place| match place {
            Place::Programs => "/usr/libexec".to_owned(),
            Place::Units => "/etc/systemd/system".to_owned(),
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
            Obstacle::NixOs => {
                "it runs NixOS, whose programs and units come from its configuration \
                 alone: setup can install nothing there, so it has to be another server"
                    .to_owned()
            }
            Obstacle::ReadOnly { place, by: Closed::Mount } => {
                format!("{} is on a file system that is mounted read-only", at(place))
            }
            Obstacle::ReadOnly { by: Closed::Ostree, .. } => {
                "its /usr is an image that is read-only, and the programs live in /usr/libexec: \
                 this system can be a server only while that is writable"
                    .to_owned()
            }
            Obstacle::ReadOnly { by: Closed::Image, .. } => {
                "its /usr is an image that is read-only, and the programs live in /usr/libexec: \
                 a file system over that takes them"
                    .to_owned()
            }
            Obstacle::Label => format!(
                "SELinux is in force there, and what is put into /usr/libexec would be {} \
                 instead of bin_t: systemd could not start it",
                survey.get("selinux")
            ),
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
            Obstacle::NixOs => ssh.by_hand("cat /etc/os-release"),
            Obstacle::ReadOnly { by: Closed::Ostree, .. } => {
                ssh.by_hand("sudo ostree admin unlock --hotfix")
            }
            Obstacle::ReadOnly { by: Closed::Image, .. } => ssh.by_hand(OVERLAY),
            Obstacle::ReadOnly { place, .. } => {
                let fact = match place {
                    Place::Programs => "disk_ro",
                    Place::Units => "units_ro",
                    Place::Home => "home_ro",
                };
                ssh.by_hand(fix!("sudo mount -o remount,rw {}", survey.get(fact)))
            }
            Obstacle::Label => ssh.by_hand("sudo restorecon -RF /usr/libexec"),
            Obstacle::Disk { place: Place::Home, .. } => ssh.by_hand("df -h ."),
            Obstacle::Disk { .. } => ssh.by_hand("df -h /usr/libexec"),
            Obstacle::Inodes { place: Place::Home, .. } => ssh.by_hand("df -i ."),
            Obstacle::Inodes { .. } => ssh.by_hand("df -i /usr/libexec"),
        }
    }
}

/// What helps after a failure that the server did not explain: it is looked at once more.
pub fn helps(connection: &Connection, ssh: &Target, by_root: &Fix) -> Fix {
    let asked = connection.run(WHOLE, preflight::script().as_bytes(), LOOK_LIMIT);
    let survey = asked.ok().and_then(|done| Survey::parse(&done.text()));
    let fault = survey.as_ref().and_then(find);
    match (survey, fault) {
        (Some(survey), Some(fault)) => fault.next(&survey, ssh, by_root),
        (Some(survey), None) if !survey.get("selinux").is_empty() => {
            ssh.by_hand("sudo ausearch -m avc -ts recent")
        }
        _ => ssh.by_hand("sudo journalctl -n 50"),
    }
}

/// How far a server's clock may be off without a word.
const CLOCK_S: u64 = 300;

/// Does not stop anything here, but what it logs is not found, and other programs fail.
pub fn clock(survey: &Survey, ssh: &Target) -> Option<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    let theirs = survey.get("now").parse::<u64>().ok()?;
    let by = now.abs_diff(theirs);
    let way = if theirs > now { "ahead of" } else { "behind" };
    let off = took(Duration::from_secs(by));
    let helps = ssh.by_hand("sudo timedatectl set-ntp true");
    (by > CLOCK_S).then(|| format!("the server's clock is {off} {way} this laptop's: {helps}"))
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
                "tun=yes\ndisk_ro=/usr",
                Obstacle::ReadOnly { place: disk, by: Closed::Mount },
                "/usr/libexec is on",
                "remount,rw /usr",
            ),
            ("tun=yes", "tun=yes\nos=nixos", Obstacle::NixOs, "another server", "os-release"),
            (
                "tun=yes",
                "tun=yes\nselinux=usr_t",
                Obstacle::Label,
                "would be usr_t",
                "restorecon -RF",
            ),
            (
                "tun=yes",
                "tun=yes\nos=flatcar\ndisk_ro=/usr",
                Obstacle::ReadOnly { place: disk, by: Closed::Image },
                "an image",
                "overlay /usr/libexec",
            ),
            (
                "tun=yes",
                "tun=yes\nunits_ro=/etc",
                Obstacle::ReadOnly { place: Place::Units, by: Closed::Mount },
                "/etc/systemd/system is on",
                "remount,rw /etc",
            ),
            (
                "tun=yes",
                "tun=yes\ndisk_ro=/\nimage=yes",
                Obstacle::ReadOnly { place: disk, by: Closed::Ostree },
                "an image",
                "ostree admin unlock",
            ),
            (
                "tun=yes",
                "tun=yes\nhome_ro=/home\nimage=yes",
                Obstacle::ReadOnly { place: home, by: Closed::Mount },
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
        for more in ["selinux=bin_t\n", "selinux=?\n", "os=flatcar\n", "image=yes\n", ""] {
            let survey = Survey::parse(&GOOD.replace("end=", &format!("{more}end="))).unwrap();
            check(&survey, &ssh, &"hop setup".into()).unwrap();
        }
    }

    #[test]
    fn a_clock_that_is_far_off_is_told() {
        let ssh = Target { address: "vps".to_owned(), ..Target::default() };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let told = |theirs: u64| {
            let text = GOOD.replace("end=", &format!("now={theirs}\nend="));
            clock(&Survey::parse(&text).unwrap(), &ssh)
        };
        assert_eq!((told(now), told(now - 200)), (None, None));
        let said = told(now + 90_000).unwrap();
        assert!(said.contains("ahead of") && said.contains("set-ntp true"), "{said}");
        assert!(told(7).unwrap().contains("behind"));
        assert_eq!(clock(&Survey::parse(GOOD).unwrap(), &ssh), None);
    }
}
