//! The ways to a server that are the user's affair: a jump host of the ssh configuration.

use super::lab;
use super::looks;
use super::machine::{Machine, PASSWORD};
use super::site::{Site, admit, equip};

/// All that the user's ssh knows goes over a jump host; the keys are no default ones.
const CONFIG: &str = "Host myvps
  HostName 198.51.100.2
  User dev
  IdentityFile ~/.ssh/work
  LogLevel QUIET

Host gate
  HostName 203.0.113.2
  User guest
  IdentityFile ~/.ssh/gate
  ProxyJump none

Host *
  ProxyJump gate
";
const AGENT: &str = "/usr/libexec/hopbox/hop-agent";

/// TCP to the server's sshd passes only from the jump host; UDP comes straight.
fn behind_a_jump_host() -> (Site, Machine) {
    let [laptop, vps, jump] = Machine::boot(["laptop", "vps", "jump"]);
    laptop.cable("198.51.100.1/24", &vps, "198.51.100.2/24");
    laptop.cable("203.0.113.1/24", &jump, "203.0.113.2/24");
    jump.cable("192.168.77.1/24", &vps, "192.168.77.2/24");
    jump.ok("ip route add 198.51.100.2 via 192.168.77.2");
    vps.ok("nft add table ip f && \
        nft add chain ip f c '{ type filter hook input priority 0; }' && \
        nft add rule ip f c ip saddr 198.51.100.1 tcp dport 22 drop");
    equip(&laptop);
    admit(&laptop);
    std::fs::write(laptop.path("/home/dev/.ssh/config"), CONFIG).unwrap();
    laptop.ok_as("dev", "cd .ssh && cp id_ed25519 gate && mv id_ed25519 work");
    (Site { laptop, vps }, jump)
}

#[test]
fn a_jump_host_of_the_users_configuration_leads_to_the_server() {
    lab::inside("ways::a_jump_host_of_the_users_configuration_leads_to_the_server", || {
        let (site, jump) = behind_a_jump_host();
        let (laptop, vps) = (&site.laptop, &site.vps);
        let straight = "ssh -J none -i .ssh/work -o StrictHostKeyChecking=accept-new -o BatchMode=yes \
             -o ConnectTimeout=2 198.51.100.2 true";
        let straight = laptop.sh_as("dev", straight);
        assert!(straight.code == 255 && straight.err.contains("timed out"), "{straight}");

        // Nobody has seen either machine: ssh asks for both keys, at the terminal.
        let asked = ("continue connecting", "yes");
        let set = laptop.dialogue("dev", "hop -y setup mybox -a myvps", &[asked, asked]);
        assert!(set.code == 0 && set.out.contains("host keys recorded"), "{set}");
        assert_eq!(set.out.matches("continue connecting").count(), 2, "{set}");
        let known = laptop.ok("cat /home/dev/.config/hopbox/known_hosts");
        let key = vps.ok("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub");
        assert_eq!(known, format!("hopbox-mybox {key}"), "the server's key, not the jump host's");
        let host = laptop.ok("cat /home/dev/.config/hopbox/hosts/mybox.json");
        assert!(host.contains("198.51.100.2:51820") && host.contains("\"myvps\""), "{host}");

        site.hop_ok("up");
        assert!(laptop.ok("curl -s http://mybox.hop:4200/health").contains("\"ok\""));
        std::fs::write(laptop.path("/usr/local/bin/code"), "#!/bin/sh\n").unwrap();
        laptop.ok("chmod 755 /usr/local/bin/code");
        site.hop_ok("code");
        let name =
            laptop.ok_as("dev", "ssh -o BatchMode=yes mybox.hop 'hostname; echo $SSH_CLIENT'");
        assert!(name.starts_with("vps\n10.10.0.1 "), "through the tunnel: {name}");

        while_it_is_down(&site);
        the_jump_hosts_key_has_a_passphrase(&site);
        let denied = site.hop("--no-input setup mybox -u nobodyhere");
        assert!(denied.code == 6 && denied.err.contains("does not let you in"), "{denied}");
        jump.ok("systemctl stop sshd-here");
        let closed = site.hop("--no-input rotate");
        assert!(closed.code == 6 && closed.err.contains("cannot reach myvps"), "{closed}");
        site.hop_ok("up");
        site.hop_ok("rotate");
        site.hop_ok("down");
    });
}

/// What goes over SSH then, and so over the jump host.
fn while_it_is_down(site: &Site) {
    let (laptop, vps) = (&site.laptop, &site.vps);
    site.hop_ok("down");
    let rotated = site.hop_ok("--json rotate");
    assert!(rotated.contains("\"through\":\"SSH\""), "{rotated}");
    site.hop_ok("up");
    site.hop_ok("status");
    site.hop_ok("down");
    // Not the program that was sent: an upgrade has something to do.
    vps.ok(&format!("cp {AGENT} /root/other && echo >>/root/other && /root/other install"));
    let upgraded = site.hop_ok("--json upgrade");
    assert!(upgraded.contains("\"changed\":true"), "{upgraded}");
    let sum = |machine: &Machine, file: &str| machine.ok(&format!("b2sum <{file}"));
    assert_eq!(sum(vps, AGENT), sum(laptop, "/usr/local/libexec/hopbox/hop-agent"));
    let peers = site.hop_ok("host peers");
    assert!(peers.contains("10.10.0.1"), "{peers}");
}

/// It is asked for once, and not at all where nobody is to be asked.
fn the_jump_hosts_key_has_a_passphrase(site: &Site) {
    let laptop = &site.laptop;
    laptop.ok_as("dev", "ssh-keygen -q -p -N correct-horse -f .ssh/gate");
    let silent = laptop.dialogue("dev", "hop --no-input rotate", &[]);
    assert!(silent.code == 13 && !silent.out.contains("passphrase for key"), "{silent}");
    assert!(silent.out.contains("fix: ssh-add /home/dev/.ssh/gate"), "{silent}");
    laptop.ok_as("dev", "rm .config/hopbox/known_hosts");
    let answers = [("passphrase for key", PASSWORD)];
    let set = laptop.dialogue("dev", "hop -y setup mybox", &answers);
    assert!(set.code == 0 && set.out.contains("host keys recorded"), "{set}");
    assert_eq!(set.out.matches("passphrase for key").count(), 1, "{set}");
    laptop.ok_as("dev", "ssh-keygen -q -p -P correct-horse -N '' -f .ssh/gate");
}

#[test]
fn a_name_and_an_address_of_the_other_family_lead_to_the_server() {
    lab::inside("ways::a_name_and_an_address_of_the_other_family_lead_to_the_server", || {
        let site = Site::boot().with_helper();
        let (laptop, vps) = (&site.laptop, &site.vps);
        vps.ok("ip address add 2001:db8::2/64 dev to-laptop nodad");
        laptop.ok("ip address add 2001:db8::1/64 dev to-vps nodad && \
            echo '2001:db8::2 vps.example' >>/etc/hosts");
        let first = "Host *\n  StrictHostKeyChecking accept-new\n";
        std::fs::write(laptop.path("/home/dev/.ssh/config"), first).unwrap();
        for (address, endpoint) in
            [("2001:db8::2", "[2001:db8::2]:51820"), ("vps.example", "vps.example:51820")]
        {
            let set = site.hop_ok(&format!("--json setup mybox -a {address}"));
            assert!(set.contains(&format!("\"endpoint\":\"{endpoint}\"")), "{set}");
            site.hop_ok("up");
            assert!(laptop.ok("curl -s http://mybox.hop:4200/health").contains("\"ok\""));
            let status = site.hop_ok("status");
            assert!(status.contains("[2001:db8::2]:51820"), "{status}");
            site.hop_ok("down");
            let rotated = site.hop_ok("--json rotate");
            assert!(rotated.contains("\"through\":\"SSH\""), "{rotated}");
        }
        site.hop_ok("up");
        looks::each_shows_something(&site);
        what_the_server_lacks_is_named(&site);
        what_runs_there_is_compared(&site);
        wireguard_alone(laptop);
        modules_are_loaded(&site);
    });
}

/// By `hop doctor` while the host is up: what is there is told, what is taken away is named, and
/// what is advised ends that, or shows it.
fn what_the_server_lacks_is_named(site: &Site) {
    let (laptop, vps) = (&site.laptop, &site.vps);
    let told = site.hop_ok("doctor -v");
    for word in ["clock: ", "disk: ", "sshd: OpenSSH_", "limits: ", "linger: services of dev"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    vps.ok("loginctl disable-linger dev");
    let fix = fix_of(site, "no_linger").expect("services end with the session");
    assert_eq!(fix, "hop setup mybox");
    laptop.ok_as("dev", &format!("{fix} --yes"));
    vps.ok("test -e /var/lib/systemd/linger/dev");
    site.hop_ok("up");
    assert_eq!(fix_of(site, "no_linger"), None);
    // By the program that the manual shows.
    let page = include_str!("../../man/hopbox-protocol.7");
    let (_, examples) = page.split_once(".Sh EXAMPLES\n").unwrap();
    let (_, program) = examples.split_once(".Bd -literal -offset indent\n").unwrap();
    let (program, _) = program.split_once(".Ed\n").unwrap();
    let opened = vps.ok_as("dev", &format!("python3 - <<'END'\n{program}END"));
    assert!(opened.starts_with("rule-") && opened.contains(" accepted "), "{opened}");
}

/// What runs is this laptop's, and as released where a list says so; it is neither when another
/// file lies in its place, though that has the same bytes, or when it is another build.
fn what_runs_there_is_compared(site: &Site) {
    let (laptop, vps) = (&site.laptop, &site.vps);
    let told = site.hop_ok("doctor -v");
    for name in ["hop-agent", "hop-helper", "hop-helper-server"] {
        let line = format!("programs: {name}: what this laptop installs");
        assert!(told.contains(&line), "{line}: {told}");
    }
    laptop.ok("mkdir -p /usr/local/share/hopbox && cd /usr/local/libexec/hopbox && \
               b2sum hop-agent hop-helper | sed 's,  ,  here/,' >../../share/hopbox/B2SUMS");
    let are = || -> Vec<String> {
        let said = site.hop_ok("--json status -v");
        let answer: serde_json::Value = serde_json::from_str(&said).unwrap();
        let programs = answer["data"]["programs"].as_array().unwrap();
        programs.iter().map(|one| one["is"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(are(), ["released", "released", "ours"]);
    let set = site.hop("setup mybox");
    let line = "what runs there is what this laptop installs";
    assert!(set.code == 0 && set.err.contains(line), "{set}");

    vps.ok("cd /usr/libexec/hopbox && cp hop-helper new && mv new hop-helper && \
            cp hop-agent new && echo >>new && mv new hop-agent");
    assert_eq!(are(), ["replaced", "replaced", "ours"]);
    let fix = fix_of(site, "program_replaced").expect("another file lies there");
    assert_eq!(fix, "hop upgrade mybox");
    laptop.ok_as("dev", &fix);
    assert_eq!(are(), ["released", "released", "ours"]);

    vps.ok("cd /usr/libexec/hopbox && cp hop-agent new && echo >>new && mv new hop-agent && \
            systemctl restart hop-agent");
    assert_eq!(fix_of(site, "program_other").as_deref(), Some("hop upgrade mybox"));
    let set = site.hop("--json setup mybox");
    assert!(set.code == 0 && set.out.contains("\"is\":\"other\""), "{set}");
    laptop.ok_as("dev", &fix);
    assert_eq!(are(), ["released", "released", "ours"]);
    laptop.ok("rm -r /usr/local/share/hopbox");
}

/// Which is root's.
fn wireguard_alone(laptop: &Machine) {
    let denied = laptop.sh_as("dev", "hop wg -f wg7");
    assert_eq!((denied.code, denied.fix()), (1, "sudo hop wg -f wg7"), "{denied}");
    let ends = "until ip link show wg7; do sleep 0.1; done; sudo ip link del wg7; wait";
    laptop.ok_as("dev", &format!("{} & {ends}", denied.fix()));
}

/// A helper whose kernel lacks a part, as far as it can tell; modprobe itself is real.
fn modules_are_loaded(site: &Site) {
    let laptop = &site.laptop;
    let source = include_str!("../../helper/tests/root/lacking.c");
    std::fs::write(laptop.path("/usr/lib/lacking.c"), source).unwrap();
    laptop.ok("cc -shared -fPIC -o /usr/lib/lacking.so /usr/lib/lacking.c && \
               mkdir -p /etc/systemd/system/hop-helper.service.d");
    for (kind, module, fault) in
        [("bpf", "cls_bpf", "no_ingress_filter"), ("nf_tables", "nf_tables", "no_lan_guard")]
    {
        site.hop_ok("down");
        laptop.ok(&format!(
            "printf '[Service]\nEnvironment=LD_PRELOAD=/usr/lib/lacking.so \
             HOPBOX_TEST_LACKS={kind} HOPBOX_TEST_LOADED=/usr/lib/loaded\n' \
             >/etc/systemd/system/hop-helper.service.d/lacks.conf && echo 0 >/usr/lib/loaded && \
             echo 'install {module} printf 1 1<>/usr/lib/loaded' >/etc/modprobe.d/here.conf && \
             systemctl daemon-reload && systemctl restart hop-helper"
        ));
        site.hop_ok("up");
        let fix = fix_of(site, fault).unwrap_or_else(|| panic!("{kind}: no {fault}"));
        assert!(fix.starts_with(&format!("sudo modprobe {module} && ")), "{fix}");
        laptop.ok_as("dev", &fix);
        assert_eq!(fix_of(site, fault), None, "{fix}");
        site.hop_ok("status");
    }
}

/// What `hop doctor` advises for a fault that it finds.
fn fix_of(site: &Site, fault: &str) -> Option<String> {
    let said = site.hop("--json doctor");
    let answer: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let checks = answer["data"]["checks"].as_array().unwrap();
    let found = checks.iter().find(|check| check["fault"] == fault)?;
    Some(found["fix"].as_str().unwrap().to_owned())
}

#[test]
fn a_quiet_ssh_configuration_hides_nothing() {
    lab::inside("ways::a_quiet_ssh_configuration_hides_nothing", || {
        let site = Site::boot().with_helper();
        let (laptop, vps) = (&site.laptop, &site.vps);
        let setup = "--no-input setup mybox -a 198.51.100.2";
        laptop.ok_as("dev", "printf 'LogLevel QUIET\n' >.ssh/config");
        site.fails(setup, 13, &["is not known", "fix: ssh 198.51.100.2"]);
        let first = "LogLevel QUIET\\nStrictHostKeyChecking accept-new\\n";
        laptop.ok_as("dev", &format!("printf '{first}' >.ssh/config"));
        site.fails(&format!("{setup} -u nobodyhere"), 6, &["does not let you in"]);
        site.fails(&format!("{setup} -p 2222"), 6, &["refused"]);
        // What lies in /etc/ssh is not what its sshd shows.
        let key = "/etc/ssh/ssh_host_ed25519_key";
        vps.ok(&format!(
            "mv {key} /root/k && ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/x && \
             mv /etc/ssh/x.pub {key}.pub && sed -i 's,^HostKey .*,HostKey /root/k,' \
             /etc/ssh/sshd_config && systemctl restart sshd-here && sleep 0.3"
        ));
        let set = site.hop(setup);
        assert!(set.code == 0 && set.err.contains("does not use the keys"), "{set}");
        let known = "cat /home/dev/.config/hopbox/known_hosts 2>/dev/null || true";
        assert_eq!(laptop.ok(known), "");
        vps.ok("ssh-keygen -y -f /root/k >/etc/ssh/ssh_host_ed25519_key.pub");
        let set = site.hop(setup);
        assert!(set.code == 0 && set.out.contains("ready"), "{set}");
        assert!(set.err.contains("host keys recorded"), "{set}");
    });
}
