//! `hop setup` against a server as it is.

use super::lab;
use super::machine::PASSWORD;
use super::site::{Site, VPS, allow};

#[test]
fn a_fresh_server_is_ready_and_proven() {
    lab::inside("setup::a_fresh_server_is_ready_and_proven", || {
        let site = Site::boot();
        let refused = site.hop("--no-input setup mybox -a 198.51.100.2 -k .ssh/id_ed25519");
        assert_eq!(refused.code, 13, "{refused}");
        assert!(refused.err.contains("--yes"), "{refused}");

        let plan = site.hop("--json setup mybox -a 198.51.100.2 --dry-run");
        assert!(plan.code == 0 && plan.out.contains("\"dry_run\":true"), "{plan}");
        assert_eq!(site.vps.ok("ls /usr/libexec | grep -c hopbox || true"), "0\n");

        let set = site.hop("--json -y setup mybox -a 198.51.100.2 -k .ssh/id_ed25519");
        assert_eq!(set.code, 0, "{set}");
        for step in ["1/7", "2/7", "3/7", "4/7", "5/7", "6/7", "7/7"] {
            assert!(set.err.contains(step), "{step}: {set}");
        }
        eprintln!("NOTE {}", set.out.trim());
        eprintln!("NOTE {}", set.err.replace('\n', "\nNOTE "));
        secrets_stay_private(&site, &set.out, &set.err);

        // The login is not in the helper's group yet: sg is what a new login would be.
        let up = site.laptop.sh_as("dev", "sg hopbox -c 'hop up'");
        assert_eq!(up.code, 0, "{up}");
        site.laptop.ok("getent hosts mybox.hop");
        assert!(site.laptop.ok("curl -s http://mybox.hop:4200/health").contains("\"ok\""));

        // Again: nothing is sent, nothing is disturbed.
        let again = site.hop("--json setup mybox");
        assert!(again.code == 0 && again.out.contains("\"sent_bytes\":0"), "{again}");
        assert_eq!(site.hop("status").code, 0);
        editor(&site);
        site.hop_ok("down");
        assert_eq!(site.vps.ok("ls -a /home/dev | grep -c hopbox || true"), "0\n");
    });
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
    let record = "#!/bin/sh\nprintf '%s\\n' \"$@\" >$HOME/recorded\n";
    for name in ["code", "zed"] {
        let path = format!("/usr/local/bin/{name}");
        std::fs::write(laptop.path(&path), record).unwrap();
        laptop.ok(&format!("chmod 755 {path}"));
    }
    let before = laptop.ok("cat /home/dev/.ssh/config");
    site.hop_ok("code");
    assert_eq!(laptop.ok("cat /home/dev/recorded"), "--remote\nssh-remote+mybox.hop\n/home/dev\n");
    site.hop_ok("code src/app --editor zed");
    assert_eq!(laptop.ok("cat /home/dev/recorded"), "ssh://mybox.hop/home/dev/src/app\n");
    laptop.ok_as("dev", "printf 'editor:\\n  path: /srv/x\\nname: x\\n' >hopbox.yaml && hop code");
    assert!(laptop.ok("cat /home/dev/recorded").ends_with("/srv/x\n"));
    laptop.ok("rm /home/dev/hopbox.yaml");

    let text = laptop.ok("cat /home/dev/.ssh/config");
    assert!(text.starts_with("# --- hopbox managed ---\n") && text.ends_with(&before), "{text}");
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
    // Another key there, and ssh refuses.
    let key = "/etc/ssh/ssh_host_ed25519_key";
    site.vps.ok(&format!(
        "mv {key} /root/k && ssh-keygen -q -t ed25519 -N '' -f {key} && \
        systemctl restart sshd-here && sleep 0.3"
    ));
    let refused = laptop.sh_as("dev", "ssh -o BatchMode=yes mybox.hop hostname");
    assert!(refused.code == 255 && refused.err.contains("verification failed"), "{refused}");
    let refused = site.hop("setup mybox");
    assert!(refused.code == 8 && refused.err.contains("ssh-keygen -R hopbox-mybox"), "{refused}");
    site.vps.ok(&format!("mv /root/k {key} && systemctl restart sshd-here && sleep 0.3"));
    site.hop_ok("down");
    let down = site.hop("code");
    assert!(down.code == 3 && down.err.contains("fix: hop up mybox"), "{down}");
}
