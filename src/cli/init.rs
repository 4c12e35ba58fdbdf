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
use crate::workspace::import::{self, Imported, Named, Note};
use crate::workspace::wrong::Wrong;

pub const COMMAND: Command = Command {
    name: "init",
    summary: "write a hopbox.yaml for the project here",
    usage: "hop init [--from FILE] [--from-compose FILE...]",
    details: "Writes hopbox.yaml into this directory, with an example of every key, or made of a\n\
              devcontainer.json or of files of docker compose: of several the later ones change\n\
              the earlier, as with its -f, and what they include or extend is read, too, where it\n\
              lies in this directory or below; variables have the values of .env beside the\n\
              first. What is not carried over, or not as it was, is listed with its place, here\n\
              and at the head of the file. A file that is there is never overwritten. Exits 11\n\
              when the file has to be mended first.",
    example: "hop init\n\
              hop init --from .devcontainer/devcontainer.json\n\
              hop init --from-compose compose.yaml",
    group: Group::Project,
    flags: &[
        Flag { short: None, long: "from", value: Some("FILE"), help: "a devcontainer.json" },
        Flag {
            short: None,
            long: "from-compose",
            value: Some("FILE"),
            help: "a file of docker compose; may be repeated",
        },
    ],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run,
};

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let flags = call.args.flags();
    let compose =
        flags.filter(|(flag, _)| *flag == "from-compose").map(|(_, file)| file.to_owned());
    let compose: Vec<String> = compose.collect();
    let devcontainer = call.args.value("from").map(str::to_owned);
    if devcontainer.is_some() && !compose.is_empty() {
        let why = "a workspace is made of files of one kind";
        return Err(Failure::usage("--from and --from-compose", why, fix!("hop help {}", "init")));
    }
    let target = Path::new(FILE);
    // Told before a file is read for nothing; decided when it is written.
    if target.symlink_metadata().is_ok() {
        return Err(exists());
    }
    let name = directory_name();
    let (made, from) = match devcontainer {
        Some(file) => {
            let text = text(&file)?;
            let made = import::devcontainer(&text, &file, &name);
            (made.map_err(|wrong| not_carried(&file, &wrong.to_string()))?, Some(file))
        }
        None if compose.is_empty() => {
            let text = import::scaffold(&name);
            (Imported { text, notes: Vec::new(), wrong: Vec::new() }, None)
        }
        None => (of_compose(&compose, &name)?, Some(compose.join(", "))),
    };
    write(target, &made.text)?;
    told(call, from.as_deref(), &made)
}

fn of_compose(files: &[String], name: &str) -> Result<Imported, Failure> {
    let named = |path: &String| Ok(Named { path: from_here(path), text: text(path)? });
    let named = files.iter().map(named).collect::<Result<Vec<Named>, Failure>>()?;
    import::compose(&named, name, &mut beside).map_err(|wrong| {
        let file = files.get(usize::from(wrong.at.file)).or(files.last());
        not_carried(file.map_or("", String::as_str), &wrong.to_string())
    })
}

/// As it is seen from this directory, where it lies below it.
fn from_here(path: &str) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let below = Path::new(path).strip_prefix(here).ok().and_then(Path::to_str);
    below.unwrap_or(path).to_owned()
}

/// A file in this directory or below, also behind links; nothing where there is none.
fn beside(path: &str) -> Result<Option<String>, String> {
    let failed = |error: std::io::Error| format!("{path} cannot be read: {error}");
    let real = match std::fs::canonicalize(path) {
        Ok(real) if !real.is_dir() => real,
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
        Ok(_) | Err(_) => return Ok(None),
    };
    let here = std::fs::canonicalize(".").map_err(failed)?;
    if !real.starts_with(here) {
        return Err(format!("{path} leads out of the project's directory"));
    }
    let bytes = bounded::read(real, yaml::TEXT_BYTES as u64).map_err(failed)?;
    String::from_utf8(bytes).map(Some).map_err(|_| format!("{path} is not UTF-8"))
}

fn exists() -> Failure {
    let what = format!("{FILE} is there already");
    Failure::new(Fault::Exists, what, "it is never overwritten", fix!("${EDITOR:-vi} {}", FILE))
}

fn directory_name() -> String {
    let here = std::env::current_dir().unwrap_or_default();
    here.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn not_carried(file: &str, why: &str) -> Failure {
    let next = fix!("${EDITOR:-vi} {}", Path::new(file));
    Failure::new(Fault::Config, format!("{file} cannot be carried over"), why, next)
}

fn text(file: &str) -> Result<String, Failure> {
    let path = Path::new(file);
    let bytes =
        bounded::read(path, yaml::TEXT_BYTES as u64).map_err(|error| match error.kind() {
            ErrorKind::FileTooLarge | ErrorKind::InvalidInput => {
                not_carried(file, &error.to_string())
            }
            _ => Failure::io("read", path, &error),
        })?;
    String::from_utf8(bytes).map_err(|_| not_carried(file, "it is not UTF-8"))
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
    let Note { file, at, path, what } = note;
    json!({"file": file, "line": at.line, "column": at.column, "path": path, "what": what})
}
