//! Keys, logins and shells of all sorts, and those that may not become root.

use super::lab;
use super::machine::{Machine, PASSWORD, Said};
use super::site::{Site, admit};

const VPS: &str = "198.51.100.2";

#[test]
fn a_key_with_a_passphrase_is_asked_for_once_or_named() {
    lab::inside("logins::a_key_with_a_passphrase_is_asked_for_once_or_named", || {
        let site = Site::boot().with_helper();
        let laptop = &site.laptop;
        let key = ".ssh/id_ed25519";
        laptop.ok_as("dev", &format!("ssh {VPS} true; ssh-keygen -q -p -N {PASSWORD} -f {key}"));
        let line = format!("hop setup mybox -a {VPS}");
        // At a terminal that may not be used, and without one.
        let words = ["has a passphrase", "fix: ssh-add /home/dev/.ssh/id_ed25519"];
        let quiet = laptop.dialogue("dev", &format!("{line} --no-input"), &[]);
        for said in [quiet, laptop.sh_as("dev", &line)] {
            assert_eq!(said.code, 13, "{said}");
            let text = format!("{}{}", said.out, said.err);
            assert!(words.iter().all(|word| text.contains(word)), "{said}");
            assert!(!text.contains("Enter passphrase"), "{said}");
        }
        // A key that the server does not know: no passphrase helps.
        laptop.ok_as("dev", &format!("ssh-keygen -q -t ed25519 -N {PASSWORD} -f other"));
        let stranger = site.hop(&format!("--no-input setup mybox -a {VPS} -k other"));
        assert!(stranger.code == 6 && stranger.err.contains("does not let you in"), "{stranger}");
        assert_eq!(site.vps.ok("ls -A /home/dev"), ".ssh\n");

        let set = laptop.dialogue("dev", &format!("{line} -y"), &[("Enter passphrase", PASSWORD)]);
        assert!(set.code == 0 && set.out.contains("mybox is ready"), "{set}");
        assert_eq!(set.out.matches("Enter passphrase").count(), 1, "{set}");
        // The agent has it: nothing is asked.
        std::fs::write(laptop.path("/opt/pass"), format!("#!/bin/sh\necho {PASSWORD}\n")).unwrap();
        let agent = "eval $(ssh-agent) >&2; export SSH_ASKPASS=/opt/pass SSH_ASKPASS_REQUIRE=force; \
             ssh-add /home/dev/.ssh/id_ed25519; \
             hop --no-input --json setup mybox; code=$?; ssh-agent -k >&2; exit $code";
        laptop.ok("chmod 755 /opt/pass");
        let set = laptop.sh_as("dev", agent);
        assert!(set.code == 0 && set.out.contains("\"ok\":true"), "{set}");
    });
}

/// Port 2222 as well, and root by the lab's key.
fn open_to_root(vps: &Machine) {
    vps.ok("install -d -m 0700 /root/.ssh && cp /home/dev/.ssh/authorized_keys /root/.ssh/ && \
        printf 'Port 22\\nPort 2222\\n' >>/etc/ssh/sshd_config && systemctl restart sshd-here && \
        for i in $(seq 100); do grep -q ':08AE .* 0A ' /proc/net/tcp && exit; sleep 0.1; done");
}

#[test]
fn root_another_port_and_any_shell_will_do() {
    lab::inside("logins::root_another_port_and_any_shell_will_do", || {
        let site = Site::boot().with_helper();
        let (laptop, vps) = (&site.laptop, &site.vps);
        open_to_root(vps);
        let set = under_a_hostile_configuration(&site);
        assert!(set.code == 0 && set.err.contains("logged in as root"), "{set}");
        assert!(set.err.contains("the agent runs as root"), "{set}");
        assert_eq!(vps.ok("systemctl show -P User hop-agent"), "root\n");
        let host = laptop.ok("cat /home/dev/.config/hopbox/hosts/mybox.json");
        assert!(host.contains("\"root\"") && host.contains("2222"), "{host}");
        site.hop_ok("up");
        site.hop_ok("status");
        std::fs::write(laptop.path("/usr/local/bin/code"), "#!/bin/sh\n").unwrap();
        laptop.ok("chmod 755 /usr/local/bin/code");
        site.hop_ok("code");
        the_block_wins(laptop);
        let name =
            laptop.ok_as("dev", "ssh -o BatchMode=yes mybox.hop 'id -un; echo $SSH_CONNECTION'");
        assert!(name.starts_with("root\n10.10.0.1 ") && name.ends_with(" 2222\n"), "{name}");
        site.hop_ok("down");
        over_ssh(&site);
        remove(&site);
        calm(laptop);

        // A shell that speaks up, and such as are no sh.
        speak_up(&site);
        vps.ok("ln -s $(command -v busybox) /usr/bin/ash");
        for shell in ["/bin/bash", "/usr/bin/ash", "/usr/bin/zsh", "/usr/bin/fish", "/bin/csh"] {
            if !vps.path(shell).exists() {
                assert!(std::env::var_os("CI").is_none(), "in CI there is every shell: {shell}");
                eprintln!("SKIP login shell {shell}: it is not installed");
                continue;
            }
            vps.ok(&format!("usermod -s {shell} dev"));
            let heard = laptop.ok_as("dev", &format!("ssh {VPS} true"));
            // ash has no start-up file for a command.
            let loud = heard.len() > 1 << 20 && heard.contains("hopbox-survey=1");
            assert_eq!(loud, shell != "/usr/bin/ash", "{shell}");
            let set = site.hop(&format!("setup mybox -a {VPS} -u dev"));
            assert!(set.code == 0 && !set.err.contains("runs as root"), "{shell}: {set}");
            assert_eq!(vps.ok("systemctl show -P User hop-agent"), "dev\n");
            over_ssh(&site);
        }
        upgrade(&site);
        remove(&site);
    });
}

/// Everything that could keep a command of ours from running or speaking.
const LOUD: &str = r#"Host *
  RemoteCommand echo hostile
  RequestTTY force
  SessionType none
  StdinNull yes
  ForkAfterAuthentication yes
  PermitLocalCommand yes
  LocalCommand touch /home/dev/hostile
  LocalForward 22 localhost:22
  RemoteForward 22 localhost:22
  DynamicForward 22
  ExitOnForwardFailure yes
  GatewayPorts yes
  ControlMaster auto
  ControlPath /home/dev/.ssh/one
  ControlPersist yes
  Tunnel yes
  EscapeChar none
  LogLevel QUIET
  VisualHostKey yes
  SendEnv *
  SetEnv HOSTILE=yes
  UpdateHostKeys yes
"#;
/// And what would lead elsewhere, or nowhere.
const ASTRAY: &str = r#"  HostName 192.0.2.1
  User mallory
  Port 1
  ProxyCommand false
  ProxyJump nobody@192.0.2.1
  BindAddress 192.0.2.1
  BindInterface nowhere
  AddressFamily inet6
  CanonicalizeHostname always
  HostKeyAlias nobody
  UserKnownHostsFile /dev/null
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  KnownHostsCommand /bin/false
  VerifyHostKeyDNS yes
Match final all
  ProxyCommand false
Match all
  ProxyCommand false
"#;
/// A name that ssh and shells read much in.
const KEY: &str = r#"/home/dev/a b%h#"'\\é\ $HOME"#;

/// A setup, under a configuration that is hostile to our commands, with a key of a hostile name.
fn under_a_hostile_configuration(site: &Site) -> Said {
    let laptop = &site.laptop;
    let config = laptop.path("/home/dev/.ssh/config");
    let calm = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{calm}{LOUD}")).unwrap();
    std::fs::rename(laptop.path("/home/dev/.ssh/id_ed25519"), laptop.path(KEY)).unwrap();
    let key = KEY.replace('\'', r"'\''");
    site.hop(&format!("setup mybox -a {VPS} -p 2222 -u root -k '{key}'"))
}

/// `ssh mybox.hop`, whatever the user's configuration says after our block.
fn the_block_wins(laptop: &Machine) {
    let config = laptop.path("/home/dev/.ssh/config");
    let text = std::fs::read_to_string(&config).unwrap();
    let worse = text.replace(LOUD, &format!("{LOUD}{ASTRAY}"));
    assert_ne!(text, worse);
    std::fs::write(&config, &worse).unwrap();
    // Elsewhere it does what it says.
    assert_ne!(laptop.sh_as("dev", &format!("ssh {VPS} true")).code, 0);
    let asked = "printf 'a\\nb' | ssh -o BatchMode=yes mybox.hop 'id -un; cat; test -t 0 || echo; \
                 echo $SSH_CONNECTION'";
    let said = laptop.ok_as("dev", asked);
    assert!(said.starts_with("root\na\nb\n10.10.0.1 ") && said.ends_with(" 2222\n"), "{said}");
    // Editors bring forwards of their own.
    let forward = "ssh -o BatchMode=yes -L 2301:127.0.0.1:2222 mybox.hop 'sleep 5' & \
                   for i in $(seq 50); do exec 3<>/dev/tcp/127.0.0.1/2301 && break; \
                   sleep 0.1; done; \
                   read -r line <&3; echo $line; kill $!";
    let said = laptop.ok_as("dev", &format!("bash -c '{}'", forward.replace('\'', r"'\''")));
    assert!(said.contains("SSH-2.0"), "{said}");
    assert!(!laptop.path("/home/dev/hostile").exists(), "a command of the configuration was run");
    std::fs::write(&config, &text).unwrap();
}

/// As before [`under_a_hostile_configuration`].
fn calm(laptop: &Machine) {
    let config = laptop.path("/home/dev/.ssh/config");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(LOUD, "")).unwrap();
    std::fs::rename(laptop.path(KEY), laptop.path("/home/dev/.ssh/id_ed25519")).unwrap();
}

/// What directory services call their users.
const ODD: [&str; 6] = [
    "alice@corp.example.com",
    r"CORP\bob",
    "a-name-of-more-than-32-characters-in-all1",
    "müller",
    "svc$",
    "alice smith",
];

/// The users of [`ODD`] on the server, who may become root, and whom the laptop's key lets in.
fn oddly_named(vps: &Machine) {
    let append = |file: &str, text: String| {
        let path = vps.path(file);
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(&path, old + &text).unwrap();
    };
    for (number, name) in ODD.iter().enumerate() {
        let uid = 3000 + number;
        let home = format!("/home/odd{number}");
        append("/etc/passwd", format!("{name}:x:{uid}:{uid}::{home}:/bin/sh\n"));
        append("/etc/shadow", format!("{name}:*:19000:0:99999:7:::\n"));
        append("/etc/group", format!("odd{number}:x:{uid}:\n"));
        append("/etc/sudoers", format!("#{uid} ALL=(ALL) NOPASSWD: ALL\n"));
        vps.ok(&format!(
            "install -d -m 0700 -o {uid} -g {uid} {home} {home}/.ssh && \
             install -o {uid} -g {uid} -m 0600 /home/dev/.ssh/authorized_keys {home}/.ssh/"
        ));
    }
}

fn in_ascii(c: char) -> String {
    if c.is_ascii() { c.to_string() } else { c.escape_unicode().to_string() }
}

#[test]
fn logins_of_directory_services_work() {
    lab::inside("logins::logins_of_directory_services_work", || {
        let site = Site::boot().with_helper();
        let (laptop, vps) = (&site.laptop, &site.vps);
        oddly_named(vps);
        std::fs::write(laptop.path("/usr/local/bin/code"), "#!/bin/sh\n").unwrap();
        laptop.ok("chmod 755 /usr/local/bin/code");
        for (number, name) in ODD.iter().enumerate() {
            let uid = 3000 + number;
            // The login ends at the last @.
            let line = match number % 2 {
                0 => format!("setup mybox -a '{name}@{VPS}'"),
                _ => format!("setup mybox -a {VPS} -u '{name}'"),
            };
            let set = site.hop(&line);
            assert!(set.code == 0, "{name}: {set}");
            // These machines have no locale.
            let shown: String = name.chars().map(in_ascii).collect();
            assert!(set.err.contains(&format!("logged in as {shown}")), "{name}: {set}");
            assert_eq!(vps.ok("systemctl show -P User hop-agent"), format!("{uid}\n"), "{name}");
            let runs = vps.ok("ps -o uid=,gid= -p $(systemctl show -P MainPID hop-agent)");
            let ids: Vec<&str> = runs.split_whitespace().collect();
            assert_eq!(ids.join(" "), format!("{uid} {uid}"), "{name}");
            let host = laptop.ok("cat /home/dev/.config/hopbox/hosts/mybox.json");
            assert!(host.contains(&format!("\"user\": {}", serde_json::json!(name))), "{host}");
            site.hop_ok("up");
            site.hop_ok("code");
            let there = laptop.ok_as("dev", "ssh -o BatchMode=yes mybox.hop id -un");
            assert_eq!(there, format!("{name}\n"));
            site.hop_ok("down");
            site.hop_ok("host peers");
            remove(&site);
        }
        // What ssh refuses is refused before anything is done, with the reason.
        for name in ["-oProxyCommand=x", "a;b", "$(x)", "a\\", "a -b", "%r", "a\nb", ""] {
            let said = site.hop(&format!("setup mybox -a {VPS} -u '{name}'"));
            assert!(said.code == 2 && said.err.contains("-u is not valid"), "{name}: {said}");
        }
    });
}

/// Whatever shell the login has says a megabyte, and what looks like answers of ours; bash also
/// when it ends.
fn speak_up(site: &Site) {
    let path = |name: &str| site.vps.path(&format!("/home/dev/{name}"));
    let answers = "welcome\nhopbox-begins\nhopbox-survey=1\nsystem=Minix\nsudo=none\nend=yes\n\
        hopbox-stage:failed helper 1\nrun.abcdef\n{\"error\":{\"code\":\"not_found\",\"what\":\"a\",\
        \"why\":\"b\",\"fix\":\"c\"}}\n";
    let noise = format!("{answers}{}\n{answers}", "x".repeat(1 << 20));
    std::fs::write(path("noise"), noise).unwrap();
    let speak = "cat /home/dev/noise\necho oh >/dev/stderr\n";
    std::fs::write(path(".bashrc"), format!("{speak}trap 'cat /home/dev/noise' EXIT\n")).unwrap();
    std::fs::create_dir_all(path(".config/fish")).unwrap();
    for file in [".zshenv", ".cshrc", ".config/fish/config.fish"] {
        std::fs::write(path(file), speak).unwrap();
    }
}

/// What goes over SSH after a setup.
fn over_ssh(site: &Site) {
    let rotated = site.hop_ok("--json rotate");
    assert!(rotated.contains("\"through\":\"SSH\""), "{rotated}");
    let peers = site.hop_ok("host peers");
    assert!(peers.contains("10.10.0.1"), "{peers}");
}

/// With another agent there, so that there is something to do.
fn upgrade(site: &Site) {
    site.vps.ok("cd /usr/libexec/hopbox && cp hop-agent /root/other && echo >>/root/other && \
        /root/other install");
    let upgraded = site.hop_ok("--json upgrade");
    assert!(upgraded.contains("\"changed\":true"), "{upgraded}");
}

fn remove(site: &Site) {
    site.hop_ok("-y uninstall --remote --purge -H mybox");
    admit(&site.laptop);
    assert_eq!(site.vps.ok("ls -d /etc/hopbox /usr/libexec/hopbox 2>/dev/null || true"), "");
}

#[test]
fn who_may_not_become_root_is_told_and_nothing_is_installed() {
    lab::inside("logins::who_may_not_become_root_is_told_and_nothing_is_installed", || {
        let site = Site::boot().with_helper();
        let (laptop, vps) = (&site.laptop, &site.vps);
        for user in ["guest", "root"] {
            vps.ok(&format!("usermod -p \"$(getent shadow pat | cut -d: -f2)\" {user}"));
        }
        let line = |user: &str| format!("hop setup mybox -a {VPS} -u {user} -p 22");
        let untouched = || {
            let found = vps.ok("ls -d /etc/hopbox /usr/libexec/hopbox /etc/systemd/system/hop* \
                 /usr/lib/systemd/system/hop* /run/hopbox 2>/dev/null; grep hopbox /etc/group || true");
            assert_eq!(found, "", "on the server");
            let left = laptop.ok_as("dev", "find .config/hopbox 2>/dev/null || true");
            assert_eq!(left, "", "on the laptop");
        };
        // (login, what is typed, why, the command that helps)
        let question = |user| format!("password for {user}");
        let grant =
            r"ssh -t -p 22 guest@198.51.100.2 'su -c '\''/usr/sbin/usermod -aG sudo guest'\'''";
        let (wrong, again) = (["wrong", "worse", "worst"], line("pat"));
        for (user, typed, why, next) in [
            ("pat", wrong.as_slice(), "3 incorrect password attempts", again.as_str()),
            ("guest", &[PASSWORD], "guest is not in the sudoers file", grant),
        ] {
            let question = question(user);
            let answers: Vec<_> = typed.iter().map(|word| (question.as_str(), *word)).collect();
            let said = laptop.dialogue("dev", &line(user), &answers);
            assert_eq!(said.code, 1, "{said}");
            let what = format!("sudo on {VPS} did not let {user} become root");
            let fix = format!("fix: {next}\r\n");
            assert!(said.out.contains(&what) && said.out.ends_with(&fix), "{said}");
            let told = said.out.rsplit_once(&what).unwrap().1;
            assert!(told.contains(why), "{said}");
            assert!(!said.out.contains(PASSWORD), "{said}");
            untouched();
        }
        vps.ok("mv /usr/bin/sudo /root/sudo");
        let none = site.hop(line("guest").strip_prefix("hop ").unwrap());
        assert!(none.code == 1 && none.err.contains("there is no sudo"), "{none}");
        let install = ["su -c", "apt-get install -y sudo && /usr/sbin/usermod -aG sudo guest"];
        assert!(install.iter().all(|word| none.err.contains(word)), "{none}");
        // Root's own login, where this key opens it.
        open_to_root(vps);
        let none = site.hop(line("guest").strip_prefix("hop ").unwrap());
        assert!(none.err.ends_with(&format!("fix: {}\n", line("root"))), "{none}");
        untouched();
        assert_eq!(vps.ok("ls -A /home/guest"), ".ssh\n");
        let kept = vps.ok("stat -c '%a %U' /home/pat/.hopbox-setup");
        assert_eq!(kept, "700 pat\n", "for the next try");
        // What was advised to guest, done with root's password, is the cure.
        vps.ok("mv /root/sudo /usr/bin/sudo");
        let done = laptop.dialogue("dev", grant, &[("Password:", PASSWORD)]);
        assert_eq!(done.code, 0, "{done}");
        let answers = [("password for guest", PASSWORD), ("Let `ssh mybox.hop` know", "n")];
        let set = laptop.dialogue("dev", &line("guest"), &answers);
        assert!(set.code == 0 && set.out.contains("mybox is ready"), "{set}");
        // A login that lost it, of a host that is set up, where root's own is open.
        vps.ok("mv /usr/bin/sudo /root/sudo");
        let lost = site.hop("-y uninstall --remote");
        assert_eq!((lost.code, lost.fix()), (1, "hop setup mybox -u root"), "{lost}");
        laptop.ok_as("dev", lost.fix());
        site.hop_ok("-y uninstall --remote");
    });
}
