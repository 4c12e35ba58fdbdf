use std::time::Duration;

use super::*;
use crate::workspace::manifest::{Command, Condition, Kind, Manifest, Port, Probe, Restart};
use crate::workspace::wrong::MOST;

/// Has every key once.
const FULL: &str = include_str!("full.yaml");

fn good(text: &str) -> Manifest {
    manifest(text).unwrap_or_else(|wrongs| panic!("{text}\n{wrongs:#?}"))
}

fn wrong(text: &str) -> Vec<String> {
    let wrongs = manifest(text).map(|manifest| panic!("{text}\n{manifest:#?}")).unwrap_err();
    assert!(!wrongs.is_empty());
    wrongs.iter().map(ToString::to_string).collect()
}

#[test]
fn a_manifest_with_every_key_is_read() {
    let manifest = good(FULL);
    assert_eq!(manifest.host.as_deref(), Some("mybox"));
    assert_eq!(manifest.editor.extensions, ["golang.go"]);
    let desired = manifest.desired;
    let env: Vec<_> = desired.env.iter().collect();
    assert_eq!(env, [("A", "text"), ("B", "true"), ("E", ""), ("N", "3000"), ("V", "1.10")]);
    let postgres = &desired.services["postgres"];
    let Kind::Container(container) = &postgres.kind else { panic!("{postgres:?}") };
    assert_eq!(container.command, ["postgres", "-c", "shared_buffers=1 GB"]);
    assert_eq!(postgres.ports[1], Port { published: 9000, target: 80 });
    assert_eq!(postgres.limits.cpu_percent, Some(150));
    let health = postgres.health.as_ref().unwrap();
    assert_eq!((health.retries, health.steady), (5, Duration::from_secs(60)));
    assert_eq!(postgres.stop_timeout, Duration::from_secs(60));
    let migrate = &desired.services["migrate"];
    assert_eq!(migrate.depends_on["postgres"], Condition::Healthy, "listed: as far as can be");
    assert_eq!(migrate.restart, Restart::Never);
    let web = &desired.services["web"];
    let line = Command::Shell("npm run dev".to_owned());
    assert_eq!(web.kind, Kind::Native { command: line, workdir: Some("~/app".to_owned()) });
    assert!(matches!(web.health.as_ref().unwrap().probe, Probe::Http { port: 3000, .. }));
    assert!(!desired.auto_ports && !desired.sandboxed_ports && desired.bridges.len() == 4);
}

#[test]
fn the_name_alone_is_enough() {
    let manifest = good("name: myapp\nservices:\nenv: ~\nhooks: {}\n");
    assert!(manifest.desired.services.is_empty() && manifest.desired.auto_ports);
    assert_eq!(good("\u{feff}name: myapp\r\n").desired.workspace, "myapp");
}

#[test]
fn every_mistake_has_its_place_and_its_fix() {
    let mut failed = Vec::new();
    for (text, expected) in [
        ("", "line 1, column 1: name: is missing; write"),
        ("- name: a\n", "line 1, column 1: must be a map (key: value), not a list"),
        ("name: 7\n", "line 1, column 7: name: must be text, not 7; write \"7\" with quotes"),
        ("name: My App\n", "line 1, column 7: name: may only hold a-z, 0-9 and -; write it as"),
        ("name: a\nhost: ../x\n", "line 2, column 7: host: a host name"),
        ("name: a\nhost: [a]\n", "line 2, column 7: host: must be text, not a list"),
        (
            "name: a\nservces: {}\n",
            "line 2, column 1: servces: is not a known key; did you mean services?",
        ),
        (
            "name: a\npackages: [go]\n",
            "line 2, column 1: packages: is not a known key; hooks.setup runs what a workspace needs",
        ),
        ("name: a\neditor: vim\n", "line 2, column 9: editor: must be a map"),
        (
            "name: a\neditor:\n  path: {}\n",
            "line 3, column 9: editor.path: must be text, not a map",
        ),
        ("name: a\nservices: [web]\n", "line 2, column 11: services: must be a map (name: value)"),
        (
            "name: a\nservices:\n  Web: {type: native, command: x}\n",
            "line 3, column 3: services.Web: \"Web\" is no name of a service",
        ),
        (
            "name: a\nservices:\n  web: {command: x}\n",
            "line 3, column 8: services.web.type: is missing; write type: native",
        ),
        (
            "name: a\nservices:\n  web:\n",
            "line 3, column 6: services.web: is empty, and must be a map",
        ),
        (
            "name: a\nservices:\n  web: {type: docker, image: x}\n",
            "line 3, column 15: services.web.type: \"docker\" is not known here (did you mean container?)",
        ),
        (
            "name: a\nservices:\n  web: {type: natve, command: x}\n",
            "line 3, column 15: services.web.type: \"natve\" is not known here (did you mean native?)",
        ),
        (
            "name: a\nservices:\n  web: {type: native}\n",
            "line 3, column 8: services.web.command: is missing",
        ),
        (
            "name: a\nservices:\n  web: {type: native, command: x, image: y}\n",
            "line 3, column 35: services.web.image: is not a known key",
        ),
        (
            "name: a\nservices:\n  db: {type: container, image: x, command: \"a 'b\"}\n",
            "line 3, column 44: services.db.command: ends within '",
        ),
        (
            "name: a\nservices:\n  db: {type: container, image: x, ports: [99999]}\n",
            "line 3, column 43: services.db.ports[0]: \"99999\" is no port; write a whole number",
        ),
        (
            "name: a\nservices:\n  w: {type: native, command: x, ports: [\"8080:80\"]}\n",
            "line 3, column 41: services.w.ports[0]: a native service is published on the port",
        ),
        (
            "name: a\nservices:\n  w: {type: native, command: x, public: true}\n",
            "line 3, column 41: services.w.public: opens the service's ports, and it has none",
        ),
        (
            "name: a\nservices:\n  w: {type: native, command: x, domain: a.example}\n",
            "line 3, column 41: services.w.domain: needs a port of the service's, and it has none",
        ),
        (
            "name: a\nservices:\n  w: {type: native, command: x, ports: [80], domain: []}\n",
            "line 3, column 54: services.w.domain: names none",
        ),
        (
            "name: a\nservices:\n  w: {type: native, command: x, ports: [80], domain: [a.b, a.b]}\n",
            "line 3, column 60: services.w.domain[1]: occurs twice",
        ),
        (
            "name: a\nservices:\n  w: {type: native, command: x, public: yes}\n",
            "line 3, column 41: services.w.public: must be true or false, not a text",
        ),
        (
            "name: a\nservices:\n  w: {type: native, command: x, health: {tcp: \"1\", exec: x}}\n",
            "line 3, column 41: services.w.health: has tcp and exec; write one of",
        ),
        (
            "name: a\nservices:\n  w: {type: native, command: x, health: {interval: 1s}}\n",
            "line 3, column 41: services.w.health: says not how to ask",
        ),
        (
            "name: a\nservices:\n  w: {type: native, command: x, health: {tcp: 80, interval: 2}}\n",
            "line 3, column 61: services.w.health.interval: \"2\" is no duration",
        ),
        (
            "name: a\nservices:\n  w: {type: native, command: x, limits: {memory: 512}}\n",
            "line 3, column 50: services.w.limits.memory: \"512\" is no size",
        ),
        (
            "name: a\nservices:\n  w: {type: native, command: x, limits: {pids: 0}}\n",
            "line 3, column 48: services.w.limits.pids: must be a whole number from 1 to 4194304, not 0",
        ),
        (
            "name: a\nservices:\n  w: {type: native, command: x, depends_on: [wx]}\n",
            "line 3, column 45: services.w.depends_on: there is no service \"wx\"; did you mean w?",
        ),
        (
            "name: a\nservices:\n  w: {type: native, command: x, depends_on: [w]}\n",
            "line 3, column 45: services.w.depends_on: w depends on itself",
        ),
        (
            "name: a\nservices:\n  w: {type: native, command: x, depends_on: {v: healthy}}\n  v: {type: native, command: x}\n",
            "line 3, column 45: services.w.depends_on: v has no health check",
        ),
        (
            "name: a\nservices:\n  w: {type: native, command: x, depends_on: {v: done}}\n  v: {type: native, command: x}\n",
            "line 3, column 49: services.w.depends_on.v: \"done\" is not known here",
        ),
        (
            "name: a\nservices:\n  w: {type: native, command: x, depends_on: {v: completed}}\n  v: {type: native, command: x, restart: always}\n",
            "line 3, column 45: services.w.depends_on: v is started again whenever it ends",
        ),
        (
            "name: a\nservices:\n  a: {type: native, command: x, depends_on: [b]}\n  b: {type: native, command: x, depends_on: [c]}\n  c: {type: native, command: x, depends_on: [b]}\n",
            "line 4, column 45: services.b.depends_on: waits for itself: b → c → b",
        ),
        (
            "name: a\nservices:\n  a: {type: native, command: x, ports: [80]}\n  b: {type: container, image: x, ports: [80]}\n",
            "line 4, column 42: services.b.ports[0]: a publishes port 80, too; publish another one, such as \"81:80\"",
        ),
        (
            "name: a\nservices:\n  a: {type: native, command: x, ports: [4200]}\n",
            "line 3, column 41: services.a.ports[0]: 4200 is the port of hopbox's agent",
        ),
        (
            "name: a\nservices:\n  a: {type: container, image: x, ports: [80], health: {tcp: 81}}\n",
            "line 3, column 61: services.a.health.tcp: a does not publish port 81",
        ),
        (
            "name: a\nservices:\n  a: {type: container, image: x, data: [{host: ./x, container: /x}]}\n",
            "line 3, column 48: services.a.data[0].host: \"./x\": the server knows no directory",
        ),
        (
            "name: a\nservices:\n  a: {type: container, image: x, data: [{host: /x}]}\n",
            "line 3, column 41: services.a.data[0].container: is missing",
        ),
        (
            "name: a\nservices:\n  a: {type: container, image: x, build: .}\n",
            "line 3, column 34: services.a.build: is not a known key; build the image in hooks.setup",
        ),
        ("name: a\nenv: [A=1]\n", "line 2, column 6: env: must be a map, not a list; write it as"),
        ("name: a\nenv: {A: }\n", "line 2, column 8: env.A: has no value"),
        ("name: a\nenv: {1A: x}\n", "line 2, column 7: env.1A: \"1A\" is no name of a variable"),
        ("name: a\nbridges: [clipboard]\n", "line 2, column 11: bridges[0]: must be a map"),
        (
            "name: a\nbridges: [{type: clip}]\n",
            "line 2, column 18: bridges[0].type: \"clip\" is not known here",
        ),
        ("name: a\nscripts: {x: 7}\n", "line 2, column 14: scripts.x: must be text, not 7"),
        (
            "name: a\nhooks: {setup: [x]}\n",
            "line 2, column 16: hooks.setup: must be text, not a list",
        ),
        (
            "name: a\nbackup: {backend: borg, target: /x, password_env: P}\n",
            "line 2, column 19: backup.backend: \"borg\" is not known here; write restic",
        ),
        (
            "name: a\nbackup: {backend: restic, target: /x}\n",
            "line 2, column 9: backup.password_env: is missing",
        ),
        (
            "name: a\nports: {sandboxes: no}\n",
            "line 2, column 20: ports.sandboxes: must be true or false",
        ),
        ("name: a\nports: {auto: on}\n", "line 2, column 15: ports.auto: must be true or false"),
        ("name: a\nname: b\n", "line 2, column 1: the key \"name\" occurs twice"),
        ("name: a\nenv: &x {A: b}\n", "line 2, column 9: anchors are not allowed"),
        ("name: a\nx: [\n", "line 2, column 4: "),
        ("name: a\n\tx: 1\n", "line 1, column 7: "),
    ] {
        let said = wrong(text);
        // What, and what to write.
        let whole = said.iter().all(|said| said.contains("; "));
        if !said[0].starts_with(expected) || !whole {
            failed.push(format!("{text}{said:#?}\n{expected}"));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn what_is_usual_elsewhere_is_understood_and_said_in_our_words() {
    let service = |rest: &str| {
        let db = "db: {type: container, image: x}";
        format!("name: a\nservices:\n  {db}\n  w: {{type: native, command: x, {rest}}}\n")
    };
    for (rest, expected) in [
        ("restart: no", "(did you mean never?); write always, on-failure, never"),
        ("restart: unless-stopped", "(did you mean always?)"),
        ("depends_on: db", "must be a map (name: value), not a text"),
        ("depends_on: {db: service_healthy}", "(did you mean healthy?)"),
        (
            "depends_on: {db: {condition: service_healthy}}",
            "must be one word, not a map; write started",
        ),
        ("depends_on: {db: }", "is empty, and must be one word; write started"),
        ("health: {exec: [CMD, x]}", "begins with a word of docker compose's"),
        ("health: {exec: [CMD-SHELL, x]}", "begins with a word of docker compose's"),
        ("ports: [80.5]", "\"80.5\" is no port"),
        ("ports: [-80]", "\"-80\" is no port"),
        ("ports: [8000-8010]", "a range is not read; list each port"),
        ("ports: [\"0.0.0.0:80:80\"]", "public: true opens it to the internet"),
        ("ports: 80", "must be a list, not 80; write it as [a, b]"),
        ("ports: [~]", "is empty, and must be text"),
        ("healthcheck: {test: x}", "write health"),
        ("env_file: .env", "variables come from .env and .env.local"),
        ("environment: {A: b}", "write env"),
        ("volumes: [/a:/b]", "must be a map"),
        ("volumes: [{path: ~/a, source: ./x}]", "bind-sources"),
        ("volumes: [{path: /a, source: /x}]", "mounts are below ~/"),
        ("tmpfs: [{path: ~/a/../b, size: 1M}]", "mounts are below ~/"),
        ("tmpfs: [{path: ~/a b, size: 1M}]", "mounts are below ~/"),
        ("tmpfs: [{path: ~/a, size: 1K}]", "is no size from 64K to 64G"),
        ("tmpfs: [{path: ~/a}]", "size: is missing"),
        ("tmpfs: [{path: ~/a, size: 1M}, {path: ~/a, size: 1M}]", "occurs twice"),
        ("mem_limit: 1g", "write limits: {memory: 512M}"),
    ] {
        let said = wrong(&service(rest));
        assert!(said.len() == 1 && said[0].contains(expected), "{rest}\n{said:#?}");
    }
}

#[test]
fn each_circle_is_told() {
    let of = |name: &str, on: &str| {
        format!("  {name}: {{type: native, command: x, depends_on: [{on}]}}\n")
    };
    let pairs = [("a", "b"), ("b", "a"), ("c", "d"), ("d", "c"), ("e", "e"), ("f", "a")];
    let text: String = pairs.iter().map(|(name, on)| of(name, on)).collect();
    let said = wrong(&format!("name: a\nservices:\n{text}"));
    assert_eq!(said.len(), 3, "{said:#?}");
    for (said, part) in said.iter().zip(["a → b → a", "c → d → c", "e depends on itself"]) {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_and_not_without_end() {
    let said = wrong(
        "nam: a\nhost: A\nenv: {A: }\nservices:\n  a: {type: native}\n  b: {type: x}\n  \
         c: {type: native, command: x, ports: [0], depends_on: [a, b, d]}\nhost: b\n",
    );
    let lines: Vec<_> = said.iter().map(|said| said.split(',').next().unwrap()).collect();
    assert_eq!(
        lines,
        ["line 1", "line 1", "line 2", "line 3", "line 5", "line 6", "line 7", "line 7", "line 8"],
        "{said:#?}"
    );
    let many = (0..1000).map(|n| format!("key{n}: 1\n")).collect::<String>();
    let said = wrong(&many);
    assert_eq!(said.len(), MOST + 1);
    assert!(said[MOST].contains("and more is wrong"), "{said:#?}");
    let long = wrong(&format!("name: a\n{}: 1\n", "x".repeat(100_000)));
    assert!(long[0].len() < 400, "{}", long[0].len());
}

#[test]
fn a_secret_at_the_wrong_place_is_not_repeated() {
    for text in [
        "name: a\nenv: hunter2\n",
        "name: a\nenv: [hunter2]\n",
        "name: a\nenv: {A: [hunter2]}\n",
        "name: a\nenv: {A: \"hunter2\\0\"}\n",
        "name: a\nservices: {a: {type: native, command: x, env: hunter2}}\n",
    ] {
        assert!(!wrong(text).concat().contains("hunter2"), "{text}");
    }
    let shown = format!("{:?}", good(FULL));
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn circles_of_any_length_are_named_and_long_chains_are_none() {
    let chain = |n: usize, last: &str| {
        let services = (0..n).map(|i| {
            let next = if i + 1 < n { format!("s{}", i + 1) } else { last.to_owned() };
            let needs =
                if next.is_empty() { String::new() } else { format!(", depends_on: [{next}]") };
            format!("  s{i}: {{type: native, command: x{needs}}}\n")
        });
        format!("name: a\nservices:\n{}", services.collect::<String>())
    };
    let manifest = good(&chain(64, ""));
    let order = crate::workspace::order::start(&manifest.desired.services).unwrap();
    assert_eq!((order.first(), order.last()), (Some(&"s63"), Some(&"s0")));
    assert!(wrong(&chain(64, "s0"))[0].contains("waits for itself: s0 → s1"));
    assert!(wrong(&chain(64, "s62"))[0].contains("waits for itself: s62 → s63 → s62"));
    assert!(wrong(&chain(65, ""))[0].contains("more than 64 entries"));
}

#[test]
fn hostile_texts_end_soon() {
    let hostile = [
        format!("name: a\nservices: {}", "{a: ".repeat(60_000)),
        format!("name: a\nservices: {}", "[".repeat(100_000)),
        format!(
            "name: a\nenv: {{{}}}",
            (0..20_000).map(|n| format!("A{n}: 1,")).collect::<String>()
        ),
        format!("name: a\nscripts:\n  x: |\n{}", "    y\n".repeat(40_000)),
        "name: a\n".repeat(30_000),
        (0..30_000).map(|n| format!("k{n}: 1\n")).collect(),
        "\0".to_owned(),
        "name: \"\\ud800\"".to_owned(),
        format!(
            "name: a\nservices: {{a: {{type: native, command: x, depends_on: [{}]}}}}",
            "b,".repeat(1000)
        ),
    ];
    for text in hostile {
        assert!(!wrong(&text).is_empty());
    }
}
