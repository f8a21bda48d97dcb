//! What is being spoken: asked of the voice, sent in time, and how much of it was heard.
//!
//! An utterance is a row of clauses. A clause waits, is asked of the voice, is sent as its audio comes,
//! and gets a mark. What was heard of all that is in `heard`.

use std::{collections::VecDeque, time::Duration};

use super::{
    CallTime, ClauseId, ConversationEvent, Latency, Mark, Output, ProviderRole,
    heard::{Heard, append},
    history::UtteranceId,
    piece::{FRAME_BYTES, Piece, Stage, playing_time},
};

/// How far audio is sent ahead of real time: enough for a busy network, little to throw away.
pub(super) const AHEAD: Duration = Duration::from_millis(400);
/// A voice without any audio for this long has failed.
pub(super) const NO_AUDIO: Duration = Duration::from_secs(2);
/// A voice that delivers nothing more for this long has failed: what it said is all there is.
pub(super) const STALLED: Duration = Duration::from_secs(3);
/// Clauses the voice may be working on before the one that is sent ends; few, so that little is paid
/// for in vain when the user interrupts.
pub(super) const CLAUSES_AHEAD: usize = 2;
/// The agent's audio, from the text to the ear.
#[derive(Default)]
pub(super) struct Playback {
    /// Oldest first; those that are over are taken out.
    pub(super) utterances: VecDeque<Utterance>,
    /// Nothing is sent for now.
    pub(super) is_paused: bool,
    /// When everything that was sent will have been played.
    pub(super) plays_until: CallTime,
    /// When the voice had done with the clause before the one it works on.
    pub(super) voice_free_at: CallTime,
    clears: u32,
    marks: u32,
    clauses: u32,
    ids: u32,
}

/// Whether an utterance is written.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Text {
    /// More clauses may come.
    #[default]
    Growing,
    Complete,
    /// Clauses of it are not wanted any more.
    Cut,
}

/// What is said in one go, and told as one message.
#[derive(Default)]
pub(super) struct Utterance {
    pub(super) id: UtteranceId,
    /// It only asks for patience.
    pub(super) is_filler: bool,
    pub(super) text: Text,
    /// When its first byte was, or will be, played.
    pub(super) started_at: Option<CallTime>,
    pub(super) began_told: bool,
    pub(super) latency: Option<Latency>,
    pub(super) pieces: Vec<Piece>,
}

/// An utterance that begins to be heard.
pub(super) struct Began<'a> {
    /// It only asks for patience.
    pub(super) is_filler: bool,
    pub(super) first_audio_at: CallTime,
    pub(super) latency: &'a mut Option<Latency>,
}

impl Utterance {
    /// Whether something of it was sent, or could be.
    pub(super) fn has_audio(&self) -> bool {
        let frame = playing_time(FRAME_BYTES);
        self.started_at.is_some() || self.pieces.iter().any(|piece| piece.sendable(frame) > 0)
    }
}

impl Playback {
    /// Whether nothing is said or going to be said.
    pub(super) fn is_idle(&self) -> bool {
        self.utterances.is_empty()
    }

    /// Begins an utterance behind the others.
    pub(super) fn begin(&mut self) -> UtteranceId {
        let id = self.next_id();
        self.utterances.push_back(Utterance { id, ..Utterance::default() });
        id
    }

    pub(super) fn next_id(&mut self) -> UtteranceId {
        let id = UtteranceId(self.ids);
        self.ids += 1;
        id
    }

    /// Clauses that have not begun are not wanted any more.
    pub(super) fn keep_what_is_being_said(&mut self) {
        for utterance in &mut self.utterances {
            utterance.text = Text::Complete;
            for piece in utterance.pieces.iter_mut().filter(|piece| piece.sent == 0) {
                piece.stage = Stage::Dropped;
                utterance.text = Text::Cut;
            }
        }
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
            utterance.text = Text::Complete;
        }
    }

    /// The voice delivered audio.
    pub(super) fn audio(&mut self, at: CallTime, clause: ClauseId, bytes: u32) {
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
    pub(super) fn voice_finished(&mut self, at: CallTime, clause: ClauseId, silence: u32) {
        let is_free = self.is_waited_for(clause);
        match self.at_voice(clause) {
            Some(piece) if piece.received == 0 => return self.voice_failed(at, clause),
            Some(piece) => {
                piece.stage = Stage::Spoken(clause);
                piece.silence = piece.received.min(silence.into());
            }
            None => return,
        }
        if is_free {
            self.voice_free_at = at;
        }
    }

    /// Whether it is the clause the voice works on.
    fn is_waited_for(&self, clause: ClauseId) -> bool {
        self.voice_due().is_some_and(|(next, _)| next == clause)
    }

    /// The voice failed. Before any audio the clause is asked for again, once; after some, that is all
    /// there is of it.
    pub(super) fn voice_failed(&mut self, at: CallTime, clause: ClauseId) {
        let is_free = self.is_waited_for(clause);
        let Some(piece) = self.at_voice(clause) else { return };
        piece.stage = match (piece.received > 0, piece.failed_once) {
            (true, _) => Stage::CutShort(clause),
            (false, true) => Stage::Dropped,
            (false, false) => Stage::Waiting,
        };
        piece.failed_once = true;
        if is_free {
            self.voice_free_at = at;
        }
        self.drop_filler();
    }

    /// Fails the clause for which the voice has taken too long.
    pub(super) fn watch_voice(&mut self, at: CallTime, out: &mut Vec<Output>) {
        while let Some((clause, _)) = self.voice_due().filter(|(_, due)| *due <= at) {
            out.push(Output::Event(ConversationEvent::ProviderTimedOut(ProviderRole::Synthesizer)));
            self.voice_failed(at, clause);
        }
    }

    fn at_voice(&mut self, clause: ClauseId) -> Option<&mut Piece> {
        self.pieces_mut().find(|piece| piece.stage == Stage::AtVoice(clause))
    }

    /// The clause the voice works on (it takes them in turn), and when it has taken too long. What asks for
    /// patience may be there without the voice, so it comes last.
    fn voice_due(&self) -> Option<(ClauseId, CallTime)> {
        let of = |is_filler: bool| self.utterances.iter().filter(move |one| one.is_filler == is_filler);
        of(false).chain(of(true)).flat_map(|utterance| &utterance.pieces).find_map(|piece| {
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
        let next = &mut self.clauses;
        let mut ahead = 0;
        for utterance in &mut self.utterances {
            for piece in &mut utterance.pieces {
                if piece.stage == Stage::Waiting && ahead < CLAUSES_AHEAD {
                    let clause = ClauseId(*next);
                    *next = next.saturating_add(1);
                    piece.stage = Stage::AtVoice(clause);
                    piece.asked_at = at;
                    out.push(Output::Synthesize { clause, text: piece.text.clone() });
                }
                // What asks for patience is in nobody's place.
                ahead += usize::from(piece.is_ahead() && !utterance.is_filler);
            }
        }
    }

    /// Sends what is due, and marks.
    pub(super) fn send(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if self.is_paused {
            return;
        }
        if self.is_filling() && self.utterances.iter().skip(1).any(Utterance::has_audio) {
            self.drop_filler();
        }
        let (clears, marks, plays_until) = (self.clears, &mut self.marks, &mut self.plays_until);
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
                    out.push(Output::Mark(Mark { clears, number: *marks }));
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
        Some(Began {
            is_filler: utterance.is_filler,
            first_audio_at: first.first_audio_at,
            latency: &mut utterance.latency,
        })
    }

    /// A mark is back: what is before it was played, unless it was thrown away.
    pub(super) fn played(&mut self, at: CallTime, mark: Mark) {
        if mark.clears != self.clears || !self.pieces().any(|piece| piece.mark == Some(mark.number)) {
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
        if utterance.text == Text::Growing || !utterance.pieces.iter().all(|piece| piece.is_over(at)) {
            return None;
        }
        let utterance = self.utterances.pop_front()?;
        let end = |piece: &Piece| piece.marked_at.map_or(piece.plays_until, |at| at.max(piece.plays_until));
        let ended_at = utterance.pieces.iter().filter(|piece| piece.sent > 0).map(end).max().unwrap_or(at);
        let mut text = String::new();
        for piece in &utterance.pieces {
            append(&mut text, piece.words(piece.sent));
        }
        let interrupted = utterance.text == Text::Cut;
        let Utterance { id, is_filler, started_at, began_told, latency, .. } = utterance;
        Some(Heard { id, is_filler, text, started_at, began_told, ended_at, interrupted, latency })
    }

    /// Whether the user hears something.
    pub(super) fn is_audible(&self, at: CallTime) -> bool {
        self.plays_until > at
    }

    /// Whether the carrier may still have audio that was not played.
    pub(super) fn is_playing(&self, at: CallTime) -> bool {
        self.pieces().any(|piece| piece.sent > 0 && !piece.is_over(at))
    }

    /// Whether the voice still works, or has delivered what is not sent.
    pub(super) fn is_speaking(&self) -> bool {
        self.pieces().any(|piece| piece.clause().is_some() && !piece.is_sent())
    }

    /// Audio was cleared: marks sent so far prove nothing any more.
    pub(super) fn cleared(&mut self) {
        self.clears = self.clears.saturating_add(1);
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

    pub(super) fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.utterances.iter().flat_map(|utterance| &utterance.pieces)
    }

    pub(super) fn pieces_mut(&mut self) -> impl Iterator<Item = &mut Piece> {
        self.utterances.iter_mut().flat_map(|utterance| &mut utterance.pieces)
    }
}

fn before(at: CallTime, by: Duration) -> CallTime {
    CallTime(u64::try_from(at.since(CallTime(0)).saturating_sub(by).as_micros()).unwrap_or(u64::MAX))
}
