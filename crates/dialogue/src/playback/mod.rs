//! Playback: synthesizes the agent's utterances, sends their audio, and knows how much of it was played.
//!
//! An utterance is a sequence of clauses. A clause waits, is sent to the synthesizer, is sent to the carrier as its
//! audio arrives, and is followed by a mark. [`clause`] holds one clause, [`heard_words`] finds the words that the
//! caller heard. This module knows neither the model nor the caller: every responder uses it.

mod clause;
mod heard_words;

use std::{collections::VecDeque, time::Duration};

use crate::{
    call_time::{CallTime, FRAME},
    output::{ConversationEvent, Output},
    types::{ClauseId, Latency, Mark, PlacedWord, ProviderRole, UtteranceId, UtteranceKind},
};

use self::{
    clause::{Clause, Stage},
    heard_words::append,
};

pub(crate) use self::heard_words::HeardUtterance;
pub use self::heard_words::UtteranceInProgress;

/// How far audio is sent ahead of real time: enough for a slow network, and little to discard at a barge-in.
const AHEAD: Duration = Duration::from_millis(400);
/// A synthesizer without any audio of a clause for this long has failed on it.
const NO_AUDIO: Duration = Duration::from_secs(2);
/// A synthesizer that stops within a clause for this long has failed on the rest.
const STALLED: Duration = Duration::from_secs(3);
/// Maximum number of clauses at the synthesizer before the one that is sent ends; few, so that a barge-in wastes
/// little.
const CLAUSES_AHEAD: usize = 2;
/// With so many clauses that wait for the synthesizer no more text is wanted: about a minute of speech.
const ENOUGH_WAITING: usize = 16;

/// The agent's utterances that are not over.
#[derive(Debug, Default)]
pub(crate) struct Playback {
    /// Oldest first.
    utterances: VecDeque<Utterance>,
    is_paused: bool,
    /// When everything that was sent will have been played.
    plays_until: CallTime,
    /// When the synthesizer had done with the clause before the one it works on.
    synthesizer_free_at: CallTime,
    /// How many times the carrier's audio was cleared.
    clears: u32,
    marks: u32,
    clauses: u32,
}

/// Whether an utterance has all its clauses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Text {
    /// More clauses may come.
    #[default]
    Growing,
    Complete,
    /// Some of its clauses are not wanted any more.
    Cut,
}

/// Consecutive clauses that are reported as one message.
#[derive(Debug, Default)]
struct Utterance {
    id: UtteranceId,
    kind: UtteranceKind,
    text: Text,
    /// When its first audio was, or will be, played.
    started_at: Option<CallTime>,
    /// Whether its beginning was reported.
    is_reported: bool,
    latency: Option<Latency>,
    clauses: Vec<Clause>,
    /// How many clauses at its beginning can no longer change: they were played, or dropped.
    settled: usize,
    /// How many clauses at its beginning have been sent to the synthesizer, or dropped. Those behind them wait.
    requested: usize,
}

/// An utterance whose beginning is to be reported.
#[derive(Debug)]
pub(crate) struct Beginning<'a> {
    pub(crate) kind: UtteranceKind,
    pub(crate) first_audio_at: CallTime,
    /// To be set to how long the user waited for it.
    pub(crate) latency: &'a mut Option<Latency>,
}

impl Utterance {
    /// Whether something of it was sent, or could be.
    fn has_audio(&self) -> bool {
        self.started_at.is_some() || self.active().iter().any(|clause| !clause.sendable(FRAME).is_zero())
    }

    /// The clauses that are at the synthesizer or at the carrier: a few, however long the utterance is.
    fn active(&self) -> &[Clause] {
        &self.clauses[self.settled..self.requested.max(self.settled)]
    }

    fn active_mut(&mut self) -> &mut [Clause] {
        let end = self.requested.max(self.settled);
        &mut self.clauses[self.settled..end]
    }

    /// Counts the clauses that can no longer change.
    fn settle(&mut self, at: CallTime) {
        let open = &self.clauses[self.settled..];
        self.settled += open.iter().take_while(|clause| clause.is_settled(at)).count();
    }

    fn is_hold_phrase(&self) -> bool {
        self.kind == UtteranceKind::HoldPhrase
    }
}

/// Writing and synthesizing utterances.
impl Playback {
    /// Whether there is nothing to say.
    pub(crate) fn is_idle(&self) -> bool {
        self.utterances.is_empty()
    }

    /// Begins an utterance behind the others, if it has not begun.
    pub(crate) fn begin(&mut self, id: UtteranceId, kind: UtteranceKind) {
        if self.utterance(id).is_none() {
            self.utterances.push_back(Utterance { id, kind, ..Utterance::default() });
        }
    }

    /// Adds a clause to an utterance.
    pub(crate) fn add(&mut self, id: UtteranceId, text: String) {
        if let Some(utterance) = self.utterance(id) {
            utterance.clauses.push(Clause::new(text));
        }
    }

    /// An utterance has all its clauses.
    pub(crate) fn complete(&mut self, id: UtteranceId) {
        if let Some(utterance) = self.utterance(id) {
            utterance.text = Text::Complete;
        }
    }

    /// Whether so many clauses wait for the synthesizer that no more text is wanted.
    pub(crate) fn has_enough_waiting(&self) -> bool {
        let waiting = |utterance: &Utterance| utterance.clauses.len().saturating_sub(utterance.requested);
        self.utterances.iter().map(waiting).sum::<usize>() >= ENOUGH_WAITING
    }

    fn utterance(&mut self, id: UtteranceId) -> Option<&mut Utterance> {
        self.utterances.iter_mut().find(|utterance| utterance.id == id)
    }

    /// Drops the clauses of which nothing was sent.
    pub(crate) fn drop_unsent_clauses(&mut self) {
        for utterance in &mut self.utterances {
            utterance.text = Text::Complete;
            for clause in utterance.clauses.iter_mut().filter(|clause| clause.sent.is_zero()) {
                clause.stage = Stage::Dropped;
                utterance.text = Text::Cut;
            }
            utterance.requested = utterance.clauses.len();
        }
    }

    /// Puts a hold phrase before all utterances; the id of the one behind it. It is synthesized once only.
    pub(crate) fn put_hold_phrase_first(&mut self, id: UtteranceId, text: &str) -> Option<UtteranceId> {
        let next = self.utterances.front().map(|utterance| utterance.id);
        self.utterances.push_front(Utterance {
            id,
            kind: UtteranceKind::HoldPhrase,
            text: Text::Complete,
            clauses: vec![Clause::without_retry(text.to_owned())],
            ..Utterance::default()
        });
        next
    }

    /// Drops a hold phrase without audio: the reply has arrived, or the synthesizer fails.
    fn drop_hold_phrase(&mut self) {
        if let Some(phrase) = self.utterances.front_mut().filter(|utterance| utterance.is_hold_phrase()) {
            for clause in phrase.clauses.iter_mut().filter(|clause| clause.received.is_zero()) {
                clause.stage = Stage::Dropped;
            }
            phrase.requested = phrase.clauses.len();
        }
    }

    /// Whether the oldest utterance is a hold phrase.
    fn is_holding(&self) -> bool {
        self.utterances.front().is_some_and(Utterance::is_hold_phrase)
    }

    /// Whether something of the oldest utterance was sent, or could be.
    pub(crate) fn has_begun(&self) -> bool {
        self.utterances.front().is_some_and(Utterance::has_audio)
    }

    /// Whether an utterance waits whose first audio was not sent.
    pub(crate) fn is_about_to_begin(&self) -> bool {
        self.utterances.front().is_some_and(|utterance| utterance.started_at.is_none())
    }

    /// When the oldest clause without any audio was requested.
    pub(crate) fn requested_at(&self) -> Option<CallTime> {
        let is_silent =
            |clause: &&Clause| matches!(clause.stage, Stage::Requested(_)) && clause.received.is_zero();
        self.active().find(is_silent).map(|clause| clause.requested_at)
    }

    /// The synthesizer delivered audio of a clause.
    pub(crate) fn audio(&mut self, at: CallTime, id: ClauseId, audio: Duration) {
        let Some(clause) = self.requested(id) else { return };
        if audio.is_zero() {
            return;
        }
        if clause.received.is_zero() {
            clause.first_audio_at = at;
        }
        clause.last_audio_at = at;
        clause.received = clause.received.saturating_add(audio);
    }

    /// The synthesizer reported when words of a clause are audible.
    pub(crate) fn word_times(&mut self, id: ClauseId, words: Vec<PlacedWord>) {
        if let Some(clause) = self.active_mut().find(|clause| clause.id() == Some(id)) {
            clause.add_word_times(words);
        }
    }

    /// The synthesizer delivered all audio of a clause. No audio at all is a failure.
    pub(crate) fn voice_finished(&mut self, at: CallTime, id: ClauseId, trailing_silence: Duration) {
        let is_free = self.is_synthesized_now(id);
        match self.requested(id) {
            Some(clause) if clause.received.is_zero() => return self.voice_failed(at, id),
            Some(clause) => {
                clause.stage = Stage::Complete(id);
                clause.trailing_silence = clause.received.min(trailing_silence);
            }
            None => return,
        }
        if is_free {
            self.synthesizer_free_at = at;
        }
    }

    /// The clause waits for its turn at the synthesizer: the time for its audio begins anew.
    pub(crate) fn voice_delayed(&mut self, at: CallTime, id: ClauseId) {
        if let Some(clause) = self.requested(id) {
            clause.requested_at = at;
        }
    }

    /// The synthesizer failed on a clause. Without audio the clause is requested again, once; otherwise the audio
    /// so far is all there is.
    pub(crate) fn voice_failed(&mut self, at: CallTime, id: ClauseId) {
        let is_free = self.is_synthesized_now(id);
        let Some(clause) = self.requested(id) else { return };
        clause.stage = match (clause.received.is_zero(), clause.failed_once) {
            (false, _) => Stage::CutShort(id),
            (true, true) => Stage::Dropped,
            (true, false) => Stage::Waiting,
        };
        clause.failed_once = true;
        if is_free {
            self.synthesizer_free_at = at;
        }
        self.drop_hold_phrase();
    }

    /// Fails the clause for which the synthesizer has taken too long.
    pub(crate) fn watch_synthesizer(&mut self, at: CallTime, out: &mut Vec<Output>) {
        while let Some((id, _)) = self.synthesis_due().filter(|(_, due)| *due <= at) {
            out.push(Output::Event(ConversationEvent::ProviderTimedOut(ProviderRole::Synthesizer)));
            self.voice_failed(at, id);
        }
    }

    fn requested(&mut self, id: ClauseId) -> Option<&mut Clause> {
        self.active_mut().find(|clause| clause.stage == Stage::Requested(id))
    }

    /// Whether the synthesizer works on this clause.
    fn is_synthesized_now(&self, id: ClauseId) -> bool {
        self.synthesis_due().is_some_and(|(next, _)| next == id)
    }

    /// The clause that the synthesizer works on (it takes them in turn), and when it has taken too long. A hold
    /// phrase may come from a clip, so it is last.
    fn synthesis_due(&self) -> Option<(ClauseId, CallTime)> {
        let of = |is_hold_phrase: bool| {
            self.utterances.iter().filter(move |utterance| utterance.is_hold_phrase() == is_hold_phrase)
        };
        of(false).chain(of(true)).flat_map(Utterance::active).find_map(|clause| {
            let Stage::Requested(id) = clause.stage else { return None };
            let due = if clause.received.is_zero() {
                clause.requested_at.max(self.synthesizer_free_at) + NO_AUDIO
            } else {
                clause.last_audio_at + STALLED
            };
            Some((id, due))
        })
    }

    /// Sends clauses that wait to the synthesizer.
    pub(crate) fn synthesize(&mut self, at: CallTime, out: &mut Vec<Output>) {
        let next = &mut self.clauses;
        let mut ahead = 0;
        for utterance in &mut self.utterances {
            let is_hold_phrase = utterance.is_hold_phrase();
            for (index, clause) in utterance.clauses.iter_mut().enumerate().skip(utterance.settled) {
                if ahead >= CLAUSES_AHEAD {
                    return;
                }
                if clause.stage == Stage::Waiting {
                    let id = ClauseId(*next);
                    *next = next.saturating_add(1);
                    clause.stage = Stage::Requested(id);
                    clause.requested_at = at;
                    utterance.requested = utterance.requested.max(index + 1);
                    out.push(Output::Synthesize { clause: id, text: clause.text.clone() });
                }
                // A hold phrase does not delay the reply's clauses.
                ahead += usize::from(clause.is_ahead() && !is_hold_phrase);
            }
        }
    }
}

/// Sending audio, and following it until it was played.
impl Playback {
    /// Sends the audio that is due, and marks.
    pub(crate) fn send(&mut self, at: CallTime, out: &mut Vec<Output>) {
        if self.is_paused {
            return;
        }
        if self.is_holding() && self.utterances.iter().skip(1).any(Utterance::has_audio) {
            self.drop_hold_phrase();
        }
        let (clears, marks, plays_until) = (self.clears, &mut self.marks, &mut self.plays_until);
        for utterance in &mut self.utterances {
            for clause in utterance.clauses.iter_mut().skip(utterance.settled) {
                if clause.stage == Stage::Dropped {
                    continue;
                }
                let Some(id) = clause.id() else { return };
                let starts = (*plays_until).max(at);
                let audio = clause.sendable((at + AHEAD).since(starts));
                if !audio.is_zero() {
                    utterance.started_at.get_or_insert(starts);
                    clause.sent += audio;
                    *plays_until = starts + audio;
                    clause.plays_until = *plays_until;
                    out.push(Output::Send { clause: id, audio });
                }
                if !clause.is_sent() {
                    return;
                }
                if clause.mark.is_none() {
                    clause.mark = Some(*marks);
                    out.push(Output::Mark(Mark { clears, number: *marks }));
                    *marks = marks.saturating_add(1);
                }
            }
        }
    }

    /// The oldest utterance, once, when its first audio was sent. The next one begins when this one is over.
    pub(crate) fn beginning(&mut self) -> Option<Beginning<'_>> {
        let utterance = self.utterances.front_mut().filter(|utterance| !utterance.is_reported)?;
        let requested = &utterance.clauses[..utterance.requested];
        let first = requested.iter().find(|clause| !clause.sent.is_zero())?;
        utterance.is_reported = true;
        Some(Beginning {
            kind: utterance.kind,
            first_audio_at: first.first_audio_at,
            latency: &mut utterance.latency,
        })
    }

    /// The carrier returned a mark: the audio before it was played, unless it was cleared.
    pub(crate) fn played(&mut self, at: CallTime, mark: Mark) {
        if mark.clears != self.clears || !self.active().any(|clause| clause.mark == Some(mark.number)) {
            return;
        }
        for clause in self.active_mut() {
            if clause.mark.is_some() {
                clause.marked_at.get_or_insert(at);
            }
            if clause.mark == Some(mark.number) {
                return;
            }
        }
    }

    /// Takes out the oldest utterance if it is over: complete, and all of it played.
    pub(crate) fn finished(&mut self, at: CallTime) -> Option<HeardUtterance> {
        for utterance in &mut self.utterances {
            utterance.settle(at);
        }
        let utterance = self.utterances.front()?;
        let mut open = utterance.clauses[utterance.settled..].iter();
        if utterance.text == Text::Growing || !open.all(|clause| clause.is_over(at)) {
            return None;
        }
        let utterance = self.utterances.pop_front()?;
        let end =
            |clause: &Clause| clause.marked_at.map_or(clause.plays_until, |at| at.max(clause.plays_until));
        let sent = utterance.clauses.iter().filter(|clause| !clause.sent.is_zero());
        let ended_at = sent.map(end).max().unwrap_or(at);
        let mut text = String::new();
        for clause in &utterance.clauses {
            append(&mut text, clause.words(clause.sent));
        }
        let interrupted = utterance.text == Text::Cut;
        let Utterance { id, kind, started_at, is_reported, latency, .. } = utterance;
        Some(HeardUtterance { id, kind, text, started_at, is_reported, ended_at, interrupted, latency })
    }

    /// Pauses at the word that is audible: the audio from its beginning is sent again later. The carrier's audio is
    /// cleared.
    pub(crate) fn pause(&mut self, at: CallTime, out: &mut Vec<Output>) {
        self.cleared();
        self.rewind(at, out);
        // Audio that was not taken back was played, though its mark comes back as one from before the clear.
        for clause in self.active_mut().filter(|clause| clause.is_sent()) {
            clause.marked_at.get_or_insert(clause.plays_until);
        }
        self.is_paused = true;
    }

    /// Goes on where it paused.
    pub(crate) fn resume(&mut self) {
        self.is_paused = false;
    }

    /// The carrier's audio was cleared: marks that were sent prove nothing any more.
    pub(crate) fn cleared(&mut self) {
        self.clears = self.clears.saturating_add(1);
    }

    /// When everything that was sent will have been played.
    pub(crate) fn plays_until(&self) -> CallTime {
        self.plays_until
    }

    /// Whether an utterance waits, or is being played.
    pub(crate) fn is_unfinished(&self, at: CallTime, id: UtteranceId) -> bool {
        let utterance = self.utterances.iter().find(|utterance| utterance.id == id);
        utterance.is_some_and(|utterance| {
            !utterance.clauses[utterance.settled..].iter().all(|clause| clause.is_over(at))
        })
    }

    /// Whether audio is playing.
    pub(crate) fn is_audible(&self, at: CallTime) -> bool {
        self.plays_until > at
    }

    /// Whether the carrier may still have audio that was not played.
    pub(crate) fn is_playing(&self, at: CallTime) -> bool {
        self.active().any(|clause| !clause.sent.is_zero() && !clause.is_over(at))
    }

    /// Whether the synthesizer still works, or has delivered audio that was not sent.
    pub(crate) fn is_synthesizing(&self) -> bool {
        self.active().any(|clause| clause.id().is_some() && !clause.is_sent())
    }

    /// When the next action is due: audio to send, a late mark, a late synthesizer.
    pub(crate) fn deadline(&self, now: CallTime) -> Option<CallTime> {
        let synthesizer = self.synthesis_due().map(|(_, due)| due);
        let audio = self
            .utterances
            .iter()
            .flat_map(|utterance| &utterance.clauses[utterance.settled..])
            .filter(|_| !self.is_paused)
            .find(|clause| clause.stage != Stage::Dropped && !clause.is_sent())
            .and_then(|clause| {
                let next = clause.sendable(FRAME);
                // A frame is sent as soon as it ends within the time that is sent ahead.
                (!next.is_zero()).then(|| (self.plays_until + next).before(AHEAD))
            });
        let sent = self.active().filter(|clause| clause.is_sent());
        let marks = sent.map(Clause::over_at).filter(|due| *due > now).min();
        [synthesizer, audio, marks].into_iter().flatten().min()
    }

    /// The clauses that were sent to the synthesizer, the played ones included.
    fn requested_clauses(&self) -> impl Iterator<Item = &Clause> {
        self.utterances.iter().flat_map(|utterance| &utterance.clauses[..utterance.requested])
    }

    fn active(&self) -> impl Iterator<Item = &Clause> {
        self.utterances.iter().flat_map(Utterance::active)
    }

    fn active_mut(&mut self) -> impl Iterator<Item = &mut Clause> {
        self.utterances.iter_mut().flat_map(Utterance::active_mut)
    }
}
