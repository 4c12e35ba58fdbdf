//! `devcontainer.json`. There the environment is a container; here it is the server itself, and
//! what made the container is what `hooks.setup` has to do.

use std::collections::BTreeMap;

use super::draft::{self, Draft, Fields, Imported};
use super::jsonc;
use super::names::label;
use super::note::{Notes, below};
use crate::base::yaml::{Entry, Node, Value};
use crate::workspace::check;
use crate::workspace::env::VARIABLES;
use crate::workspace::wrong::{Refusal, Wrong, cut};

/// What is run once, in this order.
const SETUP: [&str; 3] = ["onCreateCommand", "updateContentCommand", "postCreateCommand"];
const ENV: [&str; 2] = ["containerEnv", "remoteEnv"];

/// What is not carried over, and why or what is done instead.
const OTHERS: &[(&str, &str)] = &[
    (
        "image",
        "the server itself is the environment: let hooks.setup install what the image brings",
    ),
    ("build", "the server itself is the environment: let hooks.setup do what the Dockerfile does"),
    ("dockerFile", "the server itself is the environment: let hooks.setup do what it does"),
    ("dockerComposeFile", "it is read by hop init --from-compose FILE"),
    ("service", "its file is read by hop init --from-compose FILE"),
    ("runServices", "its file is read by hop init --from-compose FILE"),
    ("forwardPorts", "nothing is needed: what listens on the server appears on the laptop"),
    ("appPort", "nothing is needed: what listens on the server appears on the laptop"),
    ("portsAttributes", "not carried over"),
    ("initializeCommand", "not carried over: it is run on the laptop"),
    ("postAttachCommand", "not carried over: nothing is run when an editor comes"),
    ("mounts", "not carried over: directories of the server are where they are"),
    ("workspaceMount", "not carried over: directories of the server are where they are"),
    ("remoteUser", "not carried over: it is the login that hop setup was given"),
    ("containerUser", "not carried over: it is the login that hop setup was given"),
    ("runArgs", "not carried over: there is no container"),
    ("secrets", "put them into .env.local"),
    ("hostRequirements", "not carried over: the server is what it is"),
];

/// `from` is how the file is called, `name` the workspace where the file has none.
pub fn devcontainer(text: &str, from: &str, name: &str) -> Result<Imported, Wrong> {
    let root = jsonc::parse(text)?;
    let Value::Map(top) = &root.value else {
        return Err(Refusal::new("is no devcontainer.json", "").at(root.at, ""));
    };
    let mut notes = Notes::default();
    let get = |key: &str| root.get(key).ok().flatten();
    let named = get("name").and_then(|node| {
        let named = node.text().ok().map(label);
        if named.is_none() {
            notes.add(node, "name", "left out: it should be a text");
        }
        named
    });
    let mut keys = Fields::default();
    keys.put("name", Draft::Text(named.unwrap_or_else(|| label(name))));
    keys.put("env", env(&mut notes, &ENV.map(get)));
    let mut hooks = Fields::default();
    hooks.opt("setup", commands(&mut notes, &SETUP.map(|key| (key, get(key)))));
    let start = [("postStartCommand", get("postStartCommand"))];
    hooks.opt("start", commands(&mut notes, &start));
    keys.put("hooks", hooks.map());
    keys.put("editor", editor(&mut notes, &root));
    for entry in top {
        other(&mut notes, entry);
    }
    Ok(draft::finish(from, keys, notes.told(&[])))
}

fn other(notes: &mut Notes, entry: &Entry) {
    let key = entry.key.as_str();
    let read = ["name", "$schema", "customizations", "extensions", "postStartCommand"];
    let read = read.contains(&key) || SETUP.contains(&key) || ENV.contains(&key);
    if read || key == "workspaceFolder" || entry.node.is_null() {
        return;
    }
    if let ("features", Value::Map(features)) = (key, &entry.node.value) {
        for feature in features {
            let path = below("features", &feature.key);
            let what = "the server itself is the environment: let hooks.setup install it";
            notes.add(&feature.node, &path, what);
        }
        return;
    }
    let known = OTHERS.iter().find(|(known, _)| *known == key);
    notes.add(&entry.node, &below("", key), known.map_or("not carried over", |(_, what)| what));
}

fn env(notes: &mut Notes, all: &[Option<&Node>]) -> Draft {
    let mut values: BTreeMap<String, Draft> = BTreeMap::new();
    for (name, node) in ENV.iter().zip(all) {
        let Some(node) = node else { continue };
        let Value::Map(entries) = &node.value else {
            notes.add(node, name, "left out: it should be an object");
            continue;
        };
        for Entry { key, node, .. } in entries {
            let path = below(name, key);
            let Value::Scalar { text, .. } = &node.value else {
                notes.add(node, &path, "left out: it should be a text");
                continue;
            };
            if node.is_null() {
                notes.add(node, &path, "left out: it takes the variable away");
            } else if text.contains("${") {
                let what = "left out: nothing is replaced here; set it in .env.local";
                notes.add(node, &path, what);
            } else if values.len() >= VARIABLES && !values.contains_key(key) {
                notes.add(node, &path, format!("left out: more than {VARIABLES} variables"));
            } else if let Err(refusal) = check::env_key(key).and_then(|()| check::env_value(text)) {
                notes.add(node, &path, format!("left out: {}", refusal.why));
            } else {
                values.insert(key.clone(), Draft::text(text.as_str()));
            }
        }
    }
    Draft::Map(values.into_iter().collect())
}

/// One script of all of them, each a text, a list of words, or several with names.
fn commands(notes: &mut Notes, all: &[(&str, Option<&Node>)]) -> Option<Draft> {
    let mut lines: Vec<String> = Vec::new();
    for (key, node) in all {
        let Some(node) = node else { continue };
        let before = lines.len();
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    lines.extend(command(notes, &entry.node, &below(key, &entry.key)));
                }
                if entries.len() > 1 {
                    notes.add(node, key, "run one after the other, not at the same time");
                }
            }
            _ => lines.extend(command(notes, node, key)),
        }
        if lines.iter().any(|line| line.contains("${")) {
            notes.add(node, key, "holds ${…}, which only a shell replaces here");
        }
        if lines.len() > before {
            notes.add(node, key, "runs in the home directory of the server: begin with cd");
        }
    }
    let script = match lines.as_slice() {
        [] => return None,
        [line] => line.clone(),
        lines => format!("set -e\n{}\n", lines.join("\n")),
    };
    match check::shell(&script) {
        Ok(script) => Some(Draft::Text(script)),
        Err(refusal) => {
            let (key, node) = all.iter().find_map(|(key, node)| Some((key, (*node)?)))?;
            notes.add(node, key, format!("left out: {}", refusal.why));
            None
        }
    }
}

fn command(notes: &mut Notes, node: &Node, path: &str) -> Option<String> {
    match &node.value {
        Value::Scalar { text, .. } if !text.trim().is_empty() && !node.is_null() => {
            Some(text.clone())
        }
        Value::List(list) if !list.is_empty() => {
            let word = |item: &Node| item.text().ok().map(quoted);
            let words = list.iter().map(word).collect::<Option<Vec<_>>>();
            if words.is_none() {
                notes.add(node, path, "left out: it should be a list of texts");
            }
            words.map(|words| words.join(" "))
        }
        _ => {
            notes.add(node, path, "left out: it is no command");
            None
        }
    }
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+=,".contains(&byte);
    match !text.is_empty() && text.bytes().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

fn editor(notes: &mut Notes, root: &Node) -> Draft {
    let get = |node: &'_ Node, key: &str| node.get(key).ok().flatten().cloned();
    let mut extensions: Vec<String> = Vec::new();
    let mut lists: Vec<(String, Node)> = Vec::new();
    lists.extend(get(root, "extensions").map(|node| ("extensions".to_owned(), node)));
    let tools = get(root, "customizations");
    if let Some(node) = tools.as_ref().filter(|node| !matches!(node.value, Value::Map(_))) {
        notes.add(node, "customizations", "left out: it should be an object");
    }
    if let Some(Node { value: Value::Map(tools), .. }) = tools {
        for tool in &tools {
            let path = below("customizations", &tool.key);
            let Value::Map(parts) = &tool.node.value else {
                notes.add(&tool.node, &path, "not carried over");
                continue;
            };
            for part in parts {
                let path = below(&path, &part.key);
                match (tool.key.as_str(), part.key.as_str()) {
                    ("vscode", "extensions") => lists.push((path, part.node.clone())),
                    _ => notes.add(&part.node, &path, "not carried over"),
                }
            }
        }
    }
    for (path, node) in &lists {
        let Value::List(list) = &node.value else {
            notes.add(node, path, "left out: it should be a list");
            continue;
        };
        for item in list {
            let text = item.text().unwrap_or_default();
            match check::extension(text) {
                Ok(_) if extensions.iter().any(|known| known == text) => {}
                Ok(_) if extensions.len() >= 256 => notes.add(item, path, "left out: too many"),
                Ok(extension) => extensions.push(extension),
                Err(refusal) => notes.add(item, path, format!("left out: {}", refusal.why)),
            }
        }
    }
    let mut keys = Fields::default();
    if !extensions.is_empty() {
        keys.put("type", Draft::text("vscode-remote"));
    }
    if let Some(node) = get(root, "workspaceFolder") {
        let what = format!(
            "not carried over: say where on the server it is in editor.path ({})",
            cut(node.text().unwrap_or_default())
        );
        notes.add(&node, "workspaceFolder", what);
    }
    keys.put("extensions", Draft::texts(extensions));
    keys.map()
}

#[cfg(test)]
mod tests;
