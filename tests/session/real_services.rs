//! A real PostgreSQL, and a server in node that needs it: brought up, looked at through the tunnel,
//! and the database killed beneath the server.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use hopbox_selftest::files::VPS_IP;
use hopbox_selftest::machine::SOON;
use serde_json::Value;

use super::world::*;

/// Without its database it does not start. `/` counts.
const SERVER: &str = r"
const { execFileSync } = require('child_process');
const sql = (text) => execFileSync(process.env.PG + '/psql', ['-qAtc', text]).toString();
sql('create table if not exists seen (at timestamptz default now())');
const ask = (url) => url == '/well' ? sql('select 1')
    : sql('insert into seen default values') + sql('select count(*) from seen');
require('http').createServer((request, answer) => {
    try {
        answer.end(ask(request.url));
    } catch (error) {
        answer.statusCode = 500;
        answer.end(`${error}`);
    }
}).listen(3000);
";
const MANIFEST: &str = r#"name: shop
env: {PG: PROGRAMS, PGDATA: HERE/data, PGHOST: HERE, PGUSER: app, PGDATABASE: postgres}
hooks:
  setup: $PG/initdb -U app -A trust --no-sync --wal-segsize=1 --locale=C >/dev/null
services:
  db:
    type: native
    command: exec $PG/postgres -k $PGHOST -h 127.0.0.1 -c fsync=off
    health: {exec: $PG/pg_isready -q}
  web:
    type: native
    command: exec node server.js
    workdir: HERE
    ports: ["3000"]
    restart: never
    depends_on: {db: healthy}
    health: {http: "http://localhost:3000/well"}
"#;

/// Where the newest PostgreSQL has its programs, if node is there, too.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let version = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let newest = versions.filter_map(version).max()?;
    let bin = PathBuf::from(format!("/usr/lib/postgresql/{newest}/bin"));
    let is_there = bin.join("initdb").exists() && Path::new("/usr/bin/node").exists();
    is_there.then_some(bin)
}

fn hop(world: &World, project: &Path, words: &[&str]) -> Output {
    let mut command = world.command(&world.programs.hop, words);
    command.current_dir(project);
    let start = move || command.spawn().map_err(|error| error.to_string());
    finish(world.laptop.run(SOON, start).unwrap(), 2 * LIMIT)
}

/// What the server answers the laptop, if it does.
fn get(world: &World) -> String {
    let ask = || {
        let failed = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect((VPS_IP, 3000)).map_err(failed)?;
        stream.set_read_timeout(Some(SOON)).map_err(failed)?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").map_err(failed)?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map_err(failed)?;
        Ok(text)
    };
    world.laptop.run(2 * SOON, ask).unwrap_or_else(|error| error)
}

fn view(world: &World, project: &Path, service: &str) -> Value {
    let output = hop(world, project, &["services", "ls", service, "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    answer["data"]["services"][0].clone()
}

pub fn postgres_and_node(world: &World) {
    let Some(bin) = programs() else {
        assert!(std::env::var_os("CI").is_none(), "in CI nothing that root can run is skipped");
        return println!("SKIP postgres_and_node: PostgreSQL or node is missing");
    };
    let (project, at) = (world.home.join("shop"), world.home.join("laptop/shop"));
    for dir in [&project, &at] {
        fs::create_dir(dir).unwrap();
    }
    fs::write(at.join("server.js"), SERVER).unwrap();
    hopbox_selftest::files::give(&at, USER).unwrap();
    // PostgreSQL runs for nobody who has no name.
    sh(&world.vps[0].machine, "echo 'app:x:4243:4243::/:/bin/sh' >>/etc/passwd");
    let text = MANIFEST.replace("PROGRAMS", bin.to_str().unwrap());
    fs::write(project.join("hopbox.yaml"), text.replace("HERE", at.to_str().unwrap())).unwrap();

    let up = hop(world, &project, &["up", "--wait", "-y"]);
    assert_eq!(up.status.code(), Some(0), "{}", said(&up));
    assert!(said(&up).contains("and its services work"), "{}", said(&up));
    assert!(get(world).ends_with("\r\n\r\n1\n"), "{}", get(world));
    let (db, web) = (view(world, &project, "db"), view(world, &project, "web"));
    assert_eq!((&db["ports"][0], &web["ports"][0]), (&5432.into(), &3000.into()), "{db} {web}");
    assert_eq!(db["health"]["state"], "healthy", "{db}");

    // Its first process dies, and is followed by another; the server is the same one.
    assert!(Command::new("kill").args(["-9", &db["pid"].to_string()]).status().unwrap().success());
    let end = Instant::now() + 2 * LIMIT;
    let pid = db["pid"].clone();
    loop {
        let (text, db) = (get(world), view(world, &project, "db"));
        if text.starts_with("HTTP/1.1 200 ") && db["pid"] != pid {
            break;
        }
        assert!(Instant::now() < end, "{text}\n{db}");
        thread::sleep(Duration::from_millis(100));
    }
    let waited = hop(world, &project, &["wait", "service:db", "service:web"]);
    assert_eq!(waited.status.code(), Some(0), "{}", said(&waited));
    let (db, again) = (view(world, &project, "db"), view(world, &project, "web"));
    assert_eq!((&db["last_exit"]["signal"], &again["pid"]), (&9.into(), &web["pid"]), "{db}");

    let stopped = hop(world, &project, &["services", "stop", "web", "db"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", said(&stopped));
    let logs = hop(world, &project, &["logs", "db", "--no-follow"]);
    assert!(said(&logs).contains("database system is shut down"), "{}", said(&logs));
    assert!(!at.join("data/postmaster.pid").exists(), "it has not ended by itself");
}
