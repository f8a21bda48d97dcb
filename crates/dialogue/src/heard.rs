//! What the user heard: of the clauses that were sent, those words that both the marks and the clock allow.
//!
//! A mark that is back proves nothing before its audio can have been played, and audio behind a mark that is
//! not back was not heard.

use std::time::Duration;

use super::{
    CallTime, Latency, Output,
    history::UtteranceId,
    piece::{MICROS_PER_BYTE, Piece, Stage, playing_time},
    playback::{Playback, Text, Utterance},
};

/// What became of an utterance.
pub(super) struct Heard {
    pub(super) id: UtteranceId,
    /// It only asked for patience.
    pub(super) is_filler: bool,
    /// The words that were heard.
    pub(super) text: String,
    /// When audio of it began to play; none if it never did.
    pub(super) started_at: Option<CallTime>,
    /// Whether its beginning was told.
    pub(super) began_told: bool,
    pub(super) ended_at: CallTime,
    /// Words of it were not heard, or not even written.
    pub(super) interrupted: bool,
    pub(super) latency: Option<Latency>,
}

impl Playback {
    /// When the word ends that the user hears now; none in silence. If the voice has not delivered all
    /// of the clause this is a guess, and too late if the voice is slower than speech.
    pub(super) fn word_ends(&self, at: CallTime) -> Option<CallTime> {
        let unplayed = self.plays_until.since(at);
        if unplayed.is_zero() {
            return None;
        }
        let sent: u64 = self.pieces().map(|piece| piece.sent).sum();
        let mut played = sent.saturating_sub(bytes_unplayed(unplayed));
        let playing = self.pieces().find(|piece| {
            let is_playing = played < piece.sent;
            if !is_playing {
                played -= piece.sent;
            }
            is_playing
        })?;
        Some(at + playing_time(playing.word_end(played) - played))
    }

    /// What the user has not heard of all that is said or going to be said: the text behind the last
    /// word that was heard.
    pub(super) fn unheard(&self, at: CallTime) -> String {
        let pieces: Vec<_> = self.answer_heard(at).collect();
        let from = pieces.iter().rposition(|(_, _, words)| !words.is_empty()).unwrap_or(0);
        let mut rest = String::new();
        for (_, piece, words) in &pieces[from..] {
            append(&mut rest, piece.text[words.len()..].trim());
        }
        rest
    }

    /// What was heard of the utterance that is being heard, and when it began; none before its first
    /// word ends.
    pub(super) fn in_progress(&self, at: CallTime) -> Option<(String, CallTime)> {
        let started_at = self.utterances.front()?.started_at?;
        let mut text = String::new();
        for (_, _, words) in self.heard(at).take_while(|(index, _, _)| *index == 0) {
            append(&mut text, words);
        }
        (!text.is_empty()).then_some((text, started_at))
    }

    /// Whether a word of what is being said was heard.
    pub(super) fn any_heard(&self, at: CallTime) -> bool {
        self.heard(at).any(|(_, _, words)| !words.is_empty())
    }

    /// Whether a word of an answer was heard, not only that there will be one.
    pub(super) fn any_answer_heard(&self, at: CallTime) -> bool {
        self.answer_heard(at).any(|(_, _, words)| !words.is_empty())
    }

    fn answer_heard(&self, at: CallTime) -> impl Iterator<Item = (usize, &Piece, &str)> {
        self.heard(at).filter(|(index, _, _)| !self.utterances[*index].is_filler)
    }

    /// Drops everything, and tells what was heard of it. Audio that was sent must be cleared.
    pub(super) fn stop(&mut self, at: CallTime) -> Vec<Heard> {
        let over = |utterance: &Utterance| Heard {
            id: utterance.id,
            is_filler: utterance.is_filler,
            text: String::new(),
            started_at: utterance.started_at,
            began_told: utterance.began_told,
            ended_at: self.plays_until.min(at).max(utterance.started_at.unwrap_or(at)),
            interrupted: utterance.text != Text::Complete,
            latency: utterance.latency,
        };
        let mut all: Vec<_> = self.utterances.iter().map(over).collect();
        for (index, piece, words) in self.heard(at) {
            append(&mut all[index].text, words);
            all[index].interrupted |= piece.stage != Stage::Dropped && words.len() < piece.text.len();
        }
        self.utterances.clear();
        self.is_paused = false;
        self.plays_until = at;
        self.voice_free_at = at;
        all
    }

    /// Takes back what was sent and not played, from the beginning of the word that is being said.
    pub(super) fn rewind(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let mut unplayed = bytes_unplayed(self.plays_until.since(at));
        for piece in self.utterances.iter_mut().rev().flat_map(|utterance| utterance.pieces.iter_mut().rev())
        {
            let (Some(clause), true) = (piece.clause(), unplayed > 0) else { continue };
            let back = piece.sent.min(unplayed);
            unplayed -= back;
            let played = piece.sent - back;
            let kept = if unplayed == 0 { piece.word_start(played) } else { played };
            if kept < piece.sent {
                out.push(Output::Rewind {
                    clause,
                    bytes: u32::try_from(piece.sent - kept).unwrap_or(u32::MAX),
                });
                piece.sent = kept;
                piece.mark = None;
                piece.marked_at = None;
            }
        }
        self.plays_until = at;
    }

    /// Each clause, with the index of its utterance and the words of it that were heard.
    fn heard(&self, at: CallTime) -> impl Iterator<Item = (usize, &Piece, &str)> {
        let sent: u64 = self.pieces().map(|piece| piece.sent).sum();
        let mut played = sent.saturating_sub(bytes_unplayed(self.plays_until.since(at)));
        let mut proven = true;
        let pieces = self
            .utterances
            .iter()
            .enumerate()
            .flat_map(|(index, utterance)| utterance.pieces.iter().map(move |piece| (index, piece)));
        pieces.map(move |(index, piece)| {
            let bytes = if proven { piece.sent.min(played) } else { 0 };
            played -= bytes;
            proven &= piece.is_over(at);
            (index, piece, piece.words(bytes))
        })
    }
}

/// A byte counts as played when it ended.
fn bytes_unplayed(remaining: Duration) -> u64 {
    u64::try_from(remaining.as_micros()).unwrap_or(u64::MAX).div_ceil(MICROS_PER_BYTE)
}

/// Puts words behind others.
pub(super) fn append(text: &mut String, words: &str) {
    if !text.is_empty() && !words.is_empty() {
        text.push(' ');
    }
    text.push_str(words);
}
