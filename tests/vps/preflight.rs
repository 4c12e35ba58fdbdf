//! What stops a setup is found before anything is sent, and what need not stop it does not.

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

#[test]
fn what_stops_a_setup_is_found_before_anything_is_sent() {
    lab::inside("preflight::what_stops_a_setup_is_found_before_anything_is_sent", || {
        let site = Site::boot().with_helper();
        let vps = &site.vps;
        let fails = |words: &[&str]| site.fails(SETUP, 1, words);
        let read_only = "mount --bind /usr/libexec /usr/libexec && \
                         mount -o remount,ro,bind /usr/libexec";
        let undo = "umount /usr/libexec";
        with(vps, read_only, undo, || fails(&["read-only", "remount,rw /usr"]));
        let image = format!("{read_only} && touch /run/ostree-booted");
        let undo = "umount /usr/libexec && rm /run/ostree-booted";
        with(vps, &image, undo, || fails(&["is an image", "ostree admin unlock"]));
        let small = "mount -t tmpfs -o size=200M,nr_inodes=20,uid=2001,mode=700 none /home/dev && \
                     cp -a /root/dev-ssh /home/dev/.ssh";
        vps.ok("cp -a /home/dev/.ssh /root/dev-ssh");
        let undo = "umount /home/dev";
        with(vps, small, undo, || fails(&["more files (inodes)", "df -i ."]));
        let tun = "mount -t tmpfs none /dev/net";
        with(vps, tun, "umount /dev/net", || fails(&["no /dev/net/tun", "modprobe"]));
        let keys = "mkdir /etc/ssh/keys && cp /home/dev/.ssh/authorized_keys /etc/ssh/keys/dev && chmod 644 /etc/ssh/keys/dev && \
                    echo 'AuthorizedKeysFile /etc/ssh/keys/%u .ssh/authorized_keys' \
                    >>/etc/ssh/sshd_config && mv /home/dev /home/away && \
                    systemctl restart sshd-here && sleep 1";
        with(vps, keys, "mv /home/away /home/dev", || {
            fails(&["is missing", "mkhomedir_helper dev"])
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
        assert_eq!(vps.ok("ls -A /usr/libexec/hopbox | grep -c sent || true"), "0\n");
    });
}
