//! Heard words: the words of the agent that the caller heard.
//!
//! A word counts as heard if both the clock and the marks allow it: a mark that returns before its audio can have been
//! played proves nothing, and audio behind a mark that has not returned was not heard.

use std::time::Duration;

use switchboard_model::messages::Role;

use super::{
    Playback, Text, Utterance,
    clause::{Clause, Stage},
};
use crate::{
    call_time::{CallTime, whole_grains},
    output::{ConversationEvent, Output},
    types::{Latency, UtteranceId, UtteranceKind},
};

/// An utterance that is over, and its heard words.
#[derive(Debug)]
pub(crate) struct HeardUtterance {
    pub(crate) id: UtteranceId,
    pub(crate) kind: UtteranceKind,
    /// The words that were heard.
    pub(crate) text: String,
    /// When its audio began to play; none if it never did.
    pub(crate) started_at: Option<CallTime>,
    /// Whether its beginning was reported.
    pub(crate) is_reported: bool,
    pub(crate) ended_at: CallTime,
    /// Some of its words were not heard, or not even generated.
    pub(crate) interrupted: bool,
    pub(crate) latency: Option<Latency>,
}

impl HeardUtterance {
    /// Whether a word of it was heard, and it was more than a hold phrase.
    pub(crate) fn is_reply(&self) -> bool {
        !self.text.is_empty() && self.kind != UtteranceKind::HoldPhrase
    }

    /// The events of its end. If nothing of it was heard, and its beginning was not reported, there are none.
    pub(crate) fn report(self, out: &mut Vec<Output>) {
        let is_audible = self.is_reported || !self.text.is_empty();
        let Some(started_at) = self.started_at.filter(|_| is_audible) else { return };
        if !self.is_reported {
            out.push(Output::Event(ConversationEvent::SpeechStarted(Role::Agent)));
        }
        out.push(Output::Event(ConversationEvent::SpeechEnded(Role::Agent)));
        if !self.text.is_empty() {
            out.push(Output::Event(ConversationEvent::MessageSent {
                role: Role::Agent,
                content: self.text,
                kind: self.kind,
                started_at,
                ended_at: self.ended_at,
                interrupted: self.interrupted,
                latency: self.latency,
            }));
        }
    }
}

/// The agent's utterance that is audible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UtteranceInProgress {
    /// The heard words; at least one.
    pub heard: String,
    /// Its unheard words, and those of the utterances behind it.
    pub unheard: String,
    /// When its first word began.
    pub started_at: CallTime,
    /// Why it is said.
    pub kind: UtteranceKind,
}

/// A clause and its heard words.
struct HeardClause<'a> {
    /// The index of its utterance.
    utterance: usize,
    clause: &'a Clause,
    words: &'a str,
}

impl Playback {
    /// When the word ends that is audible now; none in silence. While the clause's audio is not complete this is
    /// an estimate, and too late if the synthesizer is slower than speech.
    pub(crate) fn word_ends(&self, at: CallTime) -> Option<CallTime> {
        let unplayed = self.plays_until.since(at);
        if unplayed.is_zero() {
            return None;
        }
        let mut played = self.sent().saturating_sub(whole_grains(unplayed));
        let playing = self.requested_clauses().find(|clause| {
            let is_playing = played < clause.sent;
            if !is_playing {
                played -= clause.sent;
            }
            is_playing
        })?;
        Some(at + playing.word_end(played).saturating_sub(played))
    }

    /// The text behind the last heard word, of all utterances but hold phrases.
    pub(crate) fn unheard(&self, at: CallTime) -> String {
        let clauses: Vec<_> = self.heard_speech(at).collect();
        let from = clauses.iter().rposition(|heard| !heard.words.is_empty()).unwrap_or(0);
        let mut rest = String::new();
        for HeardClause { clause, words, .. } in &clauses[from..] {
            append(&mut rest, clause.text[words.len()..].trim());
        }
        rest
    }

    /// The oldest utterance; none before its first word ends.
    pub(crate) fn in_progress(&self, at: CallTime) -> Option<UtteranceInProgress> {
        let utterance = self.utterances.front()?;
        let started_at = utterance.started_at?;
        let mut heard = String::new();
        for clause in self.heard(at).take_while(|heard| heard.utterance == 0) {
            append(&mut heard, clause.words);
        }
        if heard.is_empty() {
            return None;
        }
        // After a hold phrase the next worker replies anew.
        let unheard = if utterance.is_hold_phrase() { String::new() } else { self.unheard(at) };
        Some(UtteranceInProgress { heard, unheard, started_at, kind: utterance.kind })
    }

    /// Whether a word of an utterance that is not over was heard.
    pub(crate) fn any_heard(&self, at: CallTime) -> bool {
        self.heard(at).any(|heard| !heard.words.is_empty())
    }

    /// The same, not counting hold phrases.
    pub(crate) fn any_speech_heard(&self, at: CallTime) -> bool {
        self.heard_speech(at).any(|heard| !heard.words.is_empty())
    }

    fn heard_speech(&self, at: CallTime) -> impl Iterator<Item = HeardClause<'_>> {
        self.heard(at).filter(|heard| !self.utterances[heard.utterance].is_hold_phrase())
    }

    /// Drops all utterances, and returns the heard words of each. The carrier's audio must be cleared.
    pub(crate) fn stop(&mut self, at: CallTime) -> Vec<HeardUtterance> {
        let over = |utterance: &Utterance| HeardUtterance {
            id: utterance.id,
            kind: utterance.kind,
            text: String::new(),
            started_at: utterance.started_at,
            is_reported: utterance.is_reported,
            ended_at: self.plays_until.min(at).max(utterance.started_at.unwrap_or(at)),
            interrupted: utterance.text != Text::Complete,
            latency: utterance.latency,
        };
        let mut all: Vec<_> = self.utterances.iter().map(over).collect();
        for HeardClause { utterance, clause, words } in self.heard(at) {
            append(&mut all[utterance].text, words);
            all[utterance].interrupted |= clause.stage != Stage::Dropped && words.len() < clause.text.len();
        }
        self.utterances.clear();
        self.is_paused = false;
        self.plays_until = at;
        self.synthesizer_free_at = at;
        all
    }

    /// Takes back the audio that was sent and not played, from the beginning of the word that is audible.
    pub(super) fn rewind(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let mut unplayed = whole_grains(self.plays_until.since(at));
        let newest_first = self.utterances.iter_mut().rev();
        for clause in newest_first.flat_map(|utterance| utterance.clauses.iter_mut().rev()) {
            let (Some(id), false) = (clause.id(), unplayed.is_zero()) else { continue };
            let back = clause.sent.min(unplayed);
            unplayed -= back;
            let played = clause.sent.saturating_sub(back);
            let kept = if unplayed.is_zero() { clause.word_start(played) } else { played };
            if kept < clause.sent {
                out.push(Output::Rewind { clause: id, audio: clause.sent.saturating_sub(kept) });
                clause.sent = kept;
                clause.mark = None;
                clause.marked_at = None;
            }
        }
        self.plays_until = at;
    }

    /// The length of the audio that was sent of all clauses.
    fn sent(&self) -> Duration {
        self.requested_clauses().map(|clause| clause.sent).sum()
    }

    /// Each clause and its heard words.
    fn heard(&self, at: CallTime) -> impl Iterator<Item = HeardClause<'_>> {
        // Audio counts as played when all of it was.
        let mut played = self.sent().saturating_sub(whole_grains(self.plays_until.since(at)));
        let mut is_proven = true;
        let clauses = self
            .utterances
            .iter()
            .enumerate()
            .flat_map(|(index, utterance)| utterance.clauses.iter().map(move |clause| (index, clause)));
        clauses.map(move |(utterance, clause)| {
            let heard = if is_proven { clause.sent.min(played) } else { Duration::ZERO };
            played -= heard;
            is_proven &= clause.is_over(at);
            HeardClause { utterance, clause, words: clause.words(heard) }
        })
    }
}

/// Appends words, separated by a space.
pub(super) fn append(text: &mut String, words: &str) {
    if !text.is_empty() && !words.is_empty() {
        text.push(' ');
    }
    text.push_str(words);
}
