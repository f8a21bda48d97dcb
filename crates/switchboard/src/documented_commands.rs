//! Every `cargo run` of the documents is a command line that this program takes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{CommandFactory as _, error::ErrorKind};

use crate::Arguments;

/// Stands for the placeholder `ID`. `V`, `T` and `M` are a voice, a transcriber and a model.
const ACCOUNT: &str = "acc_01JD8Q2M7X4T6R9V1B3C5D7E9F";
/// Stands for it behind the option that names a conversation.
const CONVERSATION: &str = "cnv_01JD8QA1B2C3D4E5F6G7H8J9K0";

/// A command as a document prints it.
#[derive(Debug, PartialEq, Eq)]
struct Documented {
    words: Vec<String>,
    /// It stands within a sentence, which may leave out what the command needs.
    is_mention: bool,
}

/// The commands in the code blocks and the code spans of a document.
fn documented(text: &str) -> Vec<Documented> {
    let mut found = vec![];
    for (index, part) in text.split("```").enumerate() {
        if index % 2 == 1 {
            let lines = part.replace("\\\n", " ");
            let commands = lines.lines().filter_map(command_line);
            found.extend(commands.map(|words| Documented { words, is_mention: false }));
        } else {
            let spans = part.split('`').skip(1).step_by(2);
            let commands = spans.filter_map(command_line);
            found.extend(commands.map(|words| Documented { words, is_mention: true }));
        }
    }
    found
}

/// The words behind `cargo run [OPTIONS] --`; none for another command. `#` begins a comment.
fn command_line(line: &str) -> Option<Vec<String>> {
    let line = line.split(" #").next().unwrap_or_default();
    // Variables that are set for the command alone.
    let mut words = line.split_whitespace().skip_while(|word| word.contains('=')).map(str::to_owned);
    if words.next()? != "cargo" || words.next()? != "run" {
        return None;
    }
    Some(words.skip_while(|word| word != "--").skip(1).collect())
}

/// Why the program does not take a command.
fn refusal(command: &Documented) -> Option<String> {
    let before = [""].into_iter().chain(command.words.iter().map(String::as_str));
    let words = before.zip(&command.words).map(|(before, word)| match word.as_str() {
        "ID" if before == "--from-conversation" => CONVERSATION,
        "ID" => ACCOUNT,
        "V" | "T" => "deepgram",
        "M" => "openai",
        word => word,
    });
    let words = ["switchboard"].into_iter().chain(words);
    let error = Arguments::command().try_get_matches_from(words).err()?;
    let is_incomplete = matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    let is_help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let is_taken = is_help || command.is_mention && is_incomplete;
    (!is_taken).then(|| error.to_string())
}

fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            documents(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

#[test]
fn every_command_of_the_documents_is_taken() {
    let mut found = vec![];
    documents(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."), &mut found);
    let mut count = 0;
    for path in found {
        for command in documented(&fs::read_to_string(&path).unwrap()) {
            count += 1;
            if let Some(refusal) = refusal(&command) {
                panic!("{}: `cargo run -- {}`: {refusal}", path.display(), command.words.join(" "));
            }
        }
    }
    assert!(count > 20, "only {count} commands were found");
}

#[test]
fn a_command_that_is_not_taken_is_found() {
    let text = "`cargo run -- accounts limits`, and `x`:\n```sh\nA=1 cargo run --release -- load --calls 3  # all\ncargo run -- sing\n```\n";
    let commands = documented(text);
    let words: Vec<_> = commands.iter().map(|command| command.words.join(" ")).collect();
    assert_eq!(words, ["accounts limits", "load --calls 3", "sing"]);
    let refused: Vec<_> = commands.iter().map(|command| refusal(command).is_some()).collect();
    assert_eq!(refused, [false, false, true]);
}
