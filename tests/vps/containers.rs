//! Containers of a login's own podman, under the login's manager: beside the agent, through the
//! death of their keeper, and there again after a reboot.

use serde_json::json;

use crate::lab;
use crate::machine::Machine;
use crate::services::Server;

const MANIFEST: &str = r#"
name: app
services:
  web:
    type: container
    image: "box:1"
    command: [sh, -c, 'trap "exit 7" TERM; echo "up $WHO"; httpd -p 80 -h /data; while :; do sleep 0.05; done']
    ports: ["8080:80"]
    env: {WHO: "a container"}
    data: [{host: "~/data", container: /data}]
    limits: {memory: 64M, pids: 40}
  asks:
    type: container
    image: "box:1"
    command: [wget, -q, -O, "-", "http://web:8080/"]
    restart: never
"#;

/// What rootless podman needs in a machine like this: numbers for others than the login, files that
/// are copied and not laid over others, and a /proc that nothing hides a part of.
fn prepare(vps: &Machine) {
    vps.ok("echo dev:100000:65536 | tee /etc/subuid >/etc/subgid; \
            mkdir -p /etc/containers /var/whole/proc /var/whole/sys; \
            printf '[storage]\\ndriver = \"vfs\"\\n' >/etc/containers/storage.conf");
    visible(vps);
    vps.ok_as(
        "dev",
        "mkdir -p box/bin box/tmp box/etc data; echo hello >data/index.html; \
            for file in /bin/busybox $(ldd /bin/busybox | grep -o '/[^ ]*'); do \
            install -D $file box$file; done; \
            for name in sh sleep httpd wget; do ln -s busybox box/bin/$name; done; \
            tar -C box -cf box.tar .; \
            XDG_RUNTIME_DIR=/run/user/2001 podman import -q box.tar docker.io/library/box:1",
    );
}

/// In each life of the machine.
fn visible(vps: &Machine) {
    vps.ok("mount -t proc proc /var/whole/proc; mount -t sysfs sysfs /var/whole/sys");
}

#[test]
fn a_login_has_containers_of_its_own() {
    lab::inside("containers::a_login_has_containers_of_its_own", || {
        // The device is everybody's, as udev makes it elsewhere.
        lab::sh("mknod -m 0666 /run/tun c 10 200; mount --bind /run/tun /dev/net/tun");
        let mut server = Server::set_up("dev");
        prepare(&server.vps);
        server.wants("dev", MANIFEST);
        let podman = |server: &Server, words: &str| {
            let words = format!("XDG_RUNTIME_DIR=/run/user/2001 podman {words}");
            server.vps.ok_as("dev", &words).trim().to_owned()
        };
        let id = |server: &Server| podman(server, "inspect -f '{{.Id}}' hopbox-app.web");
        let view = server.act("start", "web");
        let log = "cat .local/state/hopbox-agent/app/services/web/log";
        assert_eq!(view["state"], "running", "{view}\n{}", server.vps.ok_as("dev", log));
        let first = id(&server);
        server.until("web", |_| server.said("dev", "web").contains("up a container"));
        assert_eq!(server.vps.ok("curl -sS -m 10 http://10.10.0.2:8080/"), "hello\n");
        // Containers of a workspace know each other's names.
        server.act("start", "asks");
        server.until("asks", |view| view["state"] == "done");
        assert!(server.said("dev", "asks").ends_with("hello\n"));
        // A limit is what the kernel has; where it has none, that is said.
        let degraded = view["degraded"].as_array().unwrap().len();
        let group = server.vps.ok(&format!("cat /proc/{}/cgroup", view["pid"]));
        let has_own = group.lines().any(|line| line.starts_with("0::") && line.contains("libpod"));
        assert_eq!(degraded, if has_own { 0 } else { 2 }, "{view} {group}");

        for unit in ["hop-agent-work", "hop-agent"] {
            server.vps.ok(&format!("kill -9 $(systemctl show -P MainPID {unit})"));
        }
        server.vps.ok("/usr/libexec/hopbox/hop-agent start --restart");
        let after = server.until("web", |view| view["state"] == "running");
        assert_eq!((&after["pid"], id(&server)), (&view["pid"], first.clone()));
        let keeper = server.user_unit("web", "MainPID");
        server.vps.ok(&format!("kill -9 {keeper}"));
        let again = server.until("web", |now| {
            now["state"] == "running"
                && now["pid"].is_u64()
                && now["generation"] != view["generation"]
        });
        assert_eq!((&again["last_exit"], id(&server)), (&json!({"lost": "keeper"}), first.clone()));
        assert_eq!(podman(&server, "ps -q | wc -l"), "1");

        let stopped = server.act("stop", "web");
        assert_eq!(
            (&stopped["state"], &stopped["last_exit"]),
            (&json!("stopped"), &json!({"code": 7}))
        );
        assert_eq!(podman(&server, "ps -q | wc -l"), "0");
        server.act("start", "web");

        server.vps.reboot();
        visible(&server.vps);
        let back = server.until("web", |view| view["state"] == "running" && view["pid"].is_u64());
        assert!(back["generation"].as_u64() > again["generation"].as_u64(), "{back}");
        assert_eq!(id(&server), first);
        assert_eq!(server.vps.ok("curl -sS -m 10 http://10.10.0.2:8080/"), "hello\n");
    });
}
