//! What stops a setup is found before anything is sent, and what need not stop it does not.

use super::contexts;
use super::lab;
use super::machine::Machine;
use super::site::Site;

const SETUP: &str = "--no-input setup mybox -a 198.51.100.2";

/// What another mount is like, made and taken away.
fn with(vps: &Machine, make: &str, undo: &str, tried: impl FnOnce()) {
    vps.ok(make);
    tried();
    vps.ok(undo);
    let left = "ls -d /usr/libexec/hopbox /etc/hopbox /home/dev/.hopbox-setup 2>/dev/null; true";
    assert_eq!(vps.ok(left), "", "{make}");
}

/// A setup stops, and what is typed for it says what decides.
fn shown(site: &Site, words: &[&str], answer: &str) {
    site.fails(SETUP, 1, words);
    let typed = site.hop(SETUP).fix().replacen("ssh -t", "ssh", 1);
    let said = site.laptop.sh_as("dev", &typed);
    assert!(said.to_string().contains(answer), "{typed}: {said}");
}

/// A program of this name, before the system's.
fn say(name: &str, text: &str) -> String {
    format!(
        "printf '#!/bin/sh\n{text}\n' >/usr/local/bin/{name} && chmod 755 /usr/local/bin/{name}"
    )
}

/// What is advised is done, and nothing is in the way any more.
fn advised(site: &Site, words: &[&str]) {
    let said = site.hop(SETUP);
    assert!(
        said.code == 1 && words.iter().all(|word| said.err.contains(word)),
        "{words:?}: {said}"
    );
    let (_, fix) = said.err.trim_end().rsplit_once("fix: ").unwrap();
    site.laptop.ok_as("dev", &fix.replacen("ssh -t", "ssh", 1));
    site.hop_ok(&format!("{SETUP} --dry-run"));
}

/// Systems whose /usr is an image, told by their names.
fn images(site: &Site, read_only: &str) {
    let named = |id: &str| {
        format!(
            "cp --remove-destination /usr/lib/os-release /etc/os-release && \
        sed -i 's/^ID=.*/ID={id}/' /etc/os-release"
        )
    };
    let undo = "ln -sf ../usr/lib/os-release /etc/os-release";
    with(&site.vps, &named("nixos"), undo, || {
        site.fails(SETUP, 1, &["NixOS", "another server", "os-release"]);
    });
    let ostree = ("touch /run/ostree-booted".to_owned(), "rm /run/ostree-booted");
    for (is_one, undo) in [(named("flatcar"), undo), ostree] {
        let image = format!(
            "{is_one} && {read_only} && mount -t tmpfs none /var/lib/private && \
            mkdir -p /var/lib/private/l && ln -s private/l /var/lib/libexec && \
            cp /etc/fstab /root/ && systemctl daemon-reload"
        );
        let undo = format!(
            "{undo}; umount /usr/libexec && umount /usr/libexec; umount /var/lib/private; \
            rm /var/lib/libexec; cp /root/fstab /etc/fstab"
        );
        with(&site.vps, &image, &undo, || advised(site, &["an image", "overlay /usr/libexec"]));
    }
}

fn clock_and_labels(site: &Site) {
    let later = say("date", r#"exec /usr/bin/date -d "+3 days" "$@""#);
    with(&site.vps, &later, "rm /usr/local/bin/date", || {
        let said = site.hop(&format!("{SETUP} --dry-run"));
        assert_eq!(said.code, 0, "{said}");
        assert!(said.err.contains("clock is") && said.err.contains("ahead of"), "{said}");
        let helps = said.err.lines().find_map(|line| line.split_once("this laptop's: "));
        let looked = site.laptop.ok_as("dev", helps.unwrap_or_else(|| panic!("{said}")).1);
        assert!(looked.contains("System clock synchronized:"), "{looked}");
    });
    // The labels are real. Where the kernel has no SELinux, restorecon does nothing, but it is
    // setfiles by another name, which writes them all the same.
    let enforcing = say("getenforce", "echo Enforcing");
    let restorecon = say("restorecon", r#"[ $1 = -RFv ] && exec setfiles -Fv /root/policy "$2""#);
    let labels = format!(
        "{enforcing} && {restorecon} && \
         printf '/usr/libexec system_u:object_r:bin_t:s0\n/usr/libexec/.* <<none>>\n' \
         >/root/policy && \
         chcon system_u:object_r:usr_t:s0 /usr/libexec"
    );
    let undo = "rm /usr/local/bin/getenforce /usr/local/bin/restorecon";
    with(&site.vps, &labels, undo, || {
        let words = ["SELinux is in force", "usr_t", "restorecon -RFv /usr/libexec"];
        advised(site, &words);
        assert_eq!(site.vps.ok("stat -c %C /usr/libexec"), "system_u:object_r:bin_t:s0\n");
    });
}

#[test]
fn what_stops_a_setup_is_found_before_anything_is_sent() {
    lab::inside("preflight::what_stops_a_setup_is_found_before_anything_is_sent", || {
        let site = Site::boot().with_helper();
        let vps = &site.vps;
        let fails = |words: &[&str]| site.fails(SETUP, 1, words);
        let read_only = "mount --bind /usr/libexec /usr/libexec && \
                         mount -o remount,ro,bind /usr/libexec";
        let undo = "umount /usr/libexec";
        with(vps, read_only, undo, || {
            advised(&site, &["read-only", "remount,rw /usr/libexec"]);
        });
        let units =
            "mount --bind /etc/systemd /etc/systemd && mount -o remount,ro,bind /etc/systemd";
        with(vps, units, "umount /etc/systemd", || {
            advised(&site, &["/etc/systemd/system is on", "remount,rw /etc/systemd"]);
        });
        images(&site, read_only);
        clock_and_labels(&site);
        let small = "mount -t tmpfs -o size=200M,nr_inodes=20,uid=2001,mode=700 none /home/dev && \
                     cp -a /root/dev-ssh /home/dev/.ssh";
        vps.ok("cp -a /home/dev/.ssh /root/dev-ssh");
        let undo = "umount /home/dev";
        with(vps, small, undo, || fails(&["more files (inodes)", "df -i ."]));
        // Where the kernel is its own, it can load the module.
        let tun = "mount -t tmpfs none /dev/net && \
                   mount --bind /bin/false /usr/bin/systemd-detect-virt";
        let undo = "umount /dev/net /usr/bin/systemd-detect-virt";
        with(vps, tun, undo, || {
            // No kernel of a container's has modules that could be loaded, which is said.
            let words = ["no /dev/net/tun", "sudo modprobe tun"];
            shown(&site, &words, "tun");
            // What another one does when it loads it; modprobe itself is real.
            vps.ok("echo 'install tun mknod /dev/net/tun c 10 200' >/etc/modprobe.d/here.conf");
            advised(&site, &words);
            vps.ok("rm /etc/modprobe.d/here.conf");
        });
        let keys = "mkdir /etc/ssh/keys && cp /home/dev/.ssh/authorized_keys /etc/ssh/keys/dev && chmod 644 /etc/ssh/keys/dev && \
                    echo 'AuthorizedKeysFile /etc/ssh/keys/%u .ssh/authorized_keys' \
                    >>/etc/ssh/sshd_config && mv /home/dev /home/away && \
                    systemctl restart sshd-here && sleep 1";
        with(vps, keys, "rm -r /home/dev; mv /home/away /home/dev", || {
            advised(&site, &["is missing", "mkhomedir_helper dev"]);
        });
        with(vps, "chown root /home/dev", "chown dev /home/dev", || {
            advised(&site, &["you may not write in /home/dev", "sudo chown dev /home/dev"]);
        });
        // Two sessions at a time are needed.
        let sessions = "cp /etc/ssh/sshd_config /root/before && \
                        echo 'MaxSessions 1' >>/etc/ssh/sshd_config && \
                        systemctl restart sshd-here && sleep 1";
        let undo = "cp /root/before /etc/ssh/sshd_config && systemctl restart sshd-here && sleep 1";
        with(vps, sessions, undo, || {
            site.fails(SETUP, 6, &["opens no session more", "grep -ri MaxSessions /etc/ssh"]);
        });

        // Where nothing can be run in a home or in /tmp, it is run where it is to live.
        vps.ok("mount -t tmpfs -o noexec,uid=2001,mode=700 none /home/dev && \
                cp -a /root/dev-ssh /home/dev/.ssh && mount -o remount,noexec /tmp");
        site.hop_ok(SETUP);
        site.hop_ok("up");
        contexts::tell_the_same(&site);
        contexts::a_mark_is_put_back(&site);
        assert_eq!(vps.ok("ls -A /usr/libexec/hopbox | grep -c sent || true"), "0\n");
    });
}
