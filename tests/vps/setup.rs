//! `hop setup` against a server as it is.

use super::lab;
use super::machine::{Machine, PASSWORD, Said};
use super::site::{FIRST, Site, admit, equip};

#[test]
fn a_fresh_server_is_ready_and_proven() {
    lab::inside("setup::a_fresh_server_is_ready_and_proven", || {
        let site = Site::boot();
        let first = site.hop("status").fix().replace("ADDRESS", "198.51.100.2");
        let plan = site.laptop.ok_as("dev", &format!("{first} --dry-run"));
        assert!(plan.contains("nothing has been changed"), "{plan}");
        let refused = site.hop("--no-input setup mybox -a 198.51.100.2 -k .ssh/id_ed25519");
        assert_eq!(refused.code, 13, "{refused}");
        assert!(refused.err.contains("--yes"), "{refused}");

        let plan = site.hop("--json setup mybox -a 198.51.100.2 --dry-run");
        assert!(plan.code == 0 && plan.out.contains("\"dry_run\":true"), "{plan}");
        let take = "\"interface\":\"wg0\",\"listen_port\":51820,\"local_ip\":\"10.10.0.1\",";
        assert!(
            plan.out.contains(take) && plan.err.contains("UDP 51820 and 10.10.0.0/24"),
            "{plan}"
        );
        assert_eq!(site.vps.ok("ls /usr/libexec | grep -c hopbox || true"), "0\n");

        let before = carried(&site.laptop);
        let set = site.hop("--json -y setup mybox -a 198.51.100.2 -k .ssh/id_ed25519");
        assert_eq!(set.code, 0, "{set}");
        let first = carried(&site.laptop) - before;
        assert!(first < 20_000_000, "{first} bytes");
        for step in ["1/7", "2/7", "3/7", "4/7", "5/7", "6/7", "7/7"] {
            assert!(set.err.contains(step), "{step}: {set}");
        }
        eprintln!("NOTE hop setup: {first} bytes on the wire, {}", took(&set));
        secrets_stay_private(&site, &set.out, &set.err);

        // In the login that setup was called from; its user is in no group of ours.
        assert!(!site.laptop.ok("id dev").contains("hopbox"));
        let up = site.hop("up");
        assert_eq!(up.code, 0, "{up}");
        site.laptop.ok("getent hosts mybox.hop");
        assert!(site.laptop.ok("curl -s http://mybox.hop:4200/health").contains("\"ok\""));

        // Again: nothing is sent, nothing is disturbed.
        let before = carried(&site.laptop);
        let again = site.hop("--json setup mybox");
        assert!(again.code == 0 && again.out.contains("\"sent_bytes\":0"), "{again}");
        let more = carried(&site.laptop) - before;
        assert!(more < 100_000, "{more} bytes");
        eprintln!("NOTE hop setup again: {more} bytes on the wire, {}", took(&again));
        assert_eq!(site.hop("status").code, 0);
        assert!(!again.err.contains("restic"), "nobody wants it: {again}");
        restic(&site);
        editor(&site);
        second_port(&site);
        site.hop_ok("down");
        let down = site.hop("code");
        assert!(down.code == 3 && down.err.contains("fix: hop up mybox"), "{down}");
        this_machine(&site);
        assert_eq!(site.vps.ok("ls -a /home/dev | grep -c hopbox || true"), "0\n");
    });
}

/// One more port to answer at, if it is asked for and free; it goes as it came.
fn second_port(site: &Site) {
    let vps = &site.vps;
    let setup = |what: &str| site.hop(&format!("-y setup mybox --second-port {what}"));
    let is_there = || vps.sh("ss -Hlunp sport = :443 | grep hop-agent").code == 0;
    // The agent sees to it after its start.
    let rule = |is: &str| {
        vps.ok(&format!(
            "for i in $(seq 300); do {is} nft list table inet hopbox | \
             grep -q 'udp dport 443 .*accept' && exit; sleep 0.1; done; exit 1"
        ))
    };
    let drop_in = "/etc/systemd/system/hop-agent.service.d";
    vps.ok("python3 -c 'import socket, time; s = socket.socket(2, 2); s.bind((\"\", 443)); \
            time.sleep(1000)' >/dev/null 2>&1 & echo $! >/run/taken; \
            until ss -Hlun sport = :443 | grep -q .; do sleep 0.1; done");
    let taken = setup("443");
    assert_eq!(taken.code, 8, "{taken}");
    let words = ["UDP 443 is not free", "python3 (", ") listens there"];
    assert!(words.iter().all(|word| taken.err.contains(word)), "{taken}");
    vps.ok(&format!("kill $(cat /run/taken); [ ! -e {drop_in} ]"));
    vps.ok("while ss -Hlun sport = :443 | grep -q .; do sleep 0.1; done");
    let wrong = setup("80");
    assert!(wrong.code == 2 && wrong.err.contains("443, 53 or off"), "{wrong}");
    let set = setup("443");
    assert!(set.code == 0 && is_there(), "{set}");
    // With no other right than that one.
    vps.ok(
        "grep -q 'CapEff:\t0000000000000400' /proc/$(systemctl show -P MainPID hop-agent)/status",
    );
    rule("");
    vps.ok("nft 'table inet own { chain in { type filter hook input priority -10; \
            udp dport 51820 drop; }; }'");
    site.hop("down");
    site.hop_ok("up");
    let status = site.hop("status");
    assert!(status.out.contains("UDP to the second port, 443"), "{status}");
    vps.ok("nft delete table inet own");
    // Who says nothing of it changes nothing.
    site.hop_ok("-y setup mybox");
    assert!(is_there());
    let off = setup("off");
    assert!(off.code == 0 && !is_there(), "{off}");
    rule("!");
    vps.ok(&format!("[ ! -e {drop_in} ] && ! grep second_port /var/lib/hopbox-agent/agent.json"));
    vps.ok(
        "grep -q 'CapEff:\t0000000000000000' /proc/$(systemctl show -P MainPID hop-agent)/status",
    );
}

#[test]
fn sudo_with_a_password_asks_at_the_terminal_once() {
    lab::inside("setup::sudo_with_a_password_asks_at_the_terminal_once", || {
        let site = Site::boot().with_helper();
        let silent = site.hop("setup mybox -a pat@198.51.100.2");
        assert_eq!(silent.code, 13, "{silent}");
        assert!(silent.err.contains("fix: hop setup mybox -a 198.51.100.2 -u pat"), "{silent}");
        let answers = [("password for pat", PASSWORD), ("Let `ssh mybox.hop` know", "y")];
        let line = "TERM=xterm hop setup mybox -a pat@198.51.100.2";
        let set = site.laptop.dialogue("dev", line, &answers);
        assert!(set.code == 0 && set.out.contains("mybox is ready"), "{set}");
        assert_eq!(set.out.matches("password for pat").count(), 1, "{set}");
        assert!(set.out.contains("[sudo on 198.51.100.2] password for pat: "), "{set}");
        assert!(!set.out.contains(PASSWORD), "{set}");
        // While ssh has made the terminal raw, too, each line begins at the left.
        assert!(!set.out.replace("\r\n", "").contains('\n'), "a staircase: {:?}", set.out);
        let kept = site.laptop.sh_as("dev", &format!("grep -r {PASSWORD} .config .local"));
        assert_eq!(kept.out, "", "a password is kept");
        assert_eq!(site.vps.ok("systemctl show -P User hop-agent"), "pat\n");
        // Another user of the laptop, whom its helper does not admit: in the same terminal it does.
        let answers = [
            ("does not admit you yet", "y"),
            ("[sudo on this machine] password for pat", PASSWORD),
            ("Let `ssh mine.hop` know", "n"),
        ];
        let set = site.laptop.dialogue("pat", "hop setup mine -a dev@198.51.100.2", &answers);
        assert!(set.code == 0 && set.out.contains("mine is ready"), "{set}");
        assert!(!site.laptop.ok("id pat").contains("hopbox"), "{set}");
        site.laptop.ok_as("pat", "hop up mine && hop down mine");
    });
}

#[test]
fn an_interrupted_setup_goes_on() {
    lab::inside("setup::an_interrupted_setup_goes_on", || {
        let site = Site::boot().with_helper();
        for step in 1..=7 {
            // kill -9 as soon as the step has begun.
            let script = format!(
                "(hop setup mybox -a 198.51.100.2 2>log & p=$!; \
                 while ! grep -q '{step}/7' log && kill -0 $p; do sleep 0.01; done; \
                 kill -9 $p; wait $p; true) 2>/dev/null"
            );
            site.laptop.ok_as("dev", &script);
            let left = "pgrep -u dev -x ssh || true";
            site.laptop.ok(&format!(
                "for i in $(seq 50); do [ -z \"$({left})\" ] && break; \
                sleep 0.1; done; [ -z \"$({left})\" ]"
            ));
        }
        let set = site.hop("--json setup mybox -a 198.51.100.2");
        assert_eq!(set.code, 0, "{set}");
        let peers = site.vps.ok("grep -c public_key /var/lib/hopbox-agent/agent.json");
        assert_eq!(peers, "1\n", "one laptop is one peer");
        site.hop_ok("up");
        site.hop_ok("down");
    });
}

#[test]
fn a_second_laptop_joins_beside_the_first() {
    lab::inside("setup::a_second_laptop_joins_beside_the_first", || {
        let site = Site::boot().with_helper();
        let [second] = Machine::boot(["second"]);
        second.cable("203.0.113.1/24", &site.vps, "203.0.113.2/24");
        equip(&second);
        admit(&second);
        site.hop_ok("setup mybox -a 198.51.100.2");
        site.hop_ok("up");
        let ping = "ping -q -i 0.05 -c 100 mybox.hop >pings & echo $! >pid";
        site.laptop.ok_as("dev", ping);
        second.ok_as("dev", "hop setup theirs -a 203.0.113.2");
        second.ok_as("dev", "hop up && getent hosts theirs.hop");
        site.laptop.ok_as("dev", "while kill -0 $(cat pid) 2>/dev/null; do sleep 0.1; done");
        let pings = site.laptop.ok_as("dev", "cat pings");
        assert!(pings.contains(" 0% packet loss"), "the first was disturbed: {pings}");
        let address = |machine: &Machine| machine.ok("ip -br address show dev hopbox0");
        assert!(address(&site.laptop).contains("10.10.0.1/"), "{}", address(&site.laptop));
        assert!(address(&second).contains("10.10.0.3/"), "{}", address(&second));
        second.ok_as("dev", "hop down");
        site.hop_ok("down");
    });
}

/// A project that wants snapshots is told what the restic there does not promise.
fn restic(site: &Site) {
    let text = "name: a\\nbackup: {backend: restic, target: /srv/r, password_env: P}\\n";
    let project = format!("mkdir snaps && printf '{text}' >snaps/hopbox.yaml");
    site.laptop.ok_as("dev", &project);
    let set = || site.laptop.sh_as("dev", "cd snaps && hop --json setup mybox");
    let some = set();
    let is_old = site.vps.ok("restic version").contains("restic 0.14");
    assert!(some.code == 0 && some.err.contains("snapshots there: restic") == is_old, "{some}");
    site.vps.ok("mv /usr/bin/restic /usr/bin/none");
    let none = set();
    assert!(none.code == 0 && none.out.contains("\"no_restic\""), "{none}");
    assert!(none.out.contains("restic is not installed on this server"), "{none}");
    site.vps.ok("mv /usr/bin/none /usr/bin/restic");
}

/// Bytes that have passed the laptop's end of the cable, both ways.
fn carried(laptop: &Machine) -> u64 {
    let counts = laptop.ok("cat /sys/class/net/to-vps/statistics/[rt]x_bytes");
    counts.lines().map(|line| line.parse::<u64>().unwrap()).sum()
}

/// How long a setup was, by its own clock.
fn took(set: &Said) -> String {
    let answer: serde_json::Value = serde_json::from_str(&set.out).unwrap();
    format!("{} ms", answer["data"]["took_us"].as_u64().unwrap() / 1000)
}

fn secrets_stay_private(site: &Site, out: &str, err: &str) {
    let config = "/home/dev/.config/hopbox";
    let modes = site.laptop.ok(&format!(
        "cd {config} && find . -type d -printf '%m ' && find . -type f -printf '%m '"
    ));
    assert!(modes.split_whitespace().all(|mode| mode == "700" || mode == "600"), "{modes}");
    let file = site.laptop.ok(&format!("cat {config}/hosts/mybox.json"));
    for key in ["token", "preshared_key"] {
        let (_, rest) = file.split_once(&format!("\"{key}\": \"")).expect(key);
        let secret = rest.split('"').next().unwrap();
        assert!(secret.len() > 40 && !out.contains(secret) && !err.contains(secret), "{key}");
        assert!(!site.vps.ok("journalctl --no-pager").contains(secret), "{key} in the journal");
    }
    let known = site.laptop.ok(&format!("cat {config}/known_hosts"));
    let key = site.vps.ok("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub");
    assert_eq!(known, format!("hopbox-mybox {key}"));
}

/// `hop code` as far as a machine without an editor can see it: a stand-in that records its
/// arguments, the configuration as ssh reads it, and a login through the tunnel.
fn editor(site: &Site) {
    let laptop = &site.laptop;
    let none = site.hop("code");
    assert!(none.code == 4 && none.err.contains("not installed"), "{none}");
    laptop.ok_as("dev", none.fix());
    let record = "#!/bin/sh\nprintf '%s\\n' \"$@\" >$HOME/recorded\n";
    for name in ["code", "zed"] {
        let path = format!("/usr/local/bin/{name}");
        std::fs::write(laptop.path(&path), record).unwrap();
        laptop.ok(&format!("chmod 755 {path}"));
    }
    laptop_ssh(site);
    site.vps.ok_as("dev", "mkdir -p src/app 'src/a b'");
    site.vps.ok("mkdir -p /srv/x");
    for (line, fix) in [
        ("code \"$(printf 'a\\tb')\"", "hop code"),
        ("code -e emacs", "hop code --editor code"),
        ("code -e cursor", "hop code --editor code"),
    ] {
        laptop.ok("rm -f /home/dev/recorded");
        assert_eq!(site.hop(line).fix(), fix, "{line}");
        laptop.ok_as("dev", fix);
        laptop.ok("cat /home/dev/recorded");
    }
    site.hop_ok("code");
    assert_eq!(laptop.ok("cat /home/dev/recorded"), "--remote\nssh-remote+mybox.hop\n/home/dev\n");
    site.hop_ok("code src/app --editor zed");
    assert_eq!(laptop.ok("cat /home/dev/recorded"), "ssh://mybox.hop/home/dev/src/app\n");
    laptop.ok_as("dev", "printf 'editor:\\n  path: /srv/x\\nname: x\\n' >hopbox.yaml && hop code");
    assert!(laptop.ok("cat /home/dev/recorded").ends_with("/srv/x\n"));
    laptop.ok("rm /home/dev/hopbox.yaml");
    // The laptop's home, which its shell writes, is another directory than the server's.
    let elsewhere = "export XDG_CONFIG_HOME=$HOME/.config XDG_STATE_HOME=$HOME/.local/state; \
                     mkdir elsewhere && HOME=$HOME/elsewhere && export HOME && hop code ~/src/'a b'";
    laptop.ok_as("dev", elsewhere);
    assert!(laptop.ok("cat /home/dev/elsewhere/recorded").ends_with("/home/dev/src/a b\n"));
    laptop.ok("rm -r /home/dev/elsewhere");
    let nowhere = site.hop("code 'src/not there'");
    assert!(nowhere.code == 4 && nowhere.err.contains("not on mybox"), "{nowhere}");
    assert!(laptop.ok("cat /home/dev/recorded").ends_with("/srv/x\n"), "no editor was started");
    laptop.ok_as("dev", nowhere.fix());
    site.hop_ok("code 'src/not there'");
}

/// What setup has told ssh(1) on the laptop.
fn laptop_ssh(site: &Site) {
    let laptop = &site.laptop;
    let text = laptop.ok("cat /home/dev/.ssh/config");
    assert!(text.starts_with("# --- hopbox managed ---\n") && text.ends_with(FIRST), "{text}");
    let means = laptop.ok_as("dev", "ssh -G mybox.hop");
    for line in [
        "hostname mybox.hop",
        "user dev",
        "port 22",
        "identityfile /home/dev/.ssh/id_ed25519",
        "hostkeyalias hopbox-mybox",
        "userknownhostsfile /home/dev/.config/hopbox/known_hosts",
        "stricthostkeychecking true",
    ] {
        assert!(means.lines().any(|other| other == line), "{line}: {means}");
    }
    assert_eq!(laptop.ok_as("dev", "ssh -o BatchMode=yes mybox.hop hostname"), "vps\n");
    let again = site.hop("--json setup mybox");
    assert!(again.out.contains("\"ssh_config\":true"), "{again}");
    // Who has not said yes is told how, and asked at a terminal.
    laptop.ok_as("dev", "cp .ssh/config kept && sed -i '/managed/,/end hopbox/d' .ssh/config");
    let before = laptop.ok_as("dev", "cat .ssh/config");
    let offer = "would offer a block for `ssh mybox.hop`";
    assert!(site.hop_ok("setup mybox --dry-run").contains(offer));
    let silent = site.hop("--no-input setup mybox");
    let how = "for `ssh mybox.hop` to know login and key: hop setup mybox --yes";
    assert!(silent.code == 0 && silent.err.contains(how), "{silent}");
    laptop.ok_as("dev", "cp .ssh/config without && hop setup mybox --yes");
    assert_ne!(laptop.ok_as("dev", "cat .ssh/config; mv without .ssh/config"), before);
    // A Ctrl-D is no answer, and the host is set up all the same.
    for (answer, has) in [("\u{4}", false), ("n", false), ("y", true)] {
        let asked =
            laptop.dialogue("dev", "hop setup mybox", &[("Let `ssh mybox.hop` know", answer)]);
        assert!(asked.code == 0 && asked.out.contains("mybox is ready"), "{asked}");
        assert_eq!(asked.out.contains("was not answered"), answer == "\u{4}", "{asked}");
        assert_eq!(laptop.ok_as("dev", "cat .ssh/config") != before, has, "{asked}");
    }
    assert_eq!(laptop.ok_as("dev", "cat .ssh/config"), laptop.ok_as("dev", "cat kept; rm kept"));
    // A block that lost its end.
    laptop.ok_as("dev", "sed -i '/end hopbox/d' .ssh/config");
    let damaged = site.hop("-y setup mybox");
    let fix = "${EDITOR:-vi} +1 /home/dev/.ssh/config";
    assert!(damaged.code == 0 && damaged.err.contains(fix), "{damaged}");
    let edit = r#"edit() { sed -i '/^Host 198/,$!d' "$2"; }; EDITOR=edit; "#;
    laptop.ok_as("dev", &format!("{edit}{fix} && hop -y setup mybox"));
    assert_eq!(laptop.ok_as("dev", "ssh -o BatchMode=yes mybox.hop hostname"), "vps\n");
    // One that is not to be changed, as that of home-manager: what to do is said, and works.
    laptop
        .ok("cd /home/dev/.ssh && sed -i '/managed/,/end hopbox/d' config && mkdir /etc/store && \
         mv config /etc/store && chown -R 0:0 /etc/store && ln -s /etc/store/config config");
    let fixed = site.hop("-y setup mybox");
    let include = "`Include /home/dev/.config/hopbox/ssh_config`";
    assert!(fixed.code == 0 && fixed.err.contains(include), "{fixed}");
    assert_eq!(laptop.ok("cat /etc/store/config"), FIRST);
    let direct = "ssh -F .config/hopbox/ssh_config -o BatchMode=yes mybox.hop hostname";
    assert_eq!(laptop.ok_as("dev", direct), "vps\n");
    laptop.ok("sed -i '1i Include /home/dev/.config/hopbox/ssh_config' /etc/store/config");
    let included = site.hop("-y setup mybox");
    assert!(included.code == 0 && !included.err.contains("Include"), "{included}");
    let again = site.hop("--json --no-input setup mybox");
    assert!(again.code == 0 && again.out.contains("\"ssh_config\":true"), "{again}");
    assert!(!site.hop_ok("setup mybox --dry-run").contains("would offer"));
    assert_eq!(laptop.ok_as("dev", "ssh -o BatchMode=yes mybox.hop hostname"), "vps\n");
    laptop.ok("rm /home/dev/.ssh/config && sed 1d /etc/store/config >/home/dev/.ssh/config && \
         chown dev:dev /home/dev/.ssh/config && rm -r /etc/store");
    site.hop_ok("-y setup mybox");
    // Another key there, and ssh refuses.
    let key = "/etc/ssh/ssh_host_ed25519_key";
    site.vps.ok(&format!(
        "mv {key} /root/k && ssh-keygen -q -t ed25519 -N '' -f {key} && \
        systemctl restart sshd-here && sleep 0.3"
    ));
    let refused = laptop.sh_as("dev", "ssh -o BatchMode=yes mybox.hop hostname");
    assert!(refused.code == 255 && refused.err.contains("verification failed"), "{refused}");
    // Whoever knows that the server was made anew has it set up anew, here and for their own ssh.
    let refused = site.hop("setup mybox");
    assert_eq!(refused.code, 8, "{refused}");
    let anew = refused.fix();
    let setup = anew.strip_prefix("hop host rm mybox && ").unwrap();
    let known = laptop.dialogue("dev", anew, &[("Forget mybox", "y")]);
    assert_eq!(known.code, 8, "{known}");
    let forget = "ssh-keygen -R 198.51.100.2 -f /home/dev/.ssh/known_hosts";
    assert_eq!(known.fix(), forget, "{known}");
    laptop.ok_as("dev", forget);
    let set = laptop.dialogue("dev", setup, &[("Let `ssh mybox.hop` know", "y")]);
    assert!(set.code == 0 && set.out.contains("mybox is ready"), "{set}");
    site.hop_ok("up");
    assert_eq!(laptop.ok_as("dev", "ssh -o BatchMode=yes mybox.hop hostname"), "vps\n");
}

/// What is missing or wrong on the laptop, and what is said to help.
fn this_machine(site: &Site) {
    let laptop = &site.laptop;
    let cured = |code: i32, fix: &str| {
        let refused = site.hop("up");
        assert_eq!((refused.code, refused.fix()), (code, fix), "{refused}");
        laptop.ok_as("dev", fix);
        site.hop_ok("up");
        site.hop_ok("down");
    };
    laptop.ok("systemctl disable --now hop-helper.socket hop-helper.service");
    cured(5, "sudo /usr/local/libexec/hopbox/hop-helper --install");
    laptop.ok("touch /etc/hopbox/lockdown");
    cured(5, "sudo rm /etc/hopbox/lockdown");
    // Another machine has the name.
    site.hop_ok("up");
    laptop.ok("sed -i '1i 198.51.100.77 mybox.hop' /etc/hosts");
    let fault = site.hop("doctor");
    let fix = "sudo ${EDITOR:-vi} /etc/hosts";
    assert!(fault.code == 3 && format!("{}{}", fault.out, fault.err).contains(fix), "{fault}");
    laptop.ok_as("dev", &format!("EDITOR='sed -i 1d'; {fix} && hop doctor"));
    site.hop_ok("down");
    // Whoever has to tell sudo a password, where nobody can be asked.
    let stays = laptop.sh_as("pat", "hop -y --no-input uninstall");
    assert_ne!(stays.code, 0, "{stays}");
    let gone = laptop.dialogue("pat", stays.fix(), &[("password for pat", PASSWORD)]);
    assert_eq!(gone.code, 0, "{} {gone}", stays.fix());
    let again = laptop.sh_as("pat", "hop -y --no-input uninstall");
    assert_eq!(again.code, 0, "{again}");
}
