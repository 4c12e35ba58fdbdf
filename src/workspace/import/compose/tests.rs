use super::super::Note;
use super::*;
use crate::workspace::manifest::{Condition, Kind, Manifest, Port, Probe, Restart};
use crate::workspace::read;

fn made(text: &str) -> Result<Imported, Wrong> {
    made_as(text, "f", "project")
}

fn made_as(text: &str, path: &str, name: &str) -> Result<Imported, Wrong> {
    let named = [Named { path: path.to_owned(), text: text.to_owned() }];
    compose(&named, name, &mut |_| Ok(None))
}

/// The first `count` are named, the others there, and each that was read.
fn of_several(files: &[(&str, &str)], count: usize) -> (Result<Imported, Wrong>, Vec<String>) {
    let named = files.iter().take(count);
    let named = named.map(|(path, text)| Named { path: path.to_string(), text: text.to_string() });
    let mut asked = Vec::new();
    let mut read = |path: &str| {
        asked.push(path.to_owned());
        let found = files.iter().find(|(known, _)| *known == path);
        Ok(found.map(|(_, text)| text.to_string()))
    };
    let made = compose(&named.collect::<Vec<_>>(), "project", &mut read);
    (made, asked)
}

fn import(text: &str) -> (Manifest, Vec<Note>) {
    let made = made(text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    assert!(made.wrong.is_empty(), "{text}\n{}\n{:#?}", made.text, made.wrong);
    (read::manifest(&made.text).unwrap(), made.notes)
}

/// What is said of each line.
fn notes(text: &str) -> String {
    let told = import(text).1;
    told.iter().map(|note| format!("{note}\n")).collect()
}

/// In the shape of what most small projects have.
const BASIC: &str = r#"
version: "3.9"
services:
  web:
    image: ghcr.io/example/web:1.2
    command: npm run start -- --port "3000"
    ports:
      - 80:3000
      - "127.0.0.1:8443:443"
      - 9000-9002:9000-9002/tcp
      - "5000:5000/udp"
      - target: 7000
        published: "7001"
        protocol: tcp
        mode: host
    environment:
      - NODE_ENV=production
      - DATABASE_URL=postgres://app:${DB_PASSWORD}@db/app
      - DB_PASSWORD
      - LEVEL=${LEVEL:-info}
      - PRICE=5$$
    depends_on:
      - db
      - cache
    restart: unless-stopped
    networks: [front]
  db:
    image: postgres:${PG_VERSION:-16}
    environment:
      POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:?set it}
      POSTGRES_USER: app
      DEBUG: false
      TIMEOUT: 30
    volumes:
      - pgdata:/var/lib/postgresql/data
      - ./init.sql:/docker-entrypoint-initdb.d/init.sql:ro
    healthcheck:
      test: ["CMD-SHELL", "pg_isready -U $$POSTGRES_USER"]
      interval: 10s
      timeout: 5s
      retries: 5
      start_period: 30s
    deploy:
      resources:
        limits: {cpus: "0.50", memory: 512M}
        reservations: {memory: 128M}
  cache:
    image: redis:alpine
    command: ["redis-server", "--save", "60", "1"]
    mem_limit: 64m
    pids_limit: 100
    healthcheck: {test: redis-cli ping}
volumes:
  pgdata:
    driver: local
networks:
  front: {}
"#;

#[test]
fn what_most_projects_have_is_carried_over() {
    let (manifest, _) = import(BASIC);
    let desired = manifest.desired;
    assert_eq!(desired.workspace, "project");
    let web = &desired.services["web"];
    let Kind::Container(container) = &web.kind else { panic!("{web:?}") };
    assert_eq!(container.command, ["npm", "run", "start", "--", "--port", "3000"]);
    let ports: Vec<_> = web.ports.iter().map(|port| (port.published, port.target)).collect();
    let nine = [(9000, 9000), (9001, 9001), (9002, 9002)];
    assert_eq!(ports, [&[(80, 3000), (8443, 443)][..], &nine, &[(7001, 7000)]].concat());
    let env: Vec<_> = web.env.iter().collect();
    assert_eq!(env, [("LEVEL", "info"), ("NODE_ENV", "production"), ("PRICE", "5$")]);
    assert_eq!(web.restart, Restart::Always);
    assert_eq!(web.depends_on["db"], Condition::Started, "as docker compose reads a list");
    assert!(!web.public, "nothing is opened to the world by itself");

    let db = &desired.services["db"];
    let Kind::Container(container) = &db.kind else { panic!("{db:?}") };
    assert_eq!(container.image, "postgres:16");
    let env: Vec<_> = db.env.iter().collect();
    assert_eq!(env, [("DEBUG", "false"), ("POSTGRES_USER", "app"), ("TIMEOUT", "30")]);
    assert_eq!(db.data[0].host, "~/project/volumes/pgdata");
    assert_eq!((db.data[1].host.as_str(), db.data[1].read_only), ("~/project/init.sql", true));
    let health = db.health.as_ref().unwrap();
    assert_eq!((health.timeout.as_secs(), health.retries), (80, 5));
    assert!(
        matches!(&health.probe, Probe::Exec(line) if format!("{line:?}").contains("$POSTGRES_USER"))
    );
    assert_eq!((db.limits.cpu_percent, db.limits.memory_bytes), (Some(50), Some(512 << 20)));
    let cache = &desired.services["cache"];
    assert_eq!((cache.limits.memory_bytes, cache.limits.pids), (Some(64 << 20), Some(100)));
}

#[test]
fn what_is_not_carried_over_is_told_with_its_line() {
    let told = notes(BASIC);
    for line in [
        "line 9, column 9: services.web.ports: is on the tunnel's address, not on 127.0.0.1",
        "line 9, column 9: services.web.ports: other services reach 443 at 8443, as the laptop does",
        "line 11, column 9: services.web.ports: left out: udp is not published, TCP is",
        "line 23, column 9: services.web.depends_on.db: db is reached by others only at ports of its",
        "line 18, column 9: services.web.environment.DATABASE_URL: left out: set it in .env.local \
         (it needs DB_PASSWORD)",
        "line 19, column 9: services.web.environment.DB_PASSWORD: comes from .env",
        "line 20, column 9: services.web.environment.LEVEL: has the default of LEVEL",
        "line 26, column 15: services.web.networks: networks are not carried over",
        "line 28, column 12: services.db.image: has the default of PG_VERSION",
        "line 30, column 26: services.db.environment.POSTGRES_PASSWORD: comes from .env",
        "line 35, column 9: services.db.volumes: is the directory ~/project/volumes/pgdata",
        "line 36, column 9: services.db.volumes: is ~/project/init.sql on the server: bring",
        "line 40, column 16: services.db.healthcheck.timeout: not carried over",
        "services.db.deploy.resources.reservations: not carried over",
        "line 55, column 5: volumes.pgdata: not carried over: it is a plain directory here",
        "line 57, column 3: networks: networks are not carried over",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    assert_eq!(told.lines().count(), 19, "{told}");
}

/// In the shape of large files: anchors, merge keys, extends, profiles.
const ANCHORS: &str = r#"
name: Big_App
x-restart: &restart
  restart: unless-stopped
x-healthy: &healthy {condition: service_healthy}
x-check: &check
  interval: "$CHECK_INTERVAL"
  timeout: 5s
  start_period: 10s
x-app: &app
  <<: *restart
  image: ${APP_IMAGE}
  build: {context: ./app, args: [A]}
  environment: &env
    CA: &ca /etc/ssl/ca.crt
    CA2: *ca
    RETENTION:
  depends_on: &on
    redis: {<<: *healthy}
    kafka: {<<: *healthy, restart: true}
  volumes: [app-data:/data, /var/run/docker.sock:/var/run/docker.sock, /anonymous, ./a:/a:z, "${PWD}/b:/b"]
services:
  Redis.Cache:
    image: redis:7
  redis:
    <<: *restart
    image: redis:7
    healthcheck: {<<: *check, test: redis-cli ping}
    ulimits: {nofile: {soft: 10032, hard: 10032}}
  kafka:
    image: example/kafka:7.6.1
    healthcheck: {disable: true}
  web:
    <<: *app
    command: [run, web]
    depends_on:
      <<: *on
      migrate: {condition: service_completed_successfully}
      worker: {condition: service_started}
      optional: {condition: service_started, required: false}
  migrate:
    extends: {service: base}
    command: run migrate
    restart: "no"
    environment: [EXTRA=1]
  base:
    image: example/base
    entrypoint: /entry.sh
    environment: {SHARED: "1", EXTRA: "0"}
    ports: ["8000"]
  other:
    extends: {file: common.yml, service: x}
    image: example/other
    ports: ["8000:80", "4200:80", "80:70000", 8001-8003:80]
  optional:
    image: example/optional
    profiles: [debug]
  usual:
    image: example/usual
    profiles: ["", postgresql]
  worker:
    <<: *app
    command: '"55 23 * * *  cleanup"'
    user: ${UID:-1000}:${GID:-1000}
    stop_grace_period: 1m30s
    deploy: {replicas: 2, restart_policy: {condition: any}}
    secrets: [token]
secrets: {token: {file: ./token}}
include: [other.yaml]
"#;

#[test]
fn anchors_merges_extends_and_profiles_are_followed() {
    let (manifest, _) = import(ANCHORS);
    let desired = manifest.desired;
    assert_eq!(desired.workspace, "big-app");
    let names: Vec<_> = desired.services.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["base", "kafka", "migrate", "other", "redis", "redis-cache", "usual", "web", "worker"]
    );
    let web = &desired.services["web"];
    assert_eq!(web.restart, Restart::Always);
    assert_eq!(
        web.env.iter().collect::<Vec<_>>(),
        [("CA", "/etc/ssl/ca.crt"), ("CA2", "/etc/ssl/ca.crt")]
    );
    let wanted = |on: &str| web.depends_on.get(on).copied();
    assert_eq!(wanted("redis"), Some(Condition::Healthy));
    assert_eq!(wanted("kafka"), Some(Condition::Started), "it has no check");
    assert_eq!(wanted("migrate"), Some(Condition::Completed));
    assert_eq!(wanted("optional"), None);
    assert_eq!(web.data.len(), 3);
    assert_eq!(web.data[2].host, "~/big-app/b");
    let migrate = &desired.services["migrate"];
    let Kind::Container(container) = &migrate.kind else { panic!("{migrate:?}") };
    assert_eq!(
        (container.image.as_str(), container.entrypoint.as_slice()),
        ("example/base", &["/entry.sh".to_owned()][..])
    );
    assert_eq!(migrate.env.iter().collect::<Vec<_>>(), [("EXTRA", "1"), ("SHARED", "1")]);
    assert_eq!(migrate.restart, Restart::Never);
    let other = &desired.services["other"];
    assert_eq!(other.ports, [Port { published: 8001, target: 80 }]);
    let worker = &desired.services["worker"];
    let Kind::Container(container) = &worker.kind else { panic!("{worker:?}") };
    assert_eq!(container.command, ["55 23 * * *  cleanup"]);
    assert_eq!(container.user.as_deref(), Some("1000:1000"));
    assert_eq!(worker.stop_timeout.as_secs(), 90);
    let told = notes(ANCHORS);
    for line in [
        "services.migrate.ports: is port 8000, and not one that docker chooses",
        "services.Redis.Cache: is called redis-cache here",
        "left out: it needs APP_IMAGE, which has no default here",
        "let hooks.setup build the image localhost/big-app-web",
        "left out: it needs CHECK_INTERVAL",
        "RETENTION: comes from .env",
        "services.redis.ulimits: not carried over",
        "services.optional: left out: it is started only with one of its profiles",
        "depends_on.optional: left out: \"optional\" is not there",
        "depends_on.kafka: waits until kafka is started: it has no check",
        "depends_on.kafka.restart: not carried over",
        "left out: it is the system's own",
        "left out: a volume without a name",
        "z is not carried over",
        "services.other.extends: left out: common.yml is not there",
        "left out: port 8000 is published already",
        "left out: 4200 is the port of hopbox's agent",
        "left out: it is no port",
        "is published on 8001, the first of its range",
        "services.worker.deploy.replicas: not carried over",
        "services.worker.secrets: not carried over: put them into .env.local",
        "secrets: put them into .env.local",
        "include: left out: other.yaml is not there",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    assert!(!told.contains("CMD"), "{told}");
}

/// Every key that docker compose knows for a service, with a value of its kind.
const KEYS: &str = "\
    annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command \
    configs container_name cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period \
    cpu_rt_runtime cpu_shares cpus cpuset credential_spec depends_on deploy develop \
    device_cgroup_rules devices dns dns_opt dns_search domainname driver_opts entrypoint \
    env_file environment expose extends external_links extra_hosts gpus group_add \
    healthcheck hostname init ipc isolation labels label_file links logging mac_address \
    mem_limit mem_reservation mem_swappiness memswap_limit models network_mode networks \
    oom_kill_disable oom_score_adj pid pids_limit platform ports post_start pre_stop \
    privileged profiles provider pull_policy read_only restart runtime scale secrets \
    security_opt shm_size stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs \
    tty ulimits use_api_socket user userns_mode uts volumes volumes_from working_dir \
    of_a_later_version";

/// Whatever a key is and whatever stands there: it is in the manifest, or there is a note of it.
#[test]
fn nothing_is_dropped_in_silence() {
    let base = made("services:\n  a:\n    image: x\n").unwrap().text;
    let values = [
        "x",
        "7",
        "true",
        "\"\"",
        "[x]",
        "[7, y]",
        "{x: y}",
        "[{x: y}]",
        "{x: {y: z}}",
        "/x",
        "10s",
        "${A:-1}",
        "$A",
        "[x:/y:ro]",
        "[\"1:2\"]",
        "[A=b]",
        "[[x]]",
        "{x: [y]}",
        "-1",
    ];
    let mut silent = Vec::new();
    for key in KEYS.split_whitespace() {
        for value in values {
            let text = format!("services:\n  a:\n    image: x\n    {key}: {value}\n");
            let made = made(&text).unwrap_or_else(|e| panic!("{text}\n{e}"));
            assert!(made.wrong.is_empty(), "{text}{}\n{:?}", made.text, made.wrong);
            let is_noted = made.notes.iter().any(|note| note.at.line == 4);
            // An empty list is what is there without the key.
            let is_nothing = value == "\"\"" && ["command", "entrypoint"].contains(&key);
            if !is_noted && made.text == base && !is_nothing {
                silent.push(format!("{key}: {value}"));
            }
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
    for key in ["configs", "include", "models", "networks", "secrets", "later"] {
        let text = format!("services: {{a: {{image: x}}}}\n{key}: {{x: {{y: z}}}}\n");
        assert!(notes(&text).contains("line 2"), "{text}");
    }
}

#[test]
fn what_is_no_compose_file_is_an_error_and_never_a_panic() {
    let bomb = (1..20).map(|n| format!("x-{n}: &a{n} [*a{0}, *a{0}, *a{0}]\n", n - 1));
    let bomb =
        format!("x-0: &a0 [x, x]\n{}services: {{a: {{image: x}}}}\n", bomb.collect::<String>());
    let many = (0..65).map(|n| format!("  a{n}: {{image: x}}\n")).collect::<String>();
    for text in [
        "",
        "x",
        "[]",
        "services:\n",
        "services: []\n",
        "services: x\n",
        "a: *b\n",
        "a: &a [*a]\n",
        "\0",
        "\t",
        "services: {a: {image: x}}\nservices: {}\n",
        &bomb,
        &format!("services:\n{many}"),
        &"[".repeat(10_000),
        &"x".repeat(300_000),
    ] {
        let wrong = made(text).expect_err("an error");
        assert!(wrong.at.line >= 1 && !wrong.why.is_empty(), "{wrong}");
    }
    let names = (0..10_000).map(|n| format!("n{n},")).collect::<String>();
    for text in [
        &format!("services: {{a: {{image: x, depends_on: [{names}]}}}}\n"),
        &format!("services: {{a: {{image: x, volumes: [{names}], ports: [{names}]}}}}\n"),
        &format!(
            "services: {{a: {{image: x, environment: {{{}}}}}}}\n",
            names.replace(',', ": 1,")
        ),
        &format!("services: {{a: {{image: x, environment: [{names}], command: [{names}]}}}}\n"),
        "services:\n  a:\n",
        "services:\n  a: x\n",
        "services:\n  a: {extends: {service: a}}\n",
        "services:\n  a: {extends: b}\n  b: {extends: a}\n",
        "services:\n  a: {extends: nobody, image: x}\n",
        "services:\n  \"a\\nhost: evil\": {image: x}\n",
        "services:\n  a: {image: \"x\\nhost: evil\", command: \"a\\n# b\"}\n",
        "services:\n  a: {image: x}\n  A: {image: x}\n  a-2: {image: x}\n",
        "name: \"\\n#\"\nservices: {\"\": {image: x}}\n",
        "services: {a: {image: x, environment: {\"A B\": c, C: \"\\0\"}, volumes: [\"../../x:/y\", \".:/z\"]}}\n",
        "services: {a: {image: x, depends_on: [a]}}\n",
    ] {
        let made = made_as(text, "a\nb", "../../X y").unwrap_or_else(|e| panic!("{text}\n{e}"));
        let only_a_cycle = text.contains("depends_on: [a]");
        assert_eq!(made.wrong.is_empty(), !only_a_cycle, "{text}{}\n{:?}", made.text, made.wrong);
        if !only_a_cycle {
            let manifest = read::manifest(&made.text).unwrap();
            assert_eq!(manifest.host, None, "{}", made.text);
        }
    }
}

/// A file, what changes it, what both include and extend, in directories of their own.
const SEVERAL: [(&str, &str); 5] = [
    (
        "compose.yaml",
        "include: [db/compose.yaml, {path: [more.yaml], env_file: x}]\nservices:\n  web:\n    \
         extends: {file: common/base.yaml, service: node}\n    volumes: [./web:/web]\n    ports: \
         [\"80:80\"]\n    depends_on: [db]\n",
    ),
    ("dev/override.yaml", "services:\n  web: {command: [dev], volumes: [\"./src:/src\"]}\n"),
    (
        "db/compose.yaml",
        "name: other\ninclude: [../compose.yaml]\nservices:\n  db:\n    image: postgres:16\n    \
         volumes: [./data:/data, ../shared:/shared]\n    privileged: true\n",
    ),
    (
        "common/base.yaml",
        "services:\n  node: {extends: base, command: [x]}\n  base:\n    image: node:20\n    \
         volumes: [./cache:/cache]\n",
    ),
    ("more.yaml", "services: {cache: {image: redis:7}}\n"),
];

#[test]
fn files_that_change_include_and_extend_each_other_are_one() {
    let (made, asked) = of_several(&SEVERAL, 2);
    let made = made.unwrap();
    let files = [".env", "db/compose.yaml", "db/.env", "more.yaml", "common/base.yaml"];
    assert_eq!(asked, files, "each once");
    let desired = read::manifest(&made.text).unwrap().desired;
    assert_eq!(desired.workspace, "project", "not that of one that is included");
    assert_eq!(desired.services.keys().collect::<Vec<_>>(), ["cache", "db", "web"]);
    let web = &desired.services["web"];
    let Kind::Container(container) = &web.kind else { panic!("{web:?}") };
    assert_eq!(
        (container.image.as_str(), container.command.as_slice()),
        ("node:20", &["dev".to_owned()][..])
    );
    let hosts = |name: &str| desired.services[name].data.iter().map(|data| data.host.clone());
    let below = |all: &[&str]| all.iter().map(|one| format!("~/project/{one}")).collect::<Vec<_>>();
    assert_eq!(hosts("web").collect::<Vec<_>>(), below(&["common/cache", "web", "src"]));
    assert_eq!(hosts("db").collect::<Vec<_>>(), below(&["db/data", "shared"]));
    assert!(made.text.contains("Made by hop init from compose.yaml, dev/override.yaml."));
    let told: String = made.notes.iter().map(|note| format!("{note}\n")).collect();
    for line in [
        "compose.yaml: line 1, column 58: include.env_file: not carried over",
        "db/compose.yaml: line 7, column 17: services.db.privileged: not carried over",
        "common/base.yaml: line 5, column 15: services.web.volumes: is ~/project/common/cache on",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
}

#[test]
fn nothing_outside_of_the_project_is_read_and_no_more_than_some() {
    let service = "services: {a: {image: x}}\n";
    for path in ["../x.yaml", "/etc/x", "~/x", "https://x/y", "a/../../x", "oci://x", "$X", "."] {
        let text = format!("include: [\"{path}\"]\n{service}");
        let (made, asked) = of_several(&[("compose.yaml", &text)], 1);
        assert_eq!(asked, [".env"], "{path}");
        let notes = made.unwrap().notes;
        assert!(notes[0].to_string().contains("include: left out: "), "{path}: {notes:?}");
    }
    // What one in another directory names is not looked for here.
    let text = format!("include: [x.yaml]\n{service}");
    for path in ["../compose.yaml", "/srv/compose.yaml"] {
        let (made, asked) = of_several(&[(path, &text), ("x.yaml", service)], 1);
        assert_eq!((asked.len(), made.unwrap().notes.len()), (0, 1), "{path}");
    }
    // Files without end, and one that is none.
    let (mut number, named) = (0, Named { path: "f".to_owned(), text: text.clone() });
    let made = compose(&[named], "project", &mut |path| {
        if path.ends_with(".env") {
            return Ok(None);
        }
        number += 1;
        Ok(Some(format!("include: [x{number}.yaml, y{number}.yaml]\n")))
    });
    assert_eq!(number, 15);
    let notes = made.unwrap().notes;
    assert!(notes.iter().any(|note| note.what.contains("more than 16 files")), "{notes:?}");
    for bad in ["[", "x", "a: &a [*a]\n"] {
        let (made, _) = of_several(&[("f", &text), ("x.yaml", bad)], 1);
        let notes = made.unwrap().notes;
        assert!(notes[0].what.contains("x.yaml cannot be read: line 1"), "{bad}: {notes:?}");
        let wrong = of_several(&[("f", service), ("g", bad)], 2).0.unwrap_err();
        assert_eq!(wrong.at.file, 1, "{wrong}");
    }
}

/// In the shape of projects that ship a `.env` with their file.
const PHOTOS: &str = r#"
name: photos
services:
  server:
    container_name: photos_server
    image: ghcr.io/example/server:${PHOTOS_VERSION:-release}
    volumes:
      - ${UPLOAD_LOCATION}:/usr/src/app/upload
      - /etc/localtime:/etc/localtime:ro
    env_file: [.env]
    ports: ["${PORT:-2283}:2283"]
    environment:
      - LOG_LEVEL
      - TZ=${TZ:-UTC}
      - DB_URL=postgres://${DB_USERNAME}:${DB_PASSWORD}@database/${DB_DATABASE_NAME}
      - PUBLIC_URL=http://localhost:${PORT}
      - COLOUR=${COLOUR}
    command: run --version ${PHOTOS_VERSION} --token ${API_TOKEN}
    deploy: {resources: {limits: {memory: "${MEMORY}"}}}
  database:
    image: example/postgres:14
    environment:
      POSTGRES_PASSWORD: ${DB_PASSWORD}
      POSTGRES_USER: ${DB_USERNAME}
      POSTGRES_DB: ${DB_DATABASE_NAME}
      DB_PASSWORD: ${DB_PASSWORD}
      PGDATA: ${HERE}/pg
    volumes: ["${DB_DATA_LOCATION:?}:/var/lib/postgresql/data"]
    healthcheck: {test: "pg_isready --dbname=${DB_DATABASE_NAME}", interval: "$CHECK_INTERVAL"}
  tools:
    image: example/tools
    profiles: [tools]
  later:
    image: example/later
    profiles: [later]
"#;
const PHOTOS_ENV: &str = r#"# as the project's example says
COMPOSE_PROFILES=tools,more
COMPOSE_FILE=compose.yaml:more.yaml
UPLOAD_LOCATION=./library   # where files go
DB_DATA_LOCATION="./postgres"
TZ: Europe/Paris
PHOTOS_VERSION=v2
PORT=8080
DB_PASSWORD=hunter2
API_TOKEN='hunter2'
DB_USERNAME=postgres
DB_DATABASE_NAME=photos
CHECK_INTERVAL=15s
MEMORY=512M
LOG_LEVEL=debug
COLOUR=#fff
HERE=${HOME}/here
"#;

#[test]
fn variables_are_those_of_the_env_file_beside() {
    let files = [("compose.yaml", PHOTOS), (".env", PHOTOS_ENV)];
    let (made, asked) = of_several(&files, 1);
    let made = made.unwrap();
    assert_eq!(asked, [".env"]);
    assert!(made.wrong.is_empty(), "{}\n{:?}", made.text, made.wrong);
    assert!(!made.text.contains("hunter2"), "{}", made.text);
    let desired = read::manifest(&made.text).unwrap().desired;
    assert_eq!(desired.services.keys().collect::<Vec<_>>(), ["database", "server", "tools"]);
    let server = &desired.services["server"];
    let Kind::Container(container) = &server.kind else { panic!("{server:?}") };
    assert_eq!(
        (container.image.as_str(), container.command.len()),
        ("ghcr.io/example/server:v2", 0)
    );
    assert_eq!(server.ports, [Port { published: 8080, target: 2283 }]);
    assert_eq!(server.data[0].host, "~/photos/library");
    assert_eq!(server.limits.memory_bytes, Some(512 << 20));
    let env: Vec<_> = server.env.iter().collect();
    // Nothing comes by itself from a file that has to be mended first.
    let expected = [
        ("COLOUR", "#fff"),
        ("LOG_LEVEL", "debug"),
        ("PUBLIC_URL", "http://localhost:8080"),
        ("TZ", "Europe/Paris"),
    ];
    assert_eq!(env, expected);
    let database = &desired.services["database"];
    let env: Vec<_> = database.env.iter().collect();
    assert_eq!(env, [("POSTGRES_DB", "photos"), ("POSTGRES_USER", "postgres")]);
    assert_eq!(database.data[0].host, "~/photos/postgres");
    assert_eq!(database.health.as_ref().unwrap().steady.as_secs(), 15);
    let told: String = made.notes.iter().map(|note| format!("{note}\n")).collect();
    assert!(!told.contains("hunter2"), "{told}");
    for line in [
        ".env: COMPOSE_FILE: not read: name its files with --from-compose",
        ".env: line 6, column 1: has to be mended before hop up: has no =",
        ".env: line 17, column 1: HERE: left out: HOME is of the shell",
        "services.server.image: has the value in .env of PHOTOS_VERSION",
        "services.server.command: left out: it needs API_TOKEN, and no secret is copied",
        "services.server.environment.DB_URL: left out: set it in .env.local (it needs DB_PASSWORD)",
        "services.database.environment.POSTGRES_PASSWORD: left out: set it in .env.local",
        "services.database.environment.PGDATA: left out: set it in .env.local (it needs HERE)",
        "services.later: left out: it is started only with one of its profiles",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
}

/// What every service sees anyhow is not written over it.
#[test]
fn what_comes_from_the_env_file_by_itself_is_not_in_the_manifest() {
    let text = "services:\n  a:\n    image: x\n    environment: [A, \"B=${B:-no}\", \"C=${C}\", \
                \"D=${D:-no}\", SECRET, \"E=${E:+yes}\", \"F=${E}\"]\n";
    let env = "A=1\nB=2\nC=a#b\nD=\nSECRET=hunter2\nE=5\n";
    let (made, _) = of_several(&[("compose.yaml", text), (".env", env)], 1);
    let made = made.unwrap();
    let desired = read::manifest(&made.text).unwrap().desired;
    let env: Vec<_> = desired.services["a"].env.iter().collect();
    assert_eq!(env, [("C", "a#b"), ("D", "no"), ("E", "yes"), ("F", "5")]);
    let told: String = made.notes.iter().map(|note| format!("{note}\n")).collect();
    for line in [
        ".env: line 3, column 1: C: is another text for hop than for docker compose",
        "environment.A: comes from .env",
        "environment.B: comes from .env",
        "environment.SECRET: comes from .env",
        "environment.F: has the value in .env of E",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    assert!(!told.contains("hunter2") && !made.text.contains("hunter2"), "{told}");
}

#[test]
fn each_directory_that_is_included_has_an_env_file_under_the_projects_own() {
    let files = [
        (
            "compose.yaml",
            "include: [db/compose.yaml, \"${MORE}.yaml\"]\nservices: {a: {image: \"$I\"}}\n",
        ),
        (".env", "I=root\nMORE=more\n"),
        (
            "db/compose.yaml",
            "services:\n  b: {image: \"$I-$J\", environment: [J, \"K=$K\"], extends: {file: x.yaml, \
             service: x}}\n",
        ),
        ("db/.env", "I=db\nJ=j\nK_=1\nK=$I$J\n"),
        ("db/x.yaml", "services: {x: {image: y, command: [\"$K\"]}}\n"),
        ("more.yaml", "services: {c: {image: \"$I\"}}\n"),
    ];
    let (made, asked) = of_several(&files, 1);
    assert_eq!(asked, [".env", "db/compose.yaml", "db/.env", "more.yaml", "db/x.yaml"]);
    let desired = read::manifest(&made.unwrap().text).unwrap().desired;
    let image = |name: &str| match &desired.services[name].kind {
        Kind::Container(container) => (container.image.clone(), container.command.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(image("a").0, "root");
    assert_eq!(image("b"), ("root-j".to_owned(), vec!["rootj".to_owned()]));
    assert_eq!(image("c").0, "root");
    let env: Vec<_> = desired.services["b"].env.iter().collect();
    assert_eq!(env, [("J", "j"), ("K", "rootj")], "services see .env, and not db/.env");
    // One elsewhere has none that is looked for, one in a directory has its own.
    let one = ("services: {a: {image: x}}\n", "A=1\n");
    for (path, expected) in
        [("../c.yaml", &[][..]), ("/srv/c.yaml", &[]), ("sub/c.yaml", &["sub/.env"])]
    {
        let (_, asked) = of_several(&[(path, one.0), (".env", one.1)], 1);
        assert_eq!(asked, expected, "{path}");
    }
}

#[test]
fn an_env_file_that_cannot_be_read_is_told_and_text_has_a_bound() {
    let named =
        || [Named { path: "f".to_owned(), text: "services: {a: {image: \"x:${V:-1}\"}}\n".into() }];
    let made = compose(&named(), "n", &mut |path| Err(format!("{path} cannot be read: no")));
    let notes = made.unwrap().notes;
    let expected = ".env: line 1, column 1: left out: .env cannot be read: no";
    assert!(notes.iter().any(|note| note.to_string() == expected), "{notes:?}");
    for (env, expected) in [
        ("V=2\nA B=1\n", ".env: line 2, column 1: nothing is taken from it: a name cannot"),
        ("V='2\n", ".env: line 1, column 1: nothing is taken from it: ' is never closed"),
    ] {
        let notes = compose(&named(), "n", &mut |_| Ok(Some(env.to_owned()))).unwrap().notes;
        assert!(notes.iter().any(|note| note.to_string().starts_with(expected)), "{notes:?}");
        assert!(notes.iter().any(|note| note.what == "has the default of V"), "{notes:?}");
    }
    let long = format!("L={}\n", "x".repeat(30_000));
    let text = format!("services: {{a: {{image: x, command: [{}]}}}}\n", "$L,".repeat(200));
    let made = of_several(&[("f", &text), (".env", &long)], 1).0.unwrap();
    assert!(made.text.len() < 300_000, "{}", made.text.len());
    assert!(made.notes.iter().any(|note| note.what.contains("more text is made of variables")));
}

#[test]
fn what_looks_like_a_secret_is_known_by_its_name_or_its_value() {
    for (name, value, secret) in [
        ("DB_PASSWORD", "x", true),
        ("mysql_pwd", "x", true),
        ("SECRET_KEY_BASE", "x", true),
        ("ANON_KEY", "x", true),
        ("DATABASE_URL", "postgres://u:p@h/d", true),
        ("SENTRY", "https://abc@sentry.example/1", true),
        ("KEYCLOAK_VERSION", "26", false),
        ("PUBLIC_URL", "http://localhost:80/a@b", false),
        ("MAIL", "a@example.com", false),
        ("TZ", "UTC", false),
    ] {
        assert_eq!(given::is_secret(name, value), secret, "{name}");
    }
}
