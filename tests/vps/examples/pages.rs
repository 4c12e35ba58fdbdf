//! The examples of README.md and of the manual, as their sources have them. What is a command on a
//! line of its own is an example by itself; any other block is one as a whole.

use std::fs;
use std::path::{Path, PathBuf};

/// What a command line begins with.
const PROGRAMS: [&str; 13] = [
    "make",
    "sudo",
    "hop",
    "hop-agent",
    "hop-helper",
    "rustup",
    "curl",
    "psql",
    "ssh",
    "nft",
    "loginctl",
    "echo",
    "export",
];

/// All of them, each once, in the order of their pages.
pub fn examples() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = readme(&fs::read_to_string(root.join("README.md")).unwrap());
    let entries = fs::read_dir(root.join("man")).unwrap();
    let mut pages: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    for page in pages {
        found.extend(manual(&fs::read_to_string(page).unwrap()));
    }
    let mut once: Vec<String> = Vec::new();
    found.into_iter().for_each(|example| {
        if !once.contains(&example) {
            once.push(example);
        }
    });
    once
}

fn is_command(line: &str) -> bool {
    line.split_once(' ').is_some_and(|(program, _)| PROGRAMS.contains(&program))
}

/// What is typed of a line: without the prompt before it and the comment after it.
fn typed(line: &str) -> &str {
    let line = line.trim();
    let bare = line.strip_prefix("$ ").or_else(|| line.strip_prefix("# "));
    let line = bare.filter(|bare| is_command(bare)).unwrap_or(line);
    line.split_once("  # ").map_or(line, |(before, _)| before).trim_end()
}

/// Lines where the first is a command; else the block.
fn block(lines: &[&str]) -> Vec<String> {
    let first = lines.first().copied().unwrap_or_default();
    let has_prompt = first.starts_with("$ ");
    if !is_command(typed(first)) || !has_prompt && first.starts_with("export DISPLAY") {
        return vec![lines.join("\n")];
    }
    let text = lines.join("\n").replace("\\\n", " ");
    text.lines().map(|line| typed(line).to_owned()).collect()
}

fn readme(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if !line.starts_with("    ") {
            continue;
        }
        let mut inside = vec![&line[4..]];
        // Blank lines part the text of a terminal, and end a block where no line of it follows.
        while let Some(line) = lines.next_if(|line| line.is_empty() || line.starts_with("    ")) {
            inside.extend(line.get(4..));
        }
        // A drawing is for the eye.
        if !inside.iter().any(|line| line.contains("+--")) {
            found.extend(block(&inside));
        }
    }
    let prose: Vec<&str> = text.lines().filter(|line| !line.starts_with("    ")).collect();
    let prose = prose.join(" ");
    let spans = prose.split('`').skip(1).step_by(2).filter(|span| is_command(span));
    // With < it says how something is called.
    found.extend(spans.filter(|span| !span.contains('<')).map(str::to_owned));
    found
}

fn manual(text: &str) -> Vec<String> {
    let text = text.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\");
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(line) = line.strip_prefix(".Dl ") {
            found.push(typed(line).to_owned());
        } else if line.starts_with(".Bd ") {
            let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != ".Ed").collect();
            found.extend(block(&inside));
        }
    }
    found
}

#[test]
fn examples_are_found_in_all_their_forms() {
    let page = "# a\n\n    make demo   # shows\n    hop up\n\nand `hop down`,\n`hop wg <i>`.\n\n\
                \x20   1/7 x\n      y\n\n    z\n\nEnd, `not one`.\n";
    assert_eq!(readme(page), ["make demo", "hop up", "1/7 x\n  y\nz", "hop down"]);
    let page = ".Dl # hop selftest\n.Bd -literal\n$ curl a \\\n  -d x\n$ hop up\n.Ed\n.Dl # --- x\n\
                .Bd -literal\n{\"a\":1}\n\nb\n.Ed\n";
    let found = ["hop selftest", "curl a    -d x", "hop up", "# --- x", "{\"a\":1}\n\nb"];
    assert_eq!(manual(page), found);
}
