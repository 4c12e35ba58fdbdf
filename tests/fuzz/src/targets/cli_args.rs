//! Command lines: whatever the words are, they are a command with as many operands as it takes,
//! help, or a mistake with a reason and a next step; and nothing is done yet.

use hopbox::base::command_line::{Asked, parse};
use hopbox::base::exit::Code;
use hopbox::cli::TABLE;
use hopbox::cli::command::GLOBAL_FLAGS;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

pub fn cli_args(data: &[u8]) {
    let words: Vec<OsString> =
        data.split(|b| *b == b'\n').map(|w| OsString::from_vec(w.to_vec())).collect();
    let (args, asked) = parse(&TABLE, words.clone());
    match asked {
        Ok(Asked::Run(command)) => {
            let (least, most) = command.operands;
            assert!((least..=most).contains(&args.operands.len()), "{}", command.name);
            for flag in command.flags.iter().chain(GLOBAL_FLAGS) {
                assert!(!args.has(flag.long) || args.value(flag.long).is_some());
            }
            let named = command.name.split(' ').next().unwrap_or_default();
            assert!(words.iter().any(|w| w.as_os_str() == named));
        }
        Ok(Asked::Help(Some(command))) => {
            assert!(TABLE.commands.iter().any(|c| c.name == command.name));
        }
        Ok(Asked::Noun(noun) | Asked::NounHelp(noun)) => {
            assert!(TABLE.commands.iter().any(|c| c.name.starts_with(noun)))
        }
        Ok(Asked::Unknown(unknown)) => {
            assert!(!TABLE.commands.iter().any(|c| c.name == unknown[0]));
            assert!(unknown.iter().all(|w| words.iter().any(|typed| typed == w.as_str())));
        }
        Ok(Asked::Help(None) | Asked::Nothing | Asked::Version) => {}
        Err(no) => {
            assert_eq!(no.code(), Code::Usage);
            assert!(!no.what.is_empty() && !no.why.is_empty() && no.next.starts_with("hop"));
        }
    }
    // No word is lost: what is neither command nor flag nor the value of one is an operand.
    if let (args, Ok(Asked::Run(command))) = parse(&TABLE, words.clone()) {
        let mut after_flag = false;
        for word in words.iter().filter_map(|w| w.to_str()) {
            let flag = word.starts_with('-');
            let known = command.name.split(' ').any(|n| n == word)
                || args.operands.iter().any(|o| o == word);
            assert!(flag || after_flag || known, "{word:?} was lost");
            after_flag = flag;
        }
    }
}
