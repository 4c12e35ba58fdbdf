//! The day in which the examples are typed: who types what, and what it says. The order matters.

/// Who types, and where: dev in `~/app` and in the source directory, root; and on a server gandalf
/// and root.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Who {
    Dev,
    Source,
    Root,
    Gandalf,
    There,
}
pub use Who::{Dev, Gandalf, Root, Source, There};

#[derive(Debug)]
pub enum Step {
    /// What the page takes for granted, or what follows an example to see that it did its work.
    Do(Who, &'static str),
    /// An example, and a word of what it says.
    Type(Who, &'static str, &'static str),
    /// The same at a terminal, with what is asked there and answered.
    Ask(Who, &'static str, &'static [(&'static str, &'static str)], &'static str),
    /// An example that is a text, known by how it begins, in a file.
    Put(Who, &'static str, &'static str),
    /// What the page says that a terminal showed has the shape of what one has shown.
    Shown(&'static str),
}
pub use Step::{Ask, Do, Put, Shown, Type};

/// Examples that other tests run, since they need what is not here: the example, and where.
pub const ELSEWHERE: [(&str, &str); 5] = [
    ("hop selftest", "tests/selftest/tests/selftest.rs::fn passes_quickly_and_leaves_nothing()"),
    ("make check", ".ci/run::exec make check"),
    ("make bench", "Makefile::$(BENCH_RUN) --hop"),
    ("make prove", "tests/dist.sh::make -s -j8 prove"),
    (
        "export DISPLAY=:7",
        "tests/agent/bridges.rs::fn what_the_manual_says_of_a_display_of_ones_own_is_so()",
    ),
];

const PROJECT: &str =
    "mkdir -p projects/app && cd projects/app && printf 'all:\\n\\techo built\\n' >Makefile";
const WEB: &str = r#"cat >hopbox.yaml <<'END'
name: app
services:
  web:
    type: native
    command: python3 -u -m http.server 5173
    ports: ["5173"]
    data: [{host: ~/data}]
bridges: [{type: clipboard}, {type: xdg-open}, {type: notifications}]
backup: {backend: restic, target: /home/gandalf/snaps, password_env: SNAPS}
env: {SNAPS: secret}
END
hop up -y --wait"#;
const BROWSER: &str = "printf '#!/bin/sh\\necho \"$@\" >>$HOME/opened\\n' >opens && \
    sudo install opens /usr/local/bin/xdg-open && sudo install opens /usr/local/bin/code";
const REPLIES: &str = r#"python3 - <<'END'
import json, socket
request, good, bad = [line.replace("{...}", "{}") for line in open("lines")]
s = socket.socket(socket.AF_UNIX); s.connect("/run/hopbox/helper.sock"); f = s.makefile("rw")
who = {"client_version": "0", "client_protocol_version": 1}
hello = json.dumps({"v": 1, "id": "0", "op": "daemon.handshake", "args": who})
for line, form in (hello, good), (request, good), (request.replace("1420", "1"), bad):
    print(line.strip(), file=f, flush=True)
    reply, form = json.loads(f.readline()), json.loads(form)
    assert reply.keys() == form.keys() and reply["ok"] == form["ok"], reply
    assert reply["ok"] or reply["error"].keys() >= form["error"].keys(), reply
END"#;
const POSTGRES: &str = "cd /usr/lib/postgresql/*/bin && ./initdb -D ~/pg -A trust >/dev/null && \
    echo 'host all all 10.10.0.0/16 trust' >>~/pg/pg_hba.conf && \
    ./pg_ctl -D ~/pg -w -l ~/pg.log -o '-k /tmp -c listen_addresses=*' start >/dev/null";

pub const DAY: &[Step] = &[
    // The laptop gets hopbox.
    Type(Source, "make help", "make demo"),
    Type(Source, "make && sudo make install", "is in /usr/local"),
    Type(
        Source,
        "rustup target add x86_64-unknown-linux-musl aarch64-unknown-linux-musl",
        "x86_64-unknown-linux-musl",
    ),
    Type(Source, "make agents && sudo make install", "built for aarch64-unknown-linux-musl"),
    Type(Source, "make demo", "passed"),
    Type(Root, "hop-helper --install", ""),
    Type(Source, "sudo hop-helper --install", ""),
    Type(Dev, "sudo hop-helper --install && systemctl status hop-helper.socket", "active"),
    Type(Dev, "echo '{\"v\":1", "\"ok\":true"),
    Put(Dev, "{\"v\":1,\"id\":\"1\",\"op\":\"tun.create\"", "lines"),
    Do(Dev, REPLIES),
    Do(
        Root,
        "ip link add wg0 type dummy && ip link del wg0; umask 077; \
              printf '[Interface]\\nPrivateKey = %s\\n' $(wg genkey) >wg0.conf",
    ),
    Type(Root, "hop wg wg0 && wg setconf wg0 wg0.conf", ""),
    Do(Root, "wg show wg0 public-key | grep = && ip link del wg0"),
    // A server by the manual, and its end by the README.
    Type(Dev, "hop setup mybox -a root@203.0.113.7", "mybox is ready"),
    Type(Dev, "hop up mybox", "mybox is up"),
    Type(Dev, "curl http://mybox.hop:4200/health", "\"ok\""),
    Type(Dev, "hop doctor", "mybox"),
    Type(Dev, "hop doctor mybox", "mybox"),
    Ask(Dev, "hop uninstall --remote --purge", &[("[y/N]", "y")], "mybox"),
    Type(Dev, "sudo hop-helper --uninstall", ""),
    Do(Source, "sudo hop-helper --install"),
    // A day with another.
    Ask(
        Dev,
        "hop setup mybox -a gandalf@203.0.113.7",
        &[("Let `ssh mybox.hop` know", "y")],
        "ready",
    ),
    Ask(Dev, "hop up", &[], "mybox is up"),
    Ask(Dev, "hop status", &[], "answered now"),
    Shown("1/7 reaching 203.0.113.7"),
    Put(Dev, "# --- hopbox managed ---", "begins"),
    Put(Dev, "# --- end hopbox ---", "ends"),
    Do(Dev, "grep -qxFf begins ~/.ssh/config && grep -qxFf ends ~/.ssh/config"),
    Type(Dev, "hop setup mybox --endpoint host:port", "ready"),
    Do(Dev, "hop up"),
    Do(Gandalf, POSTGRES),
    Do(There, "systemd-run -q --uid gandalf python3 -m http.server 8000 -d /home/gandalf; sleep 1"),
    Type(Dev, "curl http://mybox.hop:8000", "Directory listing"),
    Type(Dev, "psql -h mybox.hop", "(1 row)"),
    Type(Dev, "ssh mybox.hop", ""),
    Do(Gandalf, PROJECT),
    Do(Dev, BROWSER),
    Type(Dev, "hop code projects/app", ""),
    Type(Dev, "hop code -H mybox projects/app", ""),
    Do(Dev, "grep -c 'ssh-remote+mybox.hop /home/gandalf/projects/app' ~/opened | grep 2"),
    Type(Dev, "hop run -- make -C projects/app", "built"),
    Type(Dev, "hop run -- tar cz projects | tar tz", "projects/app/Makefile"),
    Type(Dev, "hop init", ""),
    Do(Dev, "rm hopbox.yaml"),
    Type(Dev, "hop init && hop up", "hopbox.yaml"),
    Do(Dev, "rm hopbox.yaml"),
    Put(Dev, "name: myapp", "hopbox.yaml"),
    Do(Dev, "hop --no-input up 2>&1 | tee /dev/stderr | grep postgres"),
    Put(Dev, "# yaml-language-server", "first"),
    Do(
        Dev,
        "test -s $(sed 's/.*schema=//' first); \
         cat first hopbox.yaml >both && mv both hopbox.yaml && \
             hop --no-input up 2>&1 | grep postgres",
    ),
    Do(Gandalf, "mkdir data && echo kept >data/file"),
    Do(Dev, WEB),
    Type(Dev, "hop services ls", "web"),
    Type(Dev, "hop services restart web", "web"),
    Type(Dev, "hop wait service:web", ""),
    Type(Dev, "hop logs web", "Serving HTTP"),
    Type(Dev, "hop logs --since 10m", "Serving HTTP"),
    Type(Dev, "hop snap create", "is a snapshot of app"),
    Type(Dev, "hop ports", "5173"),
    Type(Dev, "hop ports open 5173", ""),
    Do(Dev, "grep 5173 ~/opened"),
    Do(
        Dev,
        "until hop bridge ls --json | grep -q '\"connected\":true'; do sleep 0.2; done; \
             (until hop bridge answer yes; do sleep 0.2; done >/dev/null 2>&1 &)",
    ),
    Type(Gandalf, "hop-agent ask \"deploy?\"", ""),
    Type(Gandalf, "export BROWSER=$HOME/.local/bin/xdg-open", ""),
    Do(Dev, "for i in $(seq 50); do grep 203.0.114.9 ~/opened && exit; sleep 0.2; done; exit 1"),
    Do(
        Dev,
        "python3 -c \"import json,os; print('Authorization: Bearer '+json.load(open(\
             os.path.expanduser('~/.config/hopbox/hosts/mybox.json')))['token'])\" >token",
    ),
    Do(Gandalf, "cp projects/app/Makefile ."),
    Type(Dev, "curl -sN http://mybox.hop:4200/rpc", "built"),
    Type(Dev, "hop firewall ls", "51820"),
    Type(There, "nft list table inet hopbox", "51820"),
    Put(Gandalf, "import json, socket", "mine.py"),
    Do(Gandalf, "python3 mine.py | grep accepted"),
    Type(Gandalf, "loginctl enable-linger", ""),
    Do(
        There,
        "echo '{\"version\":1,\"public_key\":\"cGFzc2luZyBieSBhIHJpdmVyIGluIHRoZSBhdXR1bW4=\",\
               \"name\":\"oldlaptop\",\"user\":\"gandalf\"}' | /usr/libexec/hopbox/hop-agent setup",
    ),
    Ask(
        Dev,
        "hop host peers mybox && hop host revoke -H mybox oldlaptop",
        &[("[y/N]", "y")],
        "oldlaptop",
    ),
    Type(Dev, "hop rotate", "mybox"),
    Put(Gandalf, "command=\"/usr/libexec/hopbox/hop-agent datagrams\"", ".ssh/bound"),
    Do(
        Gandalf,
        "cd .ssh && cp authorized_keys all && \
                 sed \"s|ssh-ed25519 \\.\\.\\.|$(cat all)|\" bound >authorized_keys",
    ),
    Do(
        Dev,
        "hop down && hop up --transport ssh && curl -s http://mybox.hop:4200/health && \
             hop down && ! ssh -n mybox.hop true",
    ),
    Do(Gandalf, "mv .ssh/all .ssh/authorized_keys"),
    Do(Dev, "hop up --transport udp"),
    Type(Dev, "hop bugreport", "\"hosts\""),
    Ask(Dev, "hop to newbox -a gandalf@198.51.100.9", &[("[y/N]", "y")], "newbox"),
    Type(Dev, "hop down", ""),
    Type(Dev, "hop autostart on", "newbox"),
    Type(Dev, "hop help", "autostart"),
    Put(Root, "{\"reserve\":", "/etc/hopbox/helper.json"),
    Do(Dev, "sudo systemctl restart hop-helper && hop up newbox && hop doctor newbox"),
    Do(Root, "rm /etc/hopbox/helper.json"),
    Type(Dev, "hop firewall backend", ""),
    Type(Source, "sudo make uninstall", "is gone"),
];

/// What a page leaves to the reader.
pub const FILLED: [(&str, &str); 4] = [
    // No login manager has seen gandalf come.
    ("loginctl enable-linger", "sudo loginctl enable-linger gandalf"),
    ("hop logs", "timeout -s INT 2 hop logs"),
    ("host:port", "203.0.113.7:51820"),
    ("psql -h", "PGUSER=gandalf PGDATABASE=postgres psql -c 'select 1' -h"),
];

/// What follows in the same shell.
pub const AFTER: [(&str, &str); 2] = [
    // It goes on until it is stopped.
    ("hop logs", " || [ $? = 124 ]"),
    ("export BROWSER", "; timeout 20 python3 -m webbrowser https://203.0.114.9/"),
];
