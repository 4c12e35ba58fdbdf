//! A container that gets no TUN device from its host, as many that are sold as servers: it is set
//! up all the same, and a workspace's services run there and are reached.

use super::lab;
use super::site::Site;

const MANIFEST: &str = r#"
name: app
services:
  web: {type: native, command: "exec python3 -m http.server --bind 127.0.0.1 8000"}
"#;

#[test]
fn a_container_without_a_device_is_set_up_and_serves_a_workspace() {
    lab::inside("userspace::a_container_without_a_device_is_set_up_and_serves_a_workspace", || {
        let site = Site::boot().with_helper();
        let (laptop, vps) = (&site.laptop, &site.vps);
        vps.ok("mount -t tmpfs none /dev/net");
        let said = site.hop("setup mybox -a 198.51.100.2");
        assert_eq!(said.code, 0, "{said}");
        assert!(said.err.contains("ends in userspace there"), "{said}");
        laptop.ok_as("dev", &format!("mkdir app && cat >app/hopbox.yaml <<'END'\n{MANIFEST}END"));
        laptop.ok_as("dev", "cd app && hop up --yes");
        assert!(site.hop_ok("status").contains("in userspace"));
        let curl = "curl -sS -m 10";
        laptop.ok(&format!(
            "ping -c 2 -W 5 mybox.hop && {curl} --retry 20 --retry-connrefused --retry-delay 1 \
             http://mybox.hop:8000/ | grep -q Directory"
        ));
        laptop.ok(&format!("{curl} http://mybox.hop:4200/health | grep -q userspace"));
        assert_eq!(laptop.ok_as("dev", "cd app && hop run -- id -un"), "dev\n");
        // sshd is root's, and not reached this way.
        vps.ok("python3 -c 'import socket;socket.create_connection((\"127.0.0.1\",22))'");
        let refused = laptop.sh(&format!("{curl} http://mybox.hop:22/"));
        assert_eq!(refused.code, 7, "{refused}");
        // A module that was loaded later is found by a restart, of the helper, too, which has the
        // node in its sandbox from its start.
        vps.ok("umount /dev/net; systemctl restart hop-helper hop-agent");
        laptop.ok(&format!(
            "for i in $(seq 100); do {curl} http://mybox.hop:4200/health | grep -q kernel && exit; \
             sleep 0.2; done; exit 1"
        ));
    });
}
