use super::*;
use crate::workspace::import::Note;
use crate::workspace::manifest::Manifest;
use crate::workspace::read;

fn import(text: &str) -> (Manifest, Vec<Note>) {
    let made = devcontainer(text, "devcontainer.json", "project");
    let made = made.unwrap_or_else(|e| panic!("{text}\n{e}"));
    assert!(made.wrong.is_empty(), "{text}\n{}\n{:#?}", made.text, made.wrong);
    (read::manifest(&made.text).unwrap(), made.notes)
}

const FULL: &str = r#"// For format details, see https://aka.ms/devcontainer.json.
{
	"name": "Node.js & PostgreSQL",
	"$schema": "https://example.org/schema.json",
	"image": "mcr.microsoft.com/devcontainers/typescript-node:1-20-bookworm",
	/* Features to add */
	"features": {
		"ghcr.io/devcontainers/features/go:1": {"version": "1.22"}, // comment
	},
	"forwardPorts": [3000, "db:5432"],
	"portsAttributes": {"3000": {"label": "app"}},
	"containerEnv": {"A": "1", "B": "${localEnv:HOME}", "C": "x // y",},
	"remoteEnv": {"A": "2", "PATH": "${containerEnv:PATH}:/x"},
	"onCreateCommand": "npm ci",
	"postCreateCommand": {"db": ["npm", "run", "db it's"], "hooks": "lefthook install"},
	"postStartCommand": "git fetch",
	"postAttachCommand": "echo",
	"customizations": {
		"vscode": {
			"extensions": ["golang.go", "-dbaeumer.vscode-eslint", "golang.go", "ms-python.python"],
			"settings": {"editor.tabSize": 2}
		},
		"codespaces": {"repositories": {}}
	},
	"workspaceFolder": "/workspaces/x",
	"remoteUser": "node",
	"mounts": ["source=a,target=/b,type=volume"],
}
"#;

#[test]
fn what_has_a_meaning_on_a_server_is_carried_over_and_the_rest_is_told() {
    let (manifest, notes) = import(FULL);
    let desired = manifest.desired;
    assert_eq!(desired.workspace, "node-js-postgresql");
    assert_eq!(desired.env.iter().collect::<Vec<_>>(), [("A", "2"), ("C", "x // y")]);
    let setup = "set -e\nnpm ci\nnpm run 'db it'\\''s'\nlefthook install\n";
    assert_eq!(desired.hooks.setup.as_deref(), Some(setup));
    assert_eq!(desired.hooks.start.as_deref(), Some("git fetch"));
    assert_eq!(manifest.editor.extensions, ["golang.go", "ms-python.python"]);
    assert_eq!(manifest.host, None);
    let told: String = notes.iter().map(|note| format!("{note}\n")).collect();
    for line in [
        "line 5, column 11: image: the server itself is the environment",
        "line 8, column 42: features.ghcr.io/devcontainers/features/go:1: the server itself",
        "line 10, column 18: forwardPorts: nothing is needed",
        "portsAttributes: not carried over",
        "containerEnv.B: left out: nothing is replaced here",
        "remoteEnv.PATH: left out: nothing is replaced here",
        "postCreateCommand: run one after the other",
        "onCreateCommand: runs in the home directory",
        "postAttachCommand: not carried over",
        "customizations.vscode.extensions: left out: \"-dbaeumer.vscode-eslint\" is no extension",
        "customizations.vscode.settings: not carried over",
        "customizations.codespaces.repositories: not carried over",
        "workspaceFolder: not carried over",
        "remoteUser: not carried over",
        "mounts: not carried over",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
}

const KEYS: &str = "\
    image build dockerFile context dockerComposeFile service runServices name forwardPorts \
    portsAttributes otherPortsAttributes updateRemoteUserUID containerEnv remoteEnv \
    containerUser remoteUser userEnvProbe overrideCommand shutdownAction init privileged \
    capAdd securityOpt mounts features overrideFeatureInstallOrder customizations extensions \
    settings devPort appPort workspaceMount workspaceFolder runArgs initializeCommand \
    onCreateCommand updateContentCommand postCreateCommand postStartCommand \
    postAttachCommand waitFor hostRequirements secrets of_a_later_version";

#[test]
fn nothing_is_dropped_in_silence() {
    let base = devcontainer("{}", "f", "n").unwrap().text;
    let mut silent = Vec::new();
    for key in KEYS.split_whitespace() {
        for value in [
            "\"x\"",
            "7",
            "true",
            "\"\"",
            "[\"x\"]",
            "[7]",
            "{\"x\": \"y\"}",
            "[[1]]",
            "{\"a\": [1]}",
            "{\"vscode\": {\"x\": 1}}",
            "{\"vscode\": {\"extensions\": [7, \"x\"]}}",
        ] {
            let text = format!("{{\n\"{key}\": {value}\n}}");
            let made = devcontainer(&text, "f", "n").unwrap_or_else(|e| panic!("{text}\n{e}"));
            assert!(made.wrong.is_empty(), "{text}\n{}\n{:?}", made.text, made.wrong);
            let is_noted = made.notes.iter().any(|note| note.at.line == 2);
            if !is_noted && made.text == base {
                silent.push(format!("{key}: {value}"));
            }
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn what_is_none_is_an_error() {
    for text in ["", "[]", "7", "{", "{\"a\": 1}}", "\0"] {
        assert!(devcontainer(text, "f", "n").is_err(), "{text}");
    }
    let (manifest, notes) = import("{}");
    assert_eq!((manifest.desired.workspace.as_str(), notes.len()), ("project", 0));
    let (_, notes) = import("{\"postCreateCommand\": \"\"}");
    assert_eq!(notes.len(), 1, "a command that is none runs nowhere: {notes:?}");
    let evil = "{\"name\": \"x\\nhost: evil\", \"postCreateCommand\": \"a\\nhost: evil\", \"x\\nhost: evil\": 1}";
    assert_eq!(import(evil).0.host, None);
}
