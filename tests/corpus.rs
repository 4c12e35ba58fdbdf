//! The corpora of tests/fuzz once more, without a fuzzer: every file as it is, and mutations of it
//! from a fixed seed. A file that once broke something is kept there, so it cannot break again.
//!
//! Bound: 1.5 s a target, whatever the machine. `HOP_SECONDS=<n>` allows n seconds a target.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

// Files of hopbox that are compiled here as they are look for this at the root.
use hopbox::{sys, wg};

#[path = "fuzz/src/targets/mod.rs"]
mod targets;

const LIMIT: Duration = Duration::from_millis(1500);
const MUTATIONS: u64 = 400;
/// Bytes and files of all corpora together, with room for what `make fuzz` finds.
const BYTES: u64 = 400 << 10;
const FILES: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus")
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = root().join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut all: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("entry").path();
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
            (name.unwrap_or_default(), fs::read(path).expect("a file"))
        })
        .collect();
    all.sort();
    all
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }

    /// `data` with one to four changes; `other` lends a piece.
    fn mutate(&mut self, data: &[u8], other: &[u8]) -> Vec<u8> {
        const ODD: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b'"', b'0'];
        let mut d = data.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(d.len() + 1);
            let end = (at + self.below(9)).min(d.len());
            match self.below(6) {
                0 if at < d.len() => d[at] ^= 1 << self.below(8),
                1 if at < d.len() => d[at] = ODD[self.below(8)],
                2 => drop(d.drain(at..end)),
                3 => d.insert(at, self.below(256) as u8),
                4 => {
                    let piece = d[at..end].to_vec();
                    d.splice(at..at, piece);
                }
                _ => {
                    let from = self.below(other.len() + 1);
                    let to = (from + self.below(65)).min(other.len());
                    d.splice(at..end, other[from..to].iter().copied());
                }
            }
        }
        d
    }
}

/// Runs one input; a failure names it, and shows its bytes.
fn run(target: fn(&[u8]), what: &str, data: &[u8]) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(data))) else { return };
    let hex: String = data.iter().map(|b| format!("{b:02x}")).collect();
    println!("failed: {what}\nas hex: {hex}");
    std::panic::resume_unwind(panic);
}

fn replay(name: &str, target: fn(&[u8])) {
    let seconds = std::env::var("HOP_SECONDS").ok().and_then(|s| s.parse().ok());
    let limit = seconds.map_or(LIMIT, Duration::from_secs);
    let files = corpus(name);
    assert!(files.len() >= 3, "{name}: {} files", files.len());
    let began = Instant::now();
    run(target, "nothing", &[]);
    for (file, data) in &files {
        run(target, &format!("corpus/{name}/{file}"), data);
    }
    let mut mutants = 0;
    'all: for round in 0..MUTATIONS {
        for (n, (file, data)) in files.iter().enumerate() {
            if began.elapsed() > limit {
                break 'all;
            }
            let mut rng = Rng(round << 32 | n as u64);
            let other = &files[rng.below(files.len())].1;
            let mutant = rng.mutate(data, other);
            run(target, &format!("corpus/{name}/{file}, mutation {round}"), &mutant);
            mutants += 1;
        }
    }
    println!("{name}: {} files, {mutants} mutants, {:.1?}", files.len(), began.elapsed());
}

macro_rules! replay {
    ($($target:ident)*) => {
        const TARGETS: &[&str] = &[$(stringify!($target)),*];
        $(
            #[test]
            fn $target() {
                replay(stringify!($target), targets::$target);
            }
        )*
    };
}

replay! {
    aead agent_http cli_args cookie device_script device_wire helper_line hopbox_yaml host_json
    hosts_edit msg router_ops rpc_json shield split_merge tun_packet uapi
}

#[test]
fn there_is_one_corpus_for_each_target_and_all_are_small() {
    let dirs = fs::read_dir(root()).expect("corpora").map(|d| d.expect("entry").file_name());
    let mut dirs: Vec<_> = dirs.map(|d| d.to_string_lossy().into_owned()).collect();
    dirs.sort();
    assert_eq!(dirs, TARGETS);
    let manifest = include_str!("fuzz/Cargo.toml");
    for target in TARGETS {
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target} is no binary");
    }
    let all: Vec<_> = TARGETS.iter().flat_map(|t| corpus(t)).collect();
    let bytes: usize = all.iter().map(|(_, data)| data.len()).sum();
    assert!(all.len() <= FILES && bytes as u64 <= BYTES, "{} files, {bytes} bytes", all.len());
}
