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
pub fn prepare(vps: &Machine) {
    vps.ok("echo dev:100000:65536 | tee /etc/subuid >/etc/subgid; \
            mkdir -p /etc/containers /var/whole/proc /var/whole/sys; \
            printf '[storage]\\ndriver = \"vfs\"\\n' >/etc/containers/storage.conf");
    visible(vps);
    image(vps, "XDG_RUNTIME_DIR=/run/user/2001 podman import -q");
}

/// One of busybox.
pub fn image(vps: &Machine, import: &str) {
    let script = format!(
        "mkdir -p box/bin box/tmp box/etc data; echo hello >data/index.html; \
            for file in /bin/busybox $(ldd /bin/busybox | grep -o '/[^ ]*'); do \
            install -D $file box$file; done; \
            for name in sh sleep httpd wget; do ln -s busybox box/bin/$name; done; \
            tar -C box -cf box.tar .; {import} box.tar docker.io/library/box:1"
    );
    vps.ok_as("dev", &script);
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
        unpublished(&server);
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

/// Connects with a port as a laptop does, and prints what its program says.
const REACH: &str = r#"
import json, socket, sys
token, port = sys.argv[1], int(sys.argv[2])
body = json.dumps({'method': 'ports.connect', 'params': {'port': port}})
s = socket.create_connection(('10.10.0.2', 4200), 30)
s.sendall(('POST /rpc HTTP/1.1\r\nHost: 10.10.0.2:4200\r\nAuthorization: Bearer %s\r\n'
           'Content-Type: application/json\r\nConnection: Upgrade\r\nUpgrade: hopbox-bytes\r\n'
           'Content-Length: %d\r\n\r\n%s' % (token, len(body), body)).encode())
heard = b''
while not heard.endswith(b'\r\n\r\n'):
    one = s.recv(1)
    if not one:
        sys.exit(heard.decode())
    heard += one
if b' 101 ' in heard:
    s.sendall(b'GET /index.html HTTP/1.0\r\n\r\n')
    heard = b''
while one := s.recv(65536):
    heard += one
print(heard.decode())
"#;

/// Containers that the login started itself and that publish nothing: in the network namespace that
/// podman makes for it, and on a network of its own with a user that is not the login; each is seen
/// and reached.
fn unpublished(server: &Server) {
    let podman = |words: &str| {
        server.vps.ok_as("dev", &format!("XDG_RUNTIME_DIR=/run/user/2001 podman {words}"))
    };
    let serves = |port: u16| format!("box:1 httpd -f -p {port} -h /data");
    let run = "run -d -v ./data:/data";
    podman(&format!("{run} --name alone {}", serves(18_080)));
    podman("network create own");
    podman(&format!("{run} --name netted --network own --user 33:33 {}", serves(18_081)));
    std::fs::write(server.vps.path("/root/reach"), REACH).unwrap();
    let reach =
        |port: u16| server.vps.sh(&format!("python3 /root/reach {} {port}", server.token()));
    for port in [18_080, 18_081] {
        let view = server.port(port);
        assert_eq!(view["owner"]["sandboxed"], true, "{view}");
        assert_eq!(view["owner"]["program"], "busybox", "{view}");
        let said = reach(port);
        assert!(said.out.ends_with("hello\n\n"), "{port}: {} {}", said.out, said.err);
    }
    podman("rm -f -t 0 alone netted");
}
