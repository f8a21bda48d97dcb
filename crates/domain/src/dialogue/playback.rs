//! What is being spoken: asked of the voice, sent in time, and how much of it was heard.
//!
//! An utterance is a row of clauses. A clause waits, is asked of the voice, is sent as its audio comes,
//! and gets a mark. What was heard is what both the marks and the clock allow: a mark that is back
//! proves nothing before its audio can have been played, and audio behind a mark that is not back was
//! not heard.

use std::{collections::VecDeque, time::Duration};

use super::{
    CallTime, Clause, Latency, Mark, Output,
    history::UtteranceId,
    piece::{FRAME_BYTES, MICROS_PER_BYTE, Piece, Stage, playing_time},
};

/// How far audio is sent ahead of real time: enough for a busy network, little to throw away.
pub(super) const AHEAD: Duration = Duration::from_millis(400);
/// A voice without any audio for this long has failed.
pub(super) const NO_AUDIO: Duration = Duration::from_secs(2);
/// A voice that delivers nothing more for this long has finished.
pub(super) const STALLED: Duration = Duration::from_secs(5);
/// Clauses the voice may be working on before the one that is sent ends; few, so that little is paid
/// for in vain when the user interrupts.
pub(super) const CLAUSES_AHEAD: usize = 2;
/// The agent's audio, from the text to the ear.
#[derive(Default)]
pub(super) struct Playback {
    /// Oldest first; those that are over are taken out.
    utterances: VecDeque<Utterance>,
    /// Nothing is sent for now.
    pub(super) is_paused: bool,
    /// When everything that was sent will have been played.
    plays_until: CallTime,
    /// When the voice had done with the clause before the one it works on.
    voice_free_at: CallTime,
    generation: u32,
    marks: u32,
    clauses: u32,
    ids: u32,
}

struct Utterance {
    id: UtteranceId,
    /// No more clauses come.
    complete: bool,
    /// When its first byte was, or will be, played.
    started_at: Option<CallTime>,
    began_told: bool,
    latency: Option<Latency>,
    pieces: Vec<Piece>,
}

/// What became of an utterance.
pub(super) struct Heard {
    pub(super) id: UtteranceId,
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

/// An utterance that begins to be heard.
pub(super) struct Began<'a> {
    pub(super) first_audio_at: CallTime,
    pub(super) latency: &'a mut Option<Latency>,
}

impl Playback {
    /// Whether nothing is said or going to be said.
    pub(super) fn is_idle(&self) -> bool {
        self.utterances.is_empty()
    }

    /// Begins an utterance behind the others.
    pub(super) fn begin(&mut self) -> UtteranceId {
        let id = UtteranceId(self.ids);
        self.ids += 1;
        self.utterances.push_back(Utterance {
            id,
            complete: false,
            started_at: None,
            began_told: false,
            latency: None,
            pieces: vec![],
        });
        id
    }

    /// One more clause of an utterance.
    pub(super) fn add(&mut self, id: UtteranceId, text: String) {
        if let Some(utterance) = self.utterances.iter_mut().find(|utterance| utterance.id == id) {
            utterance.pieces.push(Piece::new(text));
        }
    }

    /// No more clauses of an utterance.
    pub(super) fn complete(&mut self, id: UtteranceId) {
        if let Some(utterance) = self.utterances.iter_mut().find(|utterance| utterance.id == id) {
            utterance.complete = true;
        }
    }

    /// The voice delivered audio.
    pub(super) fn audio(&mut self, at: CallTime, clause: Clause, bytes: u32) {
        let Some(piece) = self.at_voice(clause) else { return };
        if bytes == 0 {
            return;
        }
        if piece.received == 0 {
            piece.first_audio_at = at;
        }
        piece.last_audio_at = at;
        piece.received = piece.received.saturating_add(bytes.into());
    }

    /// The voice delivered everything. Nothing at all is a failure: silence is no speech.
    pub(super) fn voice_finished(&mut self, at: CallTime, clause: Clause) {
        match self.at_voice(clause) {
            Some(piece) if piece.received == 0 => self.voice_failed(at, clause),
            Some(piece) => {
                piece.stage = Stage::Spoken(clause);
                self.voice_free_at = at;
            }
            None => {}
        }
    }

    /// The voice failed. Before any audio the clause is asked for again, once; after some, that is all
    /// there is of it.
    pub(super) fn voice_failed(&mut self, at: CallTime, clause: Clause) {
        let Some(piece) = self.at_voice(clause) else { return };
        piece.stage = match (piece.received > 0, piece.failed_once) {
            (true, _) => Stage::CutShort(clause),
            (false, true) => Stage::Dropped,
            (false, false) => Stage::Waiting,
        };
        piece.failed_once = true;
        self.voice_free_at = at;
    }

    /// Fails or finishes the clause for which the voice has taken too long.
    pub(super) fn watch_voice(&mut self, at: CallTime) {
        while let Some((clause, _)) = self.voice_due().filter(|(_, due)| *due <= at) {
            self.voice_finished(at, clause);
        }
    }

    fn at_voice(&mut self, clause: Clause) -> Option<&mut Piece> {
        self.pieces_mut().find(|piece| piece.stage == Stage::AtVoice(clause))
    }

    /// The clause the voice works on (it takes them in turn), and when it has taken too long.
    fn voice_due(&self) -> Option<(Clause, CallTime)> {
        self.pieces().find_map(|piece| {
            let Stage::AtVoice(clause) = piece.stage else { return None };
            let due = if piece.received > 0 {
                piece.last_audio_at + STALLED
            } else {
                piece.asked_at.max(self.voice_free_at) + NO_AUDIO
            };
            Some((clause, due))
        })
    }

    /// Asks the voice for clauses that wait.
    pub(super) fn speak(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let mut ahead = self.pieces().filter(|piece| piece.is_ahead()).count();
        let next = &mut self.clauses;
        for piece in self.utterances.iter_mut().flat_map(|utterance| &mut utterance.pieces) {
            if ahead >= CLAUSES_AHEAD {
                break;
            }
            if piece.stage == Stage::Waiting {
                let clause = Clause(*next);
                *next = next.saturating_add(1);
                piece.stage = Stage::AtVoice(clause);
                piece.asked_at = at;
                out.push(Output::Speak { clause, text: piece.text.clone() });
                ahead += 1;
            }
        }
    }

    /// Sends what is due, and marks.
    pub(super) fn send(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if self.is_paused {
            return;
        }
        let (generation, marks, plays_until) = (self.generation, &mut self.marks, &mut self.plays_until);
        for utterance in &mut self.utterances {
            for piece in &mut utterance.pieces {
                if piece.stage == Stage::Dropped {
                    continue;
                }
                let Some(clause) = piece.clause() else { return };
                let starts = (*plays_until).max(at);
                let bytes = piece.sendable((at + AHEAD).since(starts));
                if bytes > 0 {
                    utterance.started_at.get_or_insert(starts);
                    piece.sent += bytes;
                    *plays_until = starts + playing_time(bytes);
                    piece.plays_until = *plays_until;
                    out.push(Output::Send { clause, bytes: u32::try_from(bytes).unwrap_or(u32::MAX) });
                }
                if !piece.is_sent() {
                    return;
                }
                if piece.mark.is_none() {
                    piece.mark = Some(*marks);
                    out.push(Output::Mark(Mark { generation, number: *marks }));
                    *marks = marks.saturating_add(1);
                }
            }
        }
    }

    /// The oldest utterance, once, when its first audio was sent. A later one begins to be heard when
    /// this one is over.
    pub(super) fn began(&mut self) -> Option<Began<'_>> {
        let utterance = self.utterances.front_mut().filter(|utterance| !utterance.began_told)?;
        let first = utterance.pieces.iter().find(|piece| piece.sent > 0)?;
        utterance.began_told = true;
        Some(Began { first_audio_at: first.first_audio_at, latency: &mut utterance.latency })
    }

    /// A mark is back: what is before it was played, unless it was thrown away.
    pub(super) fn played(&mut self, at: CallTime, mark: Mark) {
        if mark.generation != self.generation || !self.pieces().any(|piece| piece.mark == Some(mark.number)) {
            return;
        }
        for piece in self.pieces_mut() {
            if piece.mark.is_some() {
                piece.marked_at.get_or_insert(at);
            }
            if piece.mark == Some(mark.number) {
                return;
            }
        }
    }

    /// Takes out the oldest utterance if it is over: complete, and all of it played.
    pub(super) fn finished(&mut self, at: CallTime) -> Option<Heard> {
        let utterance = self.utterances.front()?;
        if !utterance.complete || !utterance.pieces.iter().all(|piece| piece.is_over(at)) {
            return None;
        }
        let utterance = self.utterances.pop_front()?;
        let end = |piece: &Piece| piece.marked_at.map_or(piece.plays_until, |at| at.max(piece.plays_until));
        let ended_at = utterance.pieces.iter().filter(|piece| piece.sent > 0).map(end).max().unwrap_or(at);
        let mut text = String::new();
        for piece in &utterance.pieces {
            append(&mut text, piece.words(piece.sent));
        }
        let Utterance { id, started_at, began_told, latency, .. } = utterance;
        Some(Heard { id, text, started_at, began_told, ended_at, interrupted: false, latency })
    }

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

    /// Whether the user hears something.
    pub(super) fn is_audible(&self, at: CallTime) -> bool {
        self.plays_until > at
    }

    /// What the user has not heard of all that is said or going to be said: the text behind the last
    /// word that was heard.
    pub(super) fn unheard(&self, at: CallTime) -> String {
        let pieces: Vec<_> = self.heard(at).collect();
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

    /// Whether the carrier may still have audio that was not played.
    pub(super) fn is_playing(&self, at: CallTime) -> bool {
        self.pieces().any(|piece| piece.sent > 0 && !piece.is_over(at))
    }

    /// Whether the voice still works, or has delivered what is not sent.
    pub(super) fn is_speaking(&self) -> bool {
        self.pieces().any(|piece| piece.clause().is_some() && !piece.is_sent())
    }

    /// Drops everything, and tells what was heard of it. Audio that was sent must be cleared.
    pub(super) fn stop(&mut self, at: CallTime) -> Vec<Heard> {
        let over = |utterance: &Utterance| Heard {
            id: utterance.id,
            text: String::new(),
            started_at: utterance.started_at,
            began_told: utterance.began_told,
            ended_at: self.plays_until.min(at).max(utterance.started_at.unwrap_or(at)),
            interrupted: !utterance.complete,
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

    /// Audio was cleared: marks sent so far prove nothing any more.
    pub(super) fn cleared(&mut self) {
        self.generation = self.generation.saturating_add(1);
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

    /// When something is due: audio, a mark that is late, a voice that is late.
    pub(super) fn deadline(&self, now: CallTime) -> Option<CallTime> {
        let voice = self.voice_due().map(|(_, due)| due);
        let audio = self
            .pieces()
            .filter(|_| !self.is_paused)
            .find(|piece| piece.stage != Stage::Dropped && !piece.is_sent())
            .and_then(|piece| {
                let next = piece.sendable(playing_time(FRAME_BYTES));
                // A frame is sent as soon as it ends within what may be sent ahead.
                (next > 0).then(|| before(self.plays_until + playing_time(next), AHEAD))
            });
        let marks =
            self.pieces().filter(|piece| piece.is_sent()).map(Piece::over_at).filter(|due| *due > now).min();
        [voice, audio, marks].into_iter().flatten().min()
    }

    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.utterances.iter().flat_map(|utterance| &utterance.pieces)
    }

    fn pieces_mut(&mut self) -> impl Iterator<Item = &mut Piece> {
        self.utterances.iter_mut().flat_map(|utterance| &mut utterance.pieces)
    }
}

fn before(at: CallTime, by: Duration) -> CallTime {
    CallTime(u64::try_from(at.since(CallTime(0)).saturating_sub(by).as_micros()).unwrap_or(u64::MAX))
}

/// A byte counts as played when it ended.
fn bytes_unplayed(remaining: Duration) -> u64 {
    u64::try_from(remaining.as_micros()).unwrap_or(u64::MAX).div_ceil(MICROS_PER_BYTE)
}

fn append(text: &mut String, words: &str) {
    if !text.is_empty() && !words.is_empty() {
        text.push(' ');
    }
    text.push_str(words);
}
