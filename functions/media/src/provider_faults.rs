//! What went wrong with the providers of a call, for the conversation's log.
//!
//! A note names the part and who plays it, and never holds what was said or a key. Notes wait here for the
//! next event that is stored, at the latest for the end of the conversation.

use std::fmt::Display;

use switchboard_dialogue::ProviderRole;
use switchboard_model::substitutions::Serving;
use switchboard_providers::Error;

/// Notes of one call: a provider that fails again and again says no more by its twentieth time.
const MOST: usize = 20;

/// The notes of one call.
#[derive(Debug)]
pub(crate) struct ProviderFaults {
    transcriber: &'static str,
    language_model: &'static str,
    voice: &'static str,
    waiting: Vec<String>,
    noted: usize,
}

impl ProviderFaults {
    /// Of a call that these serve.
    pub(crate) fn of(serving: &Serving) -> Self {
        Self {
            transcriber: serving.transcriber.provider(),
            language_model: serving.language_model.provider(),
            voice: serving.voice.provider(),
            waiting: vec![],
            noted: 0,
        }
    }

    /// A provider failed.
    pub(crate) fn failed(&mut self, part: ProviderRole, error: &Error) {
        match error {
            // The vendor's explanation may quote the key, or name what only the key's owner is told.
            Error::Rejected { code, .. } => self.note(part, format_args!("refused the request ({code})")),
            Error::Unavailable { reason, .. } => {
                let what = reason.split_once(": ").map_or(reason.as_str(), |(what, _explanation)| what);
                self.note(part, what.trim_end());
            }
        }
    }

    /// A provider gave no sign of life in time.
    pub(crate) fn late(&mut self, part: ProviderRole) {
        self.note(
            part,
            match part {
                ProviderRole::Transcriber => "heard nothing while somebody spoke",
                ProviderRole::LanguageModel => "no words in time",
                ProviderRole::Synthesizer => "no audio in time",
            },
        );
    }

    /// Something about a provider.
    pub(crate) fn note(&mut self, part: ProviderRole, what: impl Display) {
        self.noted += 1;
        let (role, vendor) = match part {
            ProviderRole::Transcriber => ("transcriber", self.transcriber),
            ProviderRole::LanguageModel => ("language model", self.language_model),
            ProviderRole::Synthesizer => ("voice", self.voice),
        };
        match self.noted {
            ..MOST => self.waiting.push(format!("{role} {vendor}: {what}")),
            MOST => self.waiting.push("more failures are not noted".to_owned()),
            _ => {}
        }
    }

    /// What waits; nothing of it comes again.
    pub(crate) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use switchboard_model::{agents::AgentConfig, substitutions};

    use super::*;

    fn faults() -> ProviderFaults {
        ProviderFaults::of(&substitutions::serving(&AgentConfig::default()))
    }

    #[test]
    fn a_note_names_the_part_and_its_provider_but_not_what_the_vendor_explains() {
        let mut faults = faults();
        let message = "Incorrect API key provided: sk-1234".to_owned();
        let rejected = Error::Rejected { vendor: "openai", code: "invalid_api_key".to_owned(), message };
        faults.failed(ProviderRole::LanguageModel, &rejected);
        let (reason, source) = ("it sent nothing for 2000 ms".to_owned(), None);
        let silent = Error::Unavailable { vendor: "deepgram", reason, retry_after: None, source };
        faults.failed(ProviderRole::Synthesizer, &silent);
        let reason = "rate_limit_exceeded (429): too many requests of org-1234, last: my card".to_owned();
        let busy = Error::Unavailable { vendor: "openai", reason, retry_after: None, source: None };
        faults.failed(ProviderRole::LanguageModel, &busy);
        faults.note(ProviderRole::Transcriber, "connected again after 120 ms");
        let expected = [
            "language model openai: refused the request (invalid_api_key)",
            "voice deepgram: it sent nothing for 2000 ms",
            "language model openai: rate_limit_exceeded (429)",
            "transcriber deepgram: connected again after 120 ms",
        ];
        assert_eq!(faults.take(), expected);
        assert_eq!(faults.take(), [""; 0]);
    }

    #[test]
    fn a_provider_that_fails_for_ever_is_noted_twenty_times() {
        let mut faults = faults();
        let mut notes = vec![];
        for _ in 0..100 {
            faults.note(ProviderRole::Synthesizer, "failed");
            notes.extend(faults.take());
        }
        assert_eq!((notes.len(), notes[18].as_str()), (MOST, "voice deepgram: failed"));
        assert_eq!(notes.last().unwrap(), "more failures are not noted");
    }
}
