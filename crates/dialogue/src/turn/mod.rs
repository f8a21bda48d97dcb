//! The user's turn: their words until the agent replies.
//!
//! [`transcript`] keeps the words, [`endpointing`] decides when the turn is over, [`backchannel`] recognises words that
//! want no reply. This module knows neither sound nor the agent: see `barge_in`, `transcriber_watchdog` and the engine.

pub(crate) mod backchannel;
mod endpointing;
mod transcript;

use switchboard_model::messages::Role;

use self::{endpointing::Endpointing, transcript::Transcript};
use crate::{
    call_time::CallTime,
    output::{ConversationEvent, Output},
    settings::TranscriberProfile,
    types::UtteranceKind,
};

pub(crate) use self::transcript::Fresh;

/// The user's current turn.
#[derive(Debug)]
pub(crate) struct Turn {
    transcript: Transcript,
    endpointing: Endpointing,
    began_at: Option<CallTime>,
    spoken_until: CallTime,
    /// When the interim came whose final is awaited.
    interim_at: Option<CallTime>,
}

/// A turn that is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FinishedTurn {
    pub(crate) text: String,
    pub(crate) started_at: CallTime,
    pub(crate) ended_at: CallTime,
}

impl FinishedTurn {
    /// Reports the end of the user's speech, and the message.
    pub(crate) fn report(&self, out: &mut Vec<Output>) {
        out.push(Output::Event(ConversationEvent::SpeechEnded(Role::User)));
        out.push(Output::Event(ConversationEvent::MessageSent {
            role: Role::User,
            content: self.text.clone(),
            kind: UtteranceKind::Speech,
            started_at: self.started_at,
            ended_at: self.ended_at,
            interrupted: false,
            latency: None,
        }));
    }
}

impl Turn {
    pub(crate) fn new(transcriber: &TranscriberProfile) -> Self {
        Self {
            transcript: Transcript::new(transcriber.settles_within),
            endpointing: Endpointing::new(transcriber),
            began_at: None,
            spoken_until: CallTime::default(),
            interim_at: None,
        }
    }

    /// Whether the user has begun to say something.
    pub(crate) fn is_open(&self) -> bool {
        self.began_at.is_some()
    }

    /// Whether the turn has words, which want a reply.
    pub(crate) fn has_words(&self) -> bool {
        !self.transcript.is_empty()
    }

    /// The turn's words.
    pub(crate) fn text(&self) -> String {
        self.transcript.text()
    }

    /// The turn's words if `text` were added as another interim or final.
    pub(crate) fn text_with(&self, text: &str) -> String {
        self.transcript.text_with(text)
    }

    /// When the last of its words was spoken.
    pub(crate) fn spoken_until(&self) -> CallTime {
        self.spoken_until
    }

    /// Since when the turn has been open without words: it may be a cough.
    pub(crate) fn wordless_since(&self) -> Option<CallTime> {
        self.began_at.filter(|_| !self.has_words())
    }

    /// When the interim came whose final is awaited; none once the final was requested.
    pub(crate) fn interim_at(&self) -> Option<CallTime> {
        self.interim_at
    }

    /// The final of the interim was requested.
    pub(crate) fn mark_finalizing(&mut self) {
        self.interim_at = None;
    }

    /// When the turn ends, if nothing more happens.
    pub(crate) fn due(&self) -> Option<CallTime> {
        self.has_words().then(|| self.endpointing.due())
    }

    /// The transcriber detected the beginning of speech.
    pub(crate) fn begin(&mut self, at: CallTime) {
        if !self.has_words() {
            self.began_at = Some(at);
        }
        // A user who goes on speaking is not finished.
        self.endpointing.revoke();
    }

    /// The part of `text` that no turn has counted: an interim that ended the last turn may come again as a final.
    pub(crate) fn fresh<'a>(&mut self, at: CallTime, text: &'a str, is_final: bool) -> Fresh<'a> {
        self.transcript.fresh(at, text, is_final, self.is_open())
    }

    /// Adds words; `text` is not empty.
    pub(crate) fn add(&mut self, at: CallTime, text: &str, is_final: bool, spoken_until: Option<CallTime>) {
        self.began_at.get_or_insert(at);
        self.spoken_until = spoken_until.unwrap_or(at).min(at);
        self.interim_at = (!is_final).then_some(at);
        // A final that only confirms its interim does not revoke the end of the turn.
        let is_news = self.transcript.add(text, is_final);
        self.endpointing.words(at, text, is_news);
    }

    /// The words of the interim were not said.
    pub(crate) fn withdraw(&mut self) {
        self.transcript.withdraw();
        self.interim_at = None;
        self.endpointing.revoke();
    }

    /// The transcriber detected the end of the turn. A turn without words was a cough and is closed: true if one was
    /// open.
    pub(crate) fn end_detected(&mut self, at: CallTime) -> bool {
        if self.has_words() {
            self.endpointing.end_detected(at, self.transcript.last());
            return false;
        }
        self.forget_sound()
    }

    /// Ends the turn now, even if it sounds unfinished.
    pub(crate) fn mark_complete(&mut self, at: CallTime) {
        self.endpointing.mark_complete(at);
    }

    /// Closes a turn without words: it was a cough. True if one was open.
    pub(crate) fn forget_sound(&mut self) -> bool {
        !self.has_words() && self.began_at.take().is_some()
    }

    /// Ends the turn; none if it has no words.
    pub(crate) fn take(&mut self, at: CallTime) -> Option<FinishedTurn> {
        self.endpointing.reset();
        self.interim_at = None;
        let ended_at = std::mem::take(&mut self.spoken_until);
        let began_at = self.began_at.take()?;
        let text = self.transcript.take(at)?;
        Some(FinishedTurn { text, started_at: began_at.min(ended_at), ended_at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> CallTime {
        CallTime(ms * 1000)
    }

    fn turn() -> Turn {
        Turn::new(&TranscriberProfile::default())
    }

    #[test]
    fn interims_replace_each_other_and_finals_add_up() {
        let mut turn = turn();
        turn.add(ms(100), "I", false, None);
        turn.add(ms(200), "I would", false, None);
        turn.add(ms(300), "I would like", true, Some(ms(250)));
        turn.add(ms(400), "two", false, None);
        turn.add(ms(500), "two cakes", true, Some(ms(450)));
        assert!(!turn.end_detected(ms(600)));
        assert_eq!(turn.due(), Some(ms(600)));
        let finished = turn.take(ms(600)).unwrap();
        assert_eq!(finished.text, "I would like two cakes");
        assert_eq!((finished.started_at, finished.ended_at), (ms(100), ms(450)));
        assert!(!turn.is_open());
    }

    #[test]
    fn the_first_end_of_a_turn_wins() {
        let mut turn = turn();
        turn.add(ms(0), "my number is 415", true, None);
        assert_eq!(turn.due(), Some(ms(3000)));
        turn.end_detected(ms(300));
        turn.end_detected(ms(700));
        assert_eq!(turn.due(), Some(ms(800)), "a second detection does not put it off");
        turn.add(ms(750), "555", false, None);
        assert_eq!(turn.due(), Some(ms(3750)), "but words do");
        turn.end_detected(ms(3500));
        assert_eq!(turn.due(), Some(ms(3750)));
    }

    #[test]
    fn a_transcriber_that_understands_turns_ends_one_at_once() {
        let transcriber = TranscriberProfile { understands_turns: true, ..Default::default() };
        let mut turn = Turn::new(&transcriber);
        turn.add(ms(0), "my number is 415", true, None);
        turn.end_detected(ms(300));
        assert_eq!(turn.due(), Some(ms(300)), "it knows better than the words at the end");
        turn.take(ms(300)).unwrap();
        turn.add(ms(900), "and", false, None);
        assert_eq!(turn.due(), Some(ms(3900)), "a silence ends it in any case");
    }

    #[test]
    fn a_final_that_confirms_the_interim_does_not_put_the_end_off() {
        let mut turn = turn();
        turn.add(ms(0), "it is 7", false, None);
        turn.end_detected(ms(100));
        turn.add(ms(200), "It is 7.", true, None);
        assert_eq!(turn.due(), Some(ms(600)));
    }

    #[test]
    fn a_cough_is_no_turn() {
        let mut turn = turn();
        assert!(!turn.end_detected(ms(50)));
        turn.begin(ms(100));
        assert_eq!(turn.due(), None);
        assert!(turn.end_detected(ms(200)));
        assert!(!turn.is_open());
    }

    #[test]
    fn without_turn_detection_a_second_without_words_ends_the_turn() {
        let transcriber = TranscriberProfile { detects_turns: false, ..Default::default() };
        let mut turn = Turn::new(&transcriber);
        turn.add(ms(0), "two cakes", false, None);
        assert_eq!(turn.due(), Some(ms(1000)));
        turn.add(ms(400), "two cakes and", true, None);
        assert_eq!(turn.due(), Some(ms(1900)), "half a second later if it sounds unfinished");
    }

    #[test]
    fn counted_interim_words_are_not_counted_again() {
        let ended = |interim: &str| {
            let mut turn = turn();
            turn.add(ms(0), interim, false, None);
            turn.take(ms(1000)).unwrap();
            turn
        };
        let (soon, late) = (ms(1500), ms(7000));
        assert_eq!(ended("what time").fresh(soon, "What time?", true), Fresh::Nothing);
        assert_eq!(ended("what time").fresh(soon, "What", false), Fresh::Nothing);
        assert_eq!(ended("what time").fresh(soon, "What time is it?", true), Fresh::Words("is it?"));
        assert_eq!(ended("what time").fresh(late, "What time?", true), Fresh::Words("What time?"));
        let corrected = Fresh::Corrected { counted: "five five".into(), text: "55", more: "" };
        assert_eq!(ended("five five").fresh(soon, "55", true), corrected);
        let mut turn = ended("five five");
        turn.begin(ms(1200));
        assert_eq!(turn.fresh(soon, "no", true), Fresh::Words("no"), "speech began again");
        let mut turn = ended("yes");
        assert_eq!(turn.fresh(soon, "yes", false), Fresh::Nothing);
        assert_eq!(turn.fresh(soon, "Yes.", true), Fresh::Nothing);
        assert_eq!(turn.fresh(soon, "Yes.", true), Fresh::Words("Yes."), "settled once, said again");
    }
}
