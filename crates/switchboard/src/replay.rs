//! `switchboard replay`: prints a call step by step from its replay log, and checks that today's engine decides the
//! same.

use std::{fmt::Write as _, io::Write as _, path::PathBuf};

use anyhow::{Context as _, bail};
use clap::Args as Arguments;
use switchboard_dialogue::{
    CallTime, ConversationEvent, Input, Output,
    replay::{Difference, ENGINE_VERSION, Log},
};
use switchboard_model::messages::Role;

#[derive(Arguments)]
pub(crate) struct Args {
    /// A replay log: the demo prints the path of its own; in a bucket they are the objects below `replay/`.
    file: PathBuf,
    /// Print only whether today's engine decides the same.
    #[arg(long)]
    quiet: bool,
}

/// Prints the timeline; fails if today's engine decides differently.
pub(crate) fn run(arguments: &Args) -> anyhow::Result<()> {
    let path = arguments.file.display();
    let text = std::fs::read_to_string(&arguments.file).with_context(|| format!("reading {path}"))?;
    let log = Log::parse(&text).with_context(|| format!("{path} is not a replay log"))?;
    let mut out = std::io::stdout().lock();
    if !arguments.quiet {
        out.write_all(timeline(&log).as_bytes())?;
    }
    match log.difference() {
        None => {
            writeln!(out, "{} steps: today's engine decides the same.", log.steps.len())?;
            Ok(())
        }
        Some(difference) => bail!(explained(&log, &difference)),
    }
}

/// A line for each step that a person would notice.
fn timeline(log: &Log) -> String {
    let mut lines = String::new();
    for step in &log.steps {
        let decisions = step.outputs.iter().filter_map(describe_output).map(|line| format!("    {line}"));
        for line in describe_input(&step.input).into_iter().chain(decisions) {
            // Writing to a String cannot fail.
            let _ = writeln!(lines, "{} {line}", clock(step.at));
        }
    }
    lines
}

fn explained(log: &Log, Difference { logged, decided: now }: &Difference) -> String {
    let list = |outputs: &[Output]| {
        outputs.iter().fold(String::new(), |mut list, output| {
            // Writing to a String cannot fail.
            let _ = write!(list, "\n    {output:?}");
            list
        })
    };
    let versions = match log.header.engine {
        ENGINE_VERSION => "the same version of the engine".to_owned(),
        other => format!("version {other} of the engine, which is {ENGINE_VERSION} today"),
    };
    format!(
        "at {} today's engine decides differently (the log is of {versions})\n  input:\n    {:?}\n  logged:{}\n  now:{}",
        clock(logged.at).trim(),
        logged.input,
        list(&logged.outputs),
        list(now),
    )
}

/// Minutes, seconds and milliseconds.
fn clock(at: CallTime) -> String {
    let ms = at.0 / 1000;
    format!("{:>3}:{:02}.{:03}", ms / 60_000, ms / 1000 % 60, ms % 1000)
}

fn describe_input(input: &Input) -> Option<String> {
    Some(match input {
        Input::MediaStarted => "media flows".into(),
        Input::TranscriptWithdrawn => "the transcriber takes its interim back".into(),
        Input::SpeechStarted => "the transcriber hears speech".into(),
        Input::Transcript { text, is_final: true, .. } => format!("final transcript: {text}"),
        Input::Transcript { text, .. } => format!("interim transcript: {text}"),
        Input::TurnEnded => "the transcriber reports the end of the turn".into(),
        Input::Dtmf(key) => format!("key {key}"),
        Input::ModelToolCall { call, .. } => format!("the model calls {}", call.name),
        Input::ModelFinished { generation } => format!("the model has finished answer {}", generation.0),
        Input::ModelFailed { generation } => format!("the model failed on answer {}", generation.0),
        Input::VoiceDelayed { clause } => format!("the voice makes clause {} wait", clause.0),
        Input::VoiceFailed { clause } => format!("the voice failed on clause {}", clause.0),
        Input::ToolResult { content, .. } => format!("the tool answers: {content}"),
        Input::TranscriberFailed => "the transcriber failed".into(),
        Input::TranscriberLost => "no transcriber is left".into(),
        Input::HangUp => "the end of the call is requested".into(),
        Input::Drain => "the worker stops".into(),
        Input::StreamLost => "the stream broke".into(),
        Input::StreamClosed => "the carrier closed the stream".into(),
        // Too frequent to be read; their consequences are shown.
        Input::Frame { .. }
        | Input::ModelText { .. }
        | Input::VoiceAudio { .. }
        | Input::VoiceWords { .. }
        | Input::VoiceFinished { .. }
        | Input::Played { .. }
        | Input::Wake => return None,
    })
}

fn describe_output(output: &Output) -> Option<String> {
    let side = |role: &Role| match role {
        Role::Agent => "agent",
        Role::User => "user",
    };
    Some(match output {
        Output::StartGeneration { generation } => format!("-> asks the model for answer {}", generation.0),
        Output::CancelGeneration { generation } => format!("-> cancels answer {}", generation.0),
        Output::Synthesize { clause, text } => format!("-> has clause {} spoken: {text}", clause.0),
        Output::CancelSynthesis => "-> cancels what is being spoken".into(),
        Output::Clear => "-> falls silent".into(),
        Output::FinalizeTranscript => "-> requests the final words".into(),
        Output::ReplaceTranscriber => "-> replaces the transcriber".into(),
        Output::Event(ConversationEvent::ProviderTimedOut(part)) => format!("{part:?} takes too long"),
        Output::Event(ConversationEvent::ModelFault(fault)) => {
            format!("the model's response cannot be used: {fault:?}")
        }
        Output::CallTool(call) => format!("-> calls {} with {}", call.name, call.arguments),
        Output::End { reason } => format!("-> ends: {reason:?}"),
        Output::HandOver { .. } => "-> hands the call over".into(),
        Output::Event(ConversationEvent::SpeechStarted(role)) => format!("{} starts to speak", side(role)),
        Output::Event(ConversationEvent::SpeechEnded(role)) => format!("{} stops", side(role)),
        Output::Event(ConversationEvent::MessageSent { role, content, interrupted, latency, .. }) => {
            let cut = if *interrupted { ", cut off" } else { "" };
            let after = latency.map(|latency| format!(" (after {} ms)", latency.response_ms()));
            format!("{}{cut}: {content}{}", side(role), after.unwrap_or_default())
        }
        Output::Event(
            ConversationEvent::MessageGenerated { .. }
            | ConversationEvent::FunctionCall(_)
            | ConversationEvent::Duration { .. },
        )
        | Output::Send { .. }
        | Output::Rewind { .. }
        | Output::Mark(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"{"format":2,"engine":1,"settings":{"greeting":null,"max_duration":null,"language":"en","takeover":null}}
{"at":0,"input":"MediaStarted","outputs":[]}
{"at":61500000,"input":{"Dtmf":"7"},"outputs":[]}
"#;

    #[test]
    fn a_timeline_has_a_line_per_step_and_a_difference_names_the_step() {
        let log = Log::parse(LOG).unwrap();
        assert_eq!(timeline(&log), "  0:00.000 media flows\n  1:01.500 key 7\n");
        let difference = log.difference().unwrap();
        let said = explained(&log, &difference);
        assert!(said.starts_with("at 1:01.500 today's engine decides differently"), "{said}");
        assert!(said.contains("Duration"), "{said}");
    }
}
