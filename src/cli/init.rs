//! `hop init`: a `hopbox.yaml` for the project in this directory, empty or made of another tool's
//! file. It never takes the place of one that is there.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::command::{Call, Command, Flag, Group, Takes};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::base::yaml;
use crate::fix;
use crate::host::workspace::FILE;
use crate::sys::bounded;
use crate::workspace::import::{self, Imported, Note};
use crate::workspace::wrong::Wrong;

pub const COMMAND: Command = Command {
    name: "init",
    summary: "write a hopbox.yaml for the project here",
    usage: "hop init [--from FILE] [--from-compose FILE]",
    details: "Writes hopbox.yaml into this directory, with an example of every key, or made of a\n\
              devcontainer.json or of a file of docker compose. What is not carried over, or not\n\
              as it was, is listed with its place, here and at the head of the file. A file that\n\
              is there is never overwritten. Exits 11 when the file has to be mended first.",
    example: "hop init\n\
              hop init --from .devcontainer/devcontainer.json\n\
              hop init --from-compose compose.yaml",
    group: Group::Daily,
    flags: &[
        Flag { short: None, long: "from", value: Some("FILE"), help: "a devcontainer.json" },
        Flag {
            short: None,
            long: "from-compose",
            value: Some("FILE"),
            help: "a file of docker compose",
        },
    ],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run,
};

type Import = fn(&str, &str, &str) -> Result<Imported, Wrong>;

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let from = match (call.args.value("from"), call.args.value("from-compose")) {
        (Some(_), Some(_)) => {
            let why = "a workspace is made of one file";
            return Err(Failure::usage(
                "--from and --from-compose",
                why,
                fix!("hop help {}", "init"),
            ));
        }
        (Some(file), None) => Some((file.to_owned(), import::devcontainer as Import)),
        (None, Some(file)) => Some((file.to_owned(), import::compose as Import)),
        (None, None) => None,
    };
    let target = Path::new(FILE);
    // Told before a file is read for nothing; decided when it is written.
    if target.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let name = directory_name();
    let made = match &from {
        None => {
            let text = import::scaffold(&name);
            Imported { text, notes: Vec::new(), wrong: Vec::new() }
        }
        Some((file, import)) => read(file, *import, &name)?,
    };
    write(target, &made.text)?;
    told(call, from.as_ref().map(|(file, _)| file.as_str()), &made)
}

fn exists() -> Failure {
    let what = format!("{FILE} is there already");
    Failure::new(Fault::Exists, what, "it is never overwritten", fix!("${EDITOR:-vi} {}", FILE))
}

fn directory_name() -> String {
    let here = std::env::current_dir().unwrap_or_default();
    here.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn read(file: &str, import: Import, name: &str) -> Result<Imported, Failure> {
    let path = Path::new(file);
    let failed = |why: String| {
        let what = format!("{file} cannot be carried over");
        Failure::new(Fault::Config, what, why, fix!("${EDITOR:-vi} {}", path))
    };
    let bytes =
        bounded::read(path, yaml::TEXT_BYTES as u64).map_err(|error| match error.kind() {
            ErrorKind::FileTooLarge | ErrorKind::InvalidInput => failed(error.to_string()),
            _ => Failure::io("read", path, &error),
        })?;
    let text = String::from_utf8(bytes).map_err(|_| failed("it is not UTF-8".to_owned()))?;
    import(&text, file, name).map_err(|wrong| failed(wrong.to_string()))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = File::create_new(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(),
        _ => Failure::io("write", path, &error),
    })?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| {
        // Half a file would stand in the way of the next try.
        let _ = std::fs::remove_file(path);
        Failure::io("write", path, &error)
    })
}

fn told(call: &mut Call, from: Option<&str>, made: &Imported) -> Result<Code, Failure> {
    for note in &made.notes {
        call.out.say(&note.to_string());
    }
    for wrong in &made.wrong {
        call.out.warn("mend", &format!("{FILE}: {wrong}"));
    }
    let data = json!({
        "path": FILE, "from": from, "notes": made.notes.iter().map(note_json).collect::<Value>(),
        "wrong": made.wrong.iter().map(Wrong::to_string).collect::<Value>(),
    });
    let text = match (made.wrong.is_empty(), made.notes.len()) {
        (false, _) => format!("{FILE} is written, and has to be mended"),
        (true, 0) => format!("{FILE} is written"),
        (true, _) => format!("{FILE} is written; what is not as it was is told at its head"),
    };
    call.out.answer("init", data, text)?;
    Ok(if made.wrong.is_empty() { Code::Done } else { Code::Partial })
}

fn note_json(note: &Note) -> Value {
    let Note { at, path, what } = note;
    json!({"line": at.line, "column": at.column, "path": path, "what": what})
}
