//! H8: the power goes in the middle of an edit of /etc/hosts. What the helper writes is recorded
//! with strace(1); then every state that a disk can be in after any of these calls is put in place,
//! and a helper started on it, as after a reboot.
//!
//! The disk: what was written to a file but not synced may be there, half or whole or as zeroes, in
//! any order, or not be there; a rename that was not synced may have happened or not.

use super::machine::{Client, Machine, in_namespace};
use super::restart::{attach, stop_tracing};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const DIR: &str = "/run/hopbox-helper";
const RECORD: &str = "/run/scratch/record";
const CALLS: &str = "trace=write,pwrite64,ftruncate,fsync,rename";

#[derive(Clone, Debug)]
enum Change {
    Bytes(usize, Vec<u8>),
    Len(usize),
}

/// One file system, with what has not reached it.
#[derive(Clone, Default)]
struct Disk {
    hosts: Vec<u8>,
    state: Vec<u8>,
    pending: Vec<Change>,
    /// A state file that has taken the place of the other one, as far as memory knows.
    renamed: Option<Vec<u8>>,
    temporary: BTreeMap<String, Vec<u8>>,
}

type Image = (Vec<u8>, Vec<u8>);

impl Disk {
    /// Every state that can be found when the power comes back.
    fn images(&self) -> BTreeSet<Image> {
        let mut files = BTreeSet::from([self.hosts.clone()]);
        for change in &self.pending {
            let done = files.iter().flat_map(|file| after(file, change)).collect::<Vec<_>>();
            files.extend(done);
        }
        let states = [Some(self.state.clone()), self.renamed.clone()];
        let with = |file: &Vec<u8>| {
            states.iter().flatten().map(|state| (file.clone(), state.clone())).collect::<Vec<_>>()
        };
        files.iter().flat_map(with).collect()
    }

    fn call(&mut self, name: &str, args: &[String], path: &str, data: Vec<u8>) {
        let number = |at: usize| args[at].trim_end_matches(')').parse::<usize>().unwrap();
        match (name, path) {
            ("pwrite64", "/etc/hosts") => self.pending.push(Change::Bytes(number(3), data)),
            ("ftruncate", "/etc/hosts") => self.pending.push(Change::Len(number(1))),
            ("fsync", "/etc/hosts") => {
                for change in std::mem::take(&mut self.pending) {
                    self.hosts = after(&self.hosts, &change).pop().unwrap();
                }
            }
            ("write", path) if path.starts_with("/run/hopbox-helper/state.json.") => {
                self.temporary.entry(path.into()).or_default().extend(data);
            }
            ("fsync", DIR) => self.state = self.renamed.take().unwrap_or(self.state.clone()),
            _ => {}
        }
    }
}

/// What a change may leave, the whole of it last.
fn after(file: &[u8], change: &Change) -> Vec<Vec<u8>> {
    let with = |at: usize, bytes: &[u8]| {
        let mut file = file.to_vec();
        file.resize(file.len().max(at + bytes.len()), 0);
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    match change {
        Change::Len(len) => vec![file[..*len.min(&file.len())].to_vec()],
        Change::Bytes(at, bytes) => {
            let half = &bytes[..bytes.len() / 2];
            let mut zeroes = with(*at, bytes);
            zeroes[file.len().max(*at).min(at + bytes.len())..at + bytes.len()].fill(0);
            vec![with(*at, half), zeroes, with(*at, bytes)]
        }
    }
}

/// `\x41` of strace -xx for every byte.
fn bytes(text: &str) -> Vec<u8> {
    let hex = text.split("\\x").skip(1);
    hex.map(|pair| u8::from_str_radix(&pair[..2], 16).unwrap()).collect()
}

/// The images along the calls of a record: `name(3<path>, "data", 7, 0) = 7`.
fn replay(record: &str, mut disk: Disk) -> (BTreeSet<Image>, usize) {
    let (mut images, mut calls) = (disk.images(), 0);
    for line in record.lines().filter(|line| line.contains(") = ")) {
        let (call, _) = line.rsplit_once(" = ").unwrap();
        let (name, args) = call.trim_end().split_once('(').unwrap();
        let name = name.rsplit(' ').next().unwrap();
        let args: Vec<String> = args.split(", ").map(str::to_string).collect();
        let text = |at: usize| String::from_utf8(bytes(&args[at])).unwrap();
        if name == "rename" {
            assert_eq!(text(1), format!("{DIR}/state.json"));
            disk.renamed = Some(disk.temporary.remove(&text(0)).expect("written before"));
        } else {
            let of = args[0].split_once('<').map_or("", |(_, path)| path);
            let path = match of.starts_with("\\x") {
                true => String::from_utf8(bytes(of)).unwrap(),
                false => of.trim_end_matches(['>', ')']).to_string(),
            };
            let data = args.get(1).map_or(Vec::new(), |data| bytes(data));
            // A scratch file is mounted there.
            let path = if path.ends_with("/hosts") { "/etc/hosts".into() } else { path };
            disk.call(name, &args, &path, data);
        }
        calls += 1;
        images.extend(disk.images());
    }
    (images, calls)
}

fn course(m: &mut Machine, before: &str) {
    m.set_hosts(before);
    m.start();
    let read = |path: &str| std::fs::read(path).unwrap();
    let disk = Disk {
        hosts: read("/etc/hosts"),
        state: read(&format!("{DIR}/state.json")),
        ..Disk::default()
    };
    let clean = String::from_utf8(disk.hosts.clone()).unwrap();
    let mut client = Client::ready(m);
    let tracer = attach(m, &["-o", RECORD, "-xx", "-y", "-s", "100000", "-e", CALLS]);
    let add = |name: &str| json!({"name": name, "ip": "10.10.0.2"});
    client.ok("hosts.add", add("longer-name.hop"));
    client.ok("hosts.add", add("b.hop"));
    client.ok("hosts.remove", json!({"name": "longer-name.hop"}));
    client.ok("hosts.remove", json!({"name": "b.hop"}));
    m.kill();
    stop_tracing(tracer);
    let (images, calls) = replay(&std::fs::read_to_string(RECORD).unwrap(), disk);
    assert!(calls > 30 && images.len() > 15, "{calls} calls, {} images", images.len());
    eprintln!("NOTE {calls} calls, {} images", images.len());
    for (hosts, state) in images {
        std::fs::write("/etc/hosts", &hosts).unwrap();
        std::fs::write(format!("{DIR}/state.json"), &state).unwrap();
        let _ = std::fs::remove_file(format!("{DIR}/epoch"));
        m.start();
        let found = m.hosts();
        let told = format!(
            "{:?} with {}",
            String::from_utf8_lossy(&hosts),
            String::from_utf8_lossy(&state)
        );
        // Blank lines may stay; where a block was last in the file, none do.
        let rest =
            found.strip_prefix(clean.as_str()).unwrap_or_else(|| panic!("{found:?}: {told}"));
        assert!(rest.bytes().all(|b| b == b'\n'), "{found:?}: {told}");
        let row: Value = serde_json::from_slice(&read(&format!("{DIR}/state.json"))).unwrap();
        assert_eq!((&row["edit"], &row["hosts"]), (&Value::Null, &json!([])), "{told}");
        m.stop();
    }
}

#[test]
fn the_power_goes_at_any_write() {
    in_namespace("power::the_power_goes_at_any_write", |m| {
        course(m, "127.0.0.1 localhost\n# no newline at the end");
        course(m, "127.0.0.1 localhost\n");
    });
}
