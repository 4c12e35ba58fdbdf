//! What keeps a server from being set up: found in its answers before anything is sent there, and
//! each with the command that helps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::preflight::Survey;
use crate::base::time_text::took;
use crate::fix;
use crate::ssh::right::{FENCED, Right};
use crate::ssh::target::Target;
use crate::text::fix::Fix;

/// Needed for both programs, the ones before them, and a log.
const DISK_KB: u64 = 64 * 1024;
/// And so many files.
const INODES: u64 = 64;

/// Systems whose /usr can be made writable by nobody, because it is an image that is checked.
const IMAGES: [&str; 4] = ["bottlerocket", "cos", "flatcar", "talos"];
/// Makes room for programs over such a /usr, also after the next start.
const OVERLAY: &str = "cd /var/lib && mkdir -p libexec/upper libexec/work && \
    echo overlay /usr/libexec overlay lowerdir=/usr/libexec,upperdir=/var/lib/libexec/upper,\
workdir=/var/lib/libexec/work 0 0 >>/etc/fstab && mount /usr/libexec";

/// What is in the way, and the one command that helps.
pub struct Obstacle {
    pub why: String,
    pub next: Fix,
}

/// The first that is in the way. `root` tells how this login becomes root, where it cannot.
pub fn find(survey: &Survey, ssh: &Target, root: &dyn Fn() -> Fix) -> Option<Obstacle> {
    let (user, home) = (survey.get("user"), survey.get("home"));
    let yes = |fact: &str| survey.get(fact) == "yes";
    let there = |why: String, next: Fix| Some(Obstacle { why, next: ssh.by_hand(next) });
    if survey.get("system") != "Linux" {
        let why = format!("it runs {}, and a server must run Linux", survey.get("system"));
        return there(why, "uname -a".into());
    }
    if survey.get("os") == "nixos" {
        let why = "it runs NixOS, whose programs and units come from its configuration alone: \
                   setup can install nothing there, so it has to be another server";
        return there(why.to_owned(), "cat /etc/os-release".into());
    }
    if !yes("systemd") {
        let why = "it is not run by systemd, which is to start the agent";
        return there(why.to_owned(), "ps -p 1".into());
    }
    // A container cannot load it; there the agent serves in userspace.
    if !yes("tun") && !yes("container") {
        let why = "it has no /dev/net/tun, which a tunnel is made with: the command below \
                   brings it, or says why this kernel cannot";
        return there(why.to_owned(), "sudo modprobe tun".into());
    }
    if !yes("b2sum") {
        let why = "it has no b2sum (GNU coreutils), which checks what is sent";
        return there(why.to_owned(), fix!("sudo {}", survey.installs("coreutils")));
    }
    let no_root = match survey.sudo {
        Right::None => Some(format!("{user} is not root there, and there is no sudo")),
        Right::Fenced => Some(format!("sudo there makes no root of {user}: {FENCED}")),
        _ => None,
    };
    if let Some(why) = no_root {
        return Some(Obstacle { why, next: root() });
    }
    if yes("no_home") {
        let why = format!("{home}, your home there, is missing");
        return there(why, fix!("sudo mkhomedir_helper {}", user));
    }
    let place = |place: Place| place.obstacle(survey).and_then(|(why, next)| there(why, next));
    if let Some(found) = Place::ALL.into_iter().find_map(place) {
        return Some(found);
    }
    if !["", "?", "bin_t"].contains(&survey.get("selinux")) {
        let why = format!(
            "SELinux is in force there, and what is put into /usr/libexec would be {} instead of \
             bin_t: systemd could not start it",
            survey.get("selinux")
        );
        return there(why, "sudo restorecon -RFv /usr/libexec".into());
    }
    if yes("home_closed") {
        let why = format!("you may not write in {home}, your home there");
        // Whoever may not enter it is somewhere else there.
        return there(why, fix!("sudo chown {} {}", user, home));
    }
    None
}

/// Where something is put on the server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Programs,
    Units,
    Home,
}

impl Place {
    const ALL: [Place; 3] = [Place::Programs, Place::Units, Place::Home];

    /// What its facts begin with, its path for the login's shell there, and its name for people.
    fn names(self, survey: &Survey) -> (&'static str, &'static str, String) {
        match self {
            Place::Programs => ("disk", "/usr/libexec", "/usr/libexec".to_owned()),
            Place::Units => ("units", "/etc/systemd/system", "/etc/systemd/system".to_owned()),
            Place::Home => ("home", ".", format!("your home, {},", survey.get("home"))),
        }
    }

    fn obstacle(self, survey: &Survey) -> Option<(String, Fix)> {
        let (fact, path, name) = self.names(survey);
        let number = |of: &str| survey.get(&format!("{fact}_{of}")).parse::<u64>().ok();
        let mount = survey.get(&format!("{fact}_ro")).to_owned();
        if !mount.is_empty() {
            return Some(self.read_only(survey, &name, &mount));
        }
        if self == Place::Units {
            return None;
        }
        if let Some(free) = number("kb").filter(|free| *free < DISK_KB) {
            let (free, need) = (free / 1024, DISK_KB / 1024);
            let why = format!("{name} has {free} MB free there, and {need} MB are needed");
            return Some((why, fix!("df -h {}", path)));
        }
        let free = number("inodes").filter(|free| *free < INODES)?;
        let why = format!(
            "{name} has room for {free} more files (inodes) there, and {INODES} are needed"
        );
        Some((why, fix!("df -i {}", path)))
    }

    fn read_only(self, survey: &Survey, name: &str, mount: &str) -> (String, Fix) {
        let is_image = survey.get("image") == "yes" || IMAGES.contains(&survey.get("os"));
        if self == Place::Programs && is_image {
            let why = "its /usr is an image that is read-only, and the programs live in \
                       /usr/libexec: a file system over that takes them";
            return (why.to_owned(), fix!("sudo sh -c {}", OVERLAY));
        }
        let why = format!("{name} is on a file system that is mounted read-only");
        (why, fix!("sudo mount -o remount,rw {}", mount))
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
    let helps = ssh.by_hand("timedatectl");
    (by > CLOCK_S).then(|| format!("the server's clock is {off} {way} this laptop's: {helps}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "hopbox-survey=1\nsystem=Linux\nuser=dev\nhome=/home/dev\nsystemd=yes\n\
        tun=yes\nb2sum=yes\ndisk_kb=1000000\nhome_kb=1000000\ndisk_inodes=9999\nhome_inodes=\n\
        package=dnf\nsudo=free\nend=yes\n";

    fn found(text: &str) -> Option<Obstacle> {
        let ssh = Target { address: "vps".to_owned(), ..Target::default() };
        find(&Survey::parse(text).unwrap(), &ssh, &|| "become root".into())
    }

    #[test]
    fn every_obstacle_has_its_fix() {
        let (image, flatcar) =
            ("tun=yes\ndisk_ro=/\nimage=yes", "tun=yes\nos=flatcar\ndisk_ro=/usr");
        let home = "tun=yes\nhome_ro=/home\nimage=yes";
        for (from, to, said, next) in [
            ("system=Linux", "system=OpenBSD", "OpenBSD", "uname"),
            ("systemd=yes", "", "systemd", "ps -p 1"),
            ("tun=yes", "", "/dev/net/tun", "modprobe tun"),
            ("b2sum=yes", "", "b2sum", "dnf install -y coreutils"),
            ("sudo=free", "sudo=none", "no sudo", "become root"),
            ("sudo=free", "sudo=fenced", "runas_default", "become root"),
            ("tun=yes", "tun=yes\nno_home=yes", "missing", "mkhomedir_helper dev"),
            ("tun=yes", "tun=yes\nhome_closed=yes", "not write", "chown dev /home/dev"),
            ("tun=yes", "tun=yes\ndisk_ro=/usr", "/usr/libexec is on", "remount,rw /usr"),
            ("tun=yes", "tun=yes\nos=nixos", "another server", "os-release"),
            ("tun=yes", "tun=yes\nselinux=usr_t", "would be usr_t", "restorecon -RFv"),
            ("tun=yes", flatcar, "an image", "overlay /usr/libexec"),
            ("tun=yes", "tun=yes\nunits_ro=/etc", "/etc/systemd/system is on", "remount,rw /etc"),
            ("tun=yes", image, "an image", "overlay /usr/libexec"),
            ("tun=yes", home, "/home/dev", "remount,rw /home"),
            ("disk_kb=1000000", "disk_kb=1000", "/usr/libexec has 0 MB", "df -h /usr/libexec"),
            ("home_kb=1000000", "home_kb=2048", "has 2 MB", "df -h ."),
            ("disk_inodes=9999", "disk_inodes=3", "3 more files", "df -i /usr/libexec"),
            ("home_inodes=", "home_inodes=0", "0 more files", "df -i ."),
        ] {
            let obstacle = found(&GOOD.replace(from, to)).unwrap_or_else(|| panic!("{to}"));
            assert!(obstacle.why.contains(said), "{to}: {}", obstacle.why);
            assert!(obstacle.next.contains(next), "{to}: {:?}", obstacle.next);
        }
        for more in ["selinux=bin_t\n", "selinux=?\n", "os=flatcar\n", "image=yes\n", ""] {
            assert!(found(&GOOD.replace("end=", &format!("{more}end="))).is_none(), "{more}");
        }
        assert!(found(&GOOD.replace("tun=yes", "container=yes")).is_none(), "it needs none there");
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
        assert!(said.contains("ahead of") && said.ends_with("timedatectl"), "{said}");
        assert!(told(7).unwrap().contains("behind"));
        assert_eq!(clock(&Survey::parse(GOOD).unwrap(), &ssh), None);
    }
}
