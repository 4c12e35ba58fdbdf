//! What is advised where no one command can help: each line of the table is typed as it stands,
//! where it would be, and shows something.

use hopbox::text::advice::{self, Effect, LOOK, TABLE};

use super::machine::Said;
use super::site::Site;

/// What stands for the `{}` of a form, by what it begins with; the first that fits.
const WORDS: [(&str, &[&str]); 14] = [
    ("cat /etc/resolv.conf", &["mybox.hop"]),
    ("hop run -H {} -- df", &["mybox", "/"]),
    ("hop ", &["mybox"]),
    ("ip route get 10.10.", &["0"]),
    ("ip route get", &["10.10.0.2"]),
    ("man", &["hop"]),
    ("ping", &["198.51.100.2"]),
    ("ssh -F", &[".ssh/config", "198.51.100.2 id"]),
    ("ssh-keygen -F {} -f", &["hopbox-mybox", ".config/hopbox/known_hosts"]),
    ("ssh-keygen -F", &["198.51.100.2"]),
    ("sudo {} status", &["/usr/libexec/hopbox/hop-agent"]),
    ("{} --version", &["ssh"]),
    ("{} -v", &["hop status"]),
    // Of files.
    ("", &["/etc/hosts", "/etc/passwd"]),
];

fn filled(form: &str) -> String {
    let (_, words) = WORDS.iter().find(|(begins, _)| form.starts_with(begins)).unwrap();
    let start = form.replace("<login>", "dev");
    words.iter().cycle().take(4).fold(start, |line, word| line.replacen("{}", word, 1))
}

/// With the tunnel up.
pub fn each_shows_something(site: &Site) {
    let rows = TABLE.iter().filter(|(_, effect)| *effect == Effect::Shows(LOOK));
    // One that ssh knows.
    site.laptop.ok_as("dev", "ssh 198.51.100.2 true");
    let (mut seen, mut silent) = (0, Vec::new());
    for (form, _) in rows {
        let line = filled(form);
        let on_vps = line.contains("hop-agent") && !line.starts_with("man");
        let machine = if on_vps { &site.vps } else { &site.laptop };
        let program = line.trim_start_matches("sudo ").trim_start_matches("-u dev ");
        let program = program.split(' ').next().unwrap();
        if machine.sh(&format!("command -v {program}")).code != 0 {
            eprintln!("NOTE {program}: not installed here, {line:?} is not tried");
            continue;
        }
        // What goes on until it is stopped is.
        let said =
            machine.sh_as("dev", &format!("PS4=; ulimit -c 0; timeout -s INT 3 sh -c '{line}'"));
        if !says_something(&said) {
            silent.push(format!("{line}: {said}"));
        }
        seen += 1;
    }
    assert!(silent.is_empty() && seen > 45, "{seen}: {silent:#?}");
}

/// It has run, and not only told how it is called.
fn says_something(said: &Said) -> bool {
    let understood = ![2, 126, 127].contains(&said.code) || said.err.contains("No such file");
    understood && said.out.len() + said.err.len() > 0
}

/// The same of one that was just advised, in the state that it was advised in.
pub fn shows_something(site: &Site, fix: &str) {
    // What it is there, for one that is typed over SSH.
    let bare = match fix.strip_prefix("ssh ") {
        Some(rest) => rest.trim_start_matches("-t ").split_once(' ').map_or(fix, |(_, it)| it),
        None => fix,
    };
    let shows = |form: &str| [bare, fix].iter().any(|line| advice::is_of(form, line));
    let mut rows = TABLE.iter().filter(|(_, effect)| *effect == Effect::Shows(LOOK));
    // It goes on for as long as nobody stops it.
    if bare.starts_with("ping ") || !rows.any(|(form, _)| shows(form)) {
        return;
    }
    let said =
        site.laptop.sh_as("dev", &format!("ulimit -c 0; {}", fix.replacen("ssh -t", "ssh", 1)));
    assert!(says_something(&said), "{fix}: {said}");
}
