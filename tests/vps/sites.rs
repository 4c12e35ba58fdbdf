//! What the world sees of a workspace, from the laptop's `hop up`: ports and names are asked for,
//! opened and served after a yes alone, and ended with their service; what sudo let users do with
//! nginx is taken back for that. The world is a namespace beside the server.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::containers;
use crate::lab;
use crate::machine::CTRL_C;
use crate::site::Site;

const SOON: Duration = Duration::from_secs(30);
const FRAGMENT: &str = "/etc/sudoers.d/hop3";
const ASIDE: &str = "/etc/sudoers.d/hop3.hopbox-retired";
/// What an installer before this one has written, with a line of somebody else's.
const RULES: &str = "# for nginx\npat ALL=(root) NOPASSWD: /usr/sbin/nginx -t\n\
    dev ALL=(root) NOPASSWD: /usr/bin/systemctl reload nginx, \\\n\
    \x20   /usr/sbin/nginx -t\n";
const REST: &str = "# for nginx\npat ALL=(root) NOPASSWD: /usr/sbin/nginx -t\n";

/// Nothing listens at 0.0.0.0 but what is public.
const MANIFEST: &str = r#"name: app
host: mybox
services:
  open:
    type: container
    image: "box:1"
    command: [httpd, -f, -p, "80", -h, /data]
    data: [{host: "~/data", container: /data}]
    ports: ["8080:80"]
  web:
    type: native
    command: 'exec python3 -m http.server --bind 127.0.0.1 8090'
    workdir: ~/data
    ports: [8090]
"#;

fn want(site: &Site, manifest: &str) {
    let file = site.laptop.path("/home/dev/app/hopbox.yaml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, manifest).unwrap();
}

/// `hop up` at a terminal, and what is typed at its question.
fn asked(site: &Site, answer: &str) -> (i32, String) {
    let answers = [("Do this on mybox? [y/N]", answer)];
    // Ctrl-C and the end of the terminal reach the shell, too.
    let line = "trap : INT HUP; rm -f code; cd app && hop up; echo $? >~/code";
    let said = site.laptop.dialogue("dev", line, &answers).out;
    let end = Instant::now() + SOON;
    loop {
        let code = site.laptop.sh_as("dev", "cat code").out;
        match code.trim().parse() {
            Ok(code) => return (code, said),
            Err(_) => assert!(Instant::now() < end, "{said}"),
        }
    }
}

/// What the world gets from the server, once it is that.
fn world(site: &Site, url: &str, expected: &str) {
    let ask = format!(
        "ip netns exec world curl -s -m 2 -w '%{{http_code}}' --resolve app.example.org:80:192.0.2.1 {url}"
    );
    let end = Instant::now() + SOON;
    loop {
        let said = site.vps.sh(&ask).out;
        if said == expected {
            return;
        }
        let there = || site.vps.sh("nft list ruleset; ss -ltnp; cat /etc/hopbox/nginx/*").out;
        assert!(Instant::now() < end, "{url}: {said:?}, not {expected:?}\n{}", there());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Debian's, in no directory of programs.
const DOCKERD: &str = "/usr/share/docker.io/contrib/dockerd-rootless.sh";

/// What a laptop's user gets at a port, and what is told of who listens there.
fn told_here(site: &Site, port: u16) -> (String, Value) {
    let page = site.laptop.sh_as("dev", &format!("curl -s -m 5 http://127.0.0.1:{port}/")).out;
    let ports: Value = serde_json::from_str(&site.hop_ok("--json ports")).unwrap();
    let all = ports["data"]["ports"].as_array().unwrap();
    let of = all.iter().find(|view| view["port"] == port);
    (page, of.map(|view| view["server"]["owner"].clone()).unwrap_or_default())
}

/// Containers of the login's own engines are at the laptop's loopback, as every program is: the
/// workspace's, and those that somebody has started by hand.
fn here(site: &Site) {
    let dev = |line: &str| {
        let login = "export XDG_RUNTIME_DIR=/run/user/2001 DOCKER_HOST=unix:///run/user/2001/d";
        site.vps.ok_as("dev", &format!("{login}; {line}"))
    };
    let serves = "-v $HOME/data:/data box:1 httpd -f -p 80 -h /data";
    dev(&format!("podman run -d --name all -p 8083:80 {serves}"));
    dev(&format!("podman run -d --name inner -p 127.0.0.1:8084:80 {serves}"));
    let mut all = vec![(8080, "busybox"), (8083, "rootlessport"), (8084, "rootlessport")];
    all.push((8090, "python3"));
    if site.vps.sh(&format!("command -v rootlesskit && test -e {DOCKERD}")).code == 0 {
        dev(&format!(
            "setsid sh {DOCKERD} -H $DOCKER_HOST --storage-driver vfs >docker.log 2>&1 & \
             for i in $(seq 300); do docker version >/dev/null 2>&1 && break; sleep 0.1; done; \
             docker import box.tar box:1 || {{ cat docker.log >&2; exit 1; }}; \
             docker run -d --name docked -p 8085:80 {serves}"
        ));
        all.push((8085, "rootlesskit"));
    } else {
        eprintln!("NOTE a docker without root: not installed here, its ports are not tried");
    }
    for (port, program) in all {
        let end = Instant::now() + SOON;
        loop {
            let (page, owner) = told_here(site, port);
            let is_its = owner["program"].as_str().is_some_and(|found| found.starts_with(program));
            if page == "hello\n" && is_its {
                let container = if port == 8080 { json!("hopbox-app.open") } else { Value::Null };
                assert_eq!(owner["container"], container, "{port}: {owner}");
                break;
            }
            assert!(Instant::now() < end, "{port}: {page:?} {owner}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    dev("podman rm -f -t 0 all inner; pid=$XDG_RUNTIME_DIR/docker.pid; \
         [ ! -e $pid ] || { docker rm -f docked && kill $(cat $pid); }");
}

const OPEN: &str = "http://192.0.2.1:8080/";
const NAMED: &str = "http://app.example.org/";

fn prepare() -> Site {
    // The device is everybody's, as udev makes it elsewhere.
    lab::sh("mknod -m 0666 /run/tun c 10 200; mount --bind /run/tun /dev/net/tun");
    let site = Site::boot().with_helper();
    let vps = &site.vps;
    vps.ok("systemctl start nginx; ip netns add world && \
            ip link add near type veth peer name far netns world && \
            ip addr add 192.0.2.1/24 dev near && ip link set near up && \
            ip -n world addr add 192.0.2.2/24 dev far && ip -n world link set far up");
    // A server's own firewall, which is no business of ours: what is new is dropped, but for SSH,
    // the tunnel, and what it was told.
    fs::write(vps.path(FRAGMENT), RULES).unwrap();
    vps.ok(&format!("chmod 0440 {FRAGMENT} && mv /usr/sbin/nginx /root/nginx"));
    site.hop_ok("setup mybox -a dev@198.51.100.2");
    assert_eq!(fs::read_to_string(vps.path(FRAGMENT)).unwrap(), RULES, "the helper has no nginx");
    containers::prepare(vps);
    site.hop_ok("up");
    site
}

fn retired(site: &Site) {
    let vps = &site.vps;
    vps.ok("mv /root/nginx /usr/sbin/nginx");
    let again = "sudo /usr/libexec/hopbox/hop-helper-server --install";
    let dry = vps.ok_as("dev", &format!("{again} --dry-run"));
    assert!(dry.contains(&format!("would retire the rules for nginx in {FRAGMENT}")), "{dry}");
    // One that sudo does not read at all shows that visudo is heard.
    vps.ok("echo nonsense >/etc/sudoers.d/odd && chmod 0440 /etc/sudoers.d/odd");
    let said = vps.sh("/usr/libexec/hopbox/hop-helper-server --install");
    assert!(said.code != 0 && said.err.contains("stays as it was: visudo -c"), "{said}");
    assert_eq!(fs::read_to_string(vps.path(FRAGMENT)).unwrap(), RULES);
    vps.ok("rm /etc/sudoers.d/odd");
    let said = vps.ok_as("dev", again);
    assert!(said.contains(&format!("retire the rules for nginx in {FRAGMENT}")), "{said}");
    assert_eq!(fs::read_to_string(vps.path(FRAGMENT)).unwrap(), REST);
    assert_eq!(fs::read_to_string(vps.path(ASIDE)).unwrap(), RULES);
    assert_eq!(
        vps.ok(&format!("visudo -cq; stat -c %a%U {FRAGMENT} {ASIDE}")),
        "440root\n440root\n"
    );
    assert!(vps.ok("sudo -l -U pat").contains("nginx -t"));
    assert!(!vps.ok("sudo -l -U dev").contains("nginx"));
    let said = vps.ok_as("dev", again);
    assert!(!said.contains("retire"), "{said}");
}

/// It is the end of all that the helper has for it. The helper stays.
fn agents_end(site: &Site) {
    let mounted = "grep -q ' /home/dev/scratch ' /proc/1/mountinfo";
    site.vps.ok(mounted);
    site.vps.ok("/usr/libexec/hopbox/hop-agent uninstall --purge");
    assert_ne!(site.vps.sh(mounted).code, 0);
    assert!(!site.vps.ok("cat /etc/hopbox/nginx/sites.conf").contains("server {"));
    assert_ne!(site.vps.sh("nft list table inet hopbox | grep accept").code, 0);
    site.vps.ok("systemctl is-active hop-helper-server.socket");
}

#[test]
fn a_site_is_asked_for_served_and_ended() {
    lab::inside("sites::a_site_is_asked_for_served_and_ended", || {
        let site = prepare();
        retired(&site);
        want(&site, MANIFEST);
        let (code, said) = asked(&site, "y");
        assert_eq!(code, 0, "{said}");
        world(&site, OPEN, "000");
        here(&site);

        // Whatever is no yes changes nothing.
        let public = MANIFEST.replace("    ports", "    public: true\n    ports").replacen(
            "    public: true\n    ports: [8090]",
            "    domain: app.example.org\n    ports: [8090]",
            1,
        );
        want(&site, &public);
        let rules = "nft list table inet hopbox; cat /etc/hopbox/nginx/sites.conf";
        let before = site.vps.sh(rules).out;
        let (code, said) = asked(&site, "n");
        assert_eq!(code, 10, "{said}");
        for line in [
            "  + open tcp/8080 to the internet, for open",
            "  + open tcp/80 to the internet, for web",
            "    in the server's own firewall (nftables)",
            "  + serve app.example.org by nginx, from port 8090 of web",
        ] {
            assert!(said.contains(line), "{line}: {said}");
        }
        assert_eq!(asked(&site, CTRL_C).0, 130);
        for up in ["HOP_NO_INPUT=1 hop up", "hop up </dev/null", "hop --no-input up"] {
            let said = site.laptop.sh_as("dev", &format!("cd app && {up}"));
            assert_eq!(said.code, 13, "{up}: {said}");
            assert_eq!(said.fix(), "hop up --yes", "{up}");
        }
        let quiet = site.laptop.dialogue("dev", "cd app && HOP_NO_INPUT=1 hop up", &[]);
        assert_eq!(quiet.code, 13, "{quiet}");
        assert_eq!(site.vps.sh(rules).out, before);
        world(&site, OPEN, "000");

        let (code, said) = asked(&site, "y");
        assert_eq!(code, 0, "{said}");
        world(&site, OPEN, "hello\n200");
        world(&site, NAMED, "hello\n200");
        let told = site.laptop.ok_as("dev", "cd app && hop up");
        assert!(told.contains("app on mybox is as it should be\n"), "{told}");

        // A name that nginx has for others ends what was started for it, and what was opened.
        site.vps.ok("echo 'server { listen 80; server_name taken.example.org; }' \
                     >/etc/nginx/conf.d/own.conf");
        let other = public.replace("app.example.org", "taken.example.org").replace("8090", "8091");
        want(&site, &other);
        let said = site.laptop.sh_as("dev", "cd app && hop -y up");
        assert!(said.err.contains("    and app.example.org no more"), "{said}");
        let why = "web is stopped, since it is not open: ";
        assert!(said.code != 0 && said.err.contains(why), "{said}");
        assert!(said.err.contains("taken.example.org in /etc/nginx/conf.d/own.conf"), "{said}");
        assert_eq!(said.fix(), "hop up mybox");
        site.vps.ok("rm /etc/nginx/conf.d/own.conf");

        // It ends with what it was for.
        want(&site, MANIFEST);
        let (code, said) = asked(&site, "y");
        assert_eq!(code, 0, "{said}");
        for line in ["  - close tcp/", "  - serve app.example.org no more, for web"] {
            assert!(said.contains(line), "{line}: {said}");
        }
        world(&site, OPEN, "000");
        assert!(!site.vps.ok("cat /etc/hopbox/nginx/sites.conf").contains("server {"));
        assert_ne!(site.vps.sh("nft list table inet hopbox | grep -e ' 80 ' -e 8080").code, 0);

        let scratch = "    tmpfs: [{path: ~/scratch, size: 1M}]\n    domain:";
        want(&site, &public.replace("    domain:", scratch));
        site.laptop.ok_as("dev", "cd app && hop -y up");
        world(&site, NAMED, "hello\n200");
        agents_end(&site);
        site.hop_ok("-y uninstall --remote --purge -H mybox");
        let left = "ls /etc/hopbox /etc/nginx/sites-enabled/zzz-hopbox.conf 2>/dev/null";
        assert_eq!(site.vps.sh(left).out, "");
        let welcome = site.vps.ok("curl -s -H 'Host: app.example.org' http://127.0.0.1/");
        assert!(welcome.contains("nginx"), "{welcome}");
    });
}
