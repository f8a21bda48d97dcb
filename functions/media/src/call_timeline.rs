//! The timeline of a call: who was heard when, by what the worker sends and receives. Its quality is measured at the end.
//!
//! The agent's side is exact but for the network: audio is played one piece after the other, and a `clear` ends it. The
//! caller's side is estimated: a sound that belongs to a message is a turn, one after which the transcriber delivered
//! words that became no message is backchannel, and any other is noise.

use std::time::Duration;

use switchboard_dialogue::{CallTime, ConversationEvent, Input, Output};
use switchboard_model::{
    conversations::Quality,
    messages::{Message, Role},
    time::Timestamp,
};
use switchboard_quality::{CallQuality, SEGMENT_GAP_MS, Sound, SoundKind, Span, Timeline};

/// Maximum number of spans of each kind: hours of lively talk. Later ones are not measured.
const MAX_SPANS: usize = 16_384;
/// Sound of the caller that is shorter than this is no event.
const SHORTEST_SOUND_MS: u32 = 60;
/// A message's times are the transcriber's: sound this close to it belongs to it.
const MESSAGE_MARGIN_MS: u32 = 500;
/// Words come at most this long after their sound.
const WORDS_AFTER_MS: u32 = 2_500;

/// Everything that is known of who spoke when. Times are milliseconds since the conversation started.
#[derive(Debug, Default)]
pub(crate) struct CallTimeline {
    /// Age of the conversation when this worker's stream began.
    offset_ms: u32,
    agent: Vec<Span>,
    /// Sounds of the caller.
    sounds: Vec<Span>,
    /// The caller's messages.
    turns: Vec<Span>,
    /// When the transcriber delivered words.
    words_at_ms: Vec<u32>,
    function_calls_ms: Vec<u32>,
}

impl CallTimeline {
    /// A stream that begins `elapsed` after the conversation started. Of the time before, only the messages are known:
    /// its sounds without words, its backchannel and its function calls are lost.
    pub(crate) fn new(elapsed: Duration, earlier: &[Message], started_at: Option<Timestamp>) -> Self {
        let offset_ms = u32::try_from(elapsed.as_millis()).unwrap_or(u32::MAX);
        let mut timeline = Self { offset_ms, ..Self::default() };
        let Some(started_at) = started_at else { return timeline };
        let since = |at: Timestamp| u32::try_from(at.since(started_at).as_millis()).unwrap_or(u32::MAX);
        for message in earlier {
            let span = Span::new(since(message.started_at), since(message.ended_at));
            match message.role {
                Role::Agent => push(&mut timeline.agent, span),
                Role::User => push(&mut timeline.turns, span),
            }
        }
        timeline
    }

    /// Records a frame of the caller's audio.
    pub(crate) fn record_frame(&mut self, at: CallTime, is_speech: bool) {
        if !is_speech {
            return;
        }
        let now = self.ms(at);
        let from = now.saturating_sub(20);
        match self.sounds.last_mut() {
            Some(last) if from < last.to_ms.saturating_add(SEGMENT_GAP_MS) => last.to_ms = now,
            _ => push(&mut self.sounds, Span::new(from, now)),
        }
    }

    /// Records an input of the engine.
    pub(crate) fn record_input(&mut self, at: CallTime, input: &Input) {
        if let Input::Transcript { text, .. } = input
            && !text.is_empty()
            && self.words_at_ms.len() < MAX_SPANS
        {
            self.words_at_ms.push(self.ms(at));
        }
    }

    /// Records an output of the engine.
    pub(crate) fn record_output(&mut self, at: CallTime, output: &Output) {
        let now = self.ms(at);
        match output {
            Output::Send { audio, .. } => {
                self.play(now, u32::try_from(audio.as_millis()).unwrap_or(u32::MAX));
            }
            Output::Clear => {
                if let Some(last) = self.agent.last_mut() {
                    last.to_ms = last.to_ms.min(now).max(last.from_ms);
                }
            }
            Output::Event(ConversationEvent::MessageSent {
                role: Role::User, started_at, ended_at, ..
            }) => {
                let span = Span::new(self.ms(*started_at), self.ms(*ended_at));
                push(&mut self.turns, span);
            }
            Output::CallTool(_) if self.function_calls_ms.len() < MAX_SPANS => {
                self.function_calls_ms.push(now);
            }
            _ => {}
        }
    }

    /// Audio is played behind what was sent before it.
    fn play(&mut self, now: u32, length: u32) {
        match self.agent.last_mut() {
            Some(last) if now <= last.to_ms => last.to_ms = last.to_ms.saturating_add(length),
            _ => push(&mut self.agent, Span::new(now, now.saturating_add(length))),
        }
    }

    /// The quality of the conversation, which ends at `until`; none if it never started.
    pub(crate) fn quality(self, until: CallTime, started_at: Option<Timestamp>) -> Option<Quality> {
        let length_ms = self.ms(until);
        let call = CallQuality::new(&self.timeline(length_ms));
        Some(Quality::new(&call, true, started_at?))
    }

    fn timeline(self, length_ms: u32) -> Timeline {
        let Self { agent, sounds, turns, words_at_ms, function_calls_ms, .. } = self;
        let mut caller: Vec<Sound> = vec![];
        let mut is_heard = vec![false; turns.len()];
        // Both lists are sorted, so each sound is compared with the messages around it only.
        let mut first = 0;
        for (index, span) in sounds.iter().copied().enumerate() {
            if span.to_ms - span.from_ms < SHORTEST_SOUND_MS {
                continue;
            }
            while turns.get(first).is_some_and(|turn| turn.to_ms + MESSAGE_MARGIN_MS < span.from_ms) {
                first += 1;
            }
            let is_near = |turn: &&Span| {
                turn.from_ms <= span.to_ms + MESSAGE_MARGIN_MS
                    && span.from_ms <= turn.to_ms + MESSAGE_MARGIN_MS
            };
            let message = turns.get(first).filter(is_near).map(|_| first);
            let kind = match message {
                Some(_) => SoundKind::Turn,
                None if has_words(&words_at_ms, span, sounds.get(index + 1)) => SoundKind::Backchannel,
                None => SoundKind::Noise,
            };
            if let Some(message) = message {
                // The sounds of one message are one turn.
                if std::mem::replace(&mut is_heard[message], true)
                    && let Some(before) = caller.iter_mut().rev().find(|sound| sound.kind == SoundKind::Turn)
                {
                    before.continues = true;
                }
            }
            caller.push(Sound { span, kind, continues: false });
        }
        // Words of which voice activity detection heard nothing, keys, and the messages of an earlier worker.
        let unheard = turns.iter().zip(is_heard).filter(|(_, is_heard)| !is_heard);
        caller.extend(unheard.map(|(turn, _)| Sound::new(SoundKind::Turn, turn.from_ms, turn.to_ms)));
        caller.sort_by_key(|sound| sound.span.from_ms);
        let agent =
            agent.into_iter().map(|span| Span::new(span.from_ms, span.to_ms.min(length_ms))).collect();
        Timeline { caller, agent, function_calls_ms, length_ms }
    }

    fn ms(&self, at: CallTime) -> u32 {
        u32::try_from(at.0 / 1_000).unwrap_or(u32::MAX).saturating_add(self.offset_ms)
    }
}

/// Whether the transcriber delivered words during a sound or soon after it, and before the next one began.
fn has_words(words_at_ms: &[u32], sound: Span, next: Option<&Span>) -> bool {
    let latest = sound.to_ms.saturating_add(WORDS_AFTER_MS);
    let latest = next.map_or(latest, |next| latest.min(next.from_ms));
    let first = words_at_ms.partition_point(|at| *at < sound.from_ms);
    words_at_ms.get(first).is_some_and(|at| *at <= latest)
}

fn push(spans: &mut Vec<Span>, span: Span) {
    if spans.len() < MAX_SPANS {
        spans.push(span);
    }
}

#[cfg(test)]
mod tests {
    use switchboard_dialogue::{ClauseId, UtteranceKind};
    use switchboard_model::messages::MessageKind;

    use super::*;

    fn started() -> Timestamp {
        Timestamp::from_millis(1_000_000)
    }

    fn at(ms: u32) -> CallTime {
        CallTime(u64::from(ms) * 1_000)
    }

    fn new() -> CallTimeline {
        CallTimeline::new(Duration::ZERO, &[], Some(started()))
    }

    /// The agent's audio, sent ahead in pieces of 20 ms.
    fn say(call: &mut CallTimeline, from: u32, to: u32) {
        for ms in (from..to).step_by(20) {
            let audio = Duration::from_millis(20);
            let sent_at = ms.saturating_sub(400).max(from);
            call.record_output(at(sent_at), &Output::Send { clause: ClauseId(1), audio });
        }
    }

    fn sound(call: &mut CallTimeline, from: u32, to: u32) {
        for ms in (from + 20..=to).step_by(20) {
            call.record_frame(at(ms), true);
        }
    }

    fn words(call: &mut CallTimeline, ms: u32) {
        let input = Input::Transcript { text: "words".into(), is_final: true, spoken_until: None };
        call.record_input(at(ms), &input);
    }

    fn message(call: &mut CallTimeline, from: u32, to: u32) {
        words(call, to + 200);
        let event = ConversationEvent::MessageSent {
            role: Role::User,
            content: "words".into(),
            kind: UtteranceKind::Speech,
            started_at: at(from),
            ended_at: at(to),
            interrupted: false,
            latency: None,
        };
        call.record_output(at(to + 300), &Output::Event(event));
    }

    #[test]
    fn a_call_has_its_quality() {
        let mut call = new();
        say(&mut call, 100, 2_000);
        sound(&mut call, 3_000, 3_500);
        sound(&mut call, 4_000, 4_400);
        message(&mut call, 2_900, 4_500);
        say(&mut call, 5_000, 9_000);
        sound(&mut call, 6_000, 6_200);
        words(&mut call, 6_500);
        sound(&mut call, 11_500, 11_700);
        let quality = call.quality(at(15_000), Some(started())).unwrap();
        let response = quality.response_ms.unwrap();
        assert_eq!((quality.turns, response.max, quality.response_rate), (1, 600, Some(1.0)));
        let backchannels = quality.backchannels.unwrap();
        assert_eq!((backchannels.total, backchannels.talked_through), (1, 1));
        let noises = quality.noises.unwrap();
        assert_eq!((noises.total, noises.ignored, quality.agent_interruptions), (1, 1, 0));
        assert_eq!(quality.dead_air.len(), 1);
        assert!(quality.estimated);
    }

    #[test]
    fn a_clear_ends_the_agents_speech() {
        let mut call = new();
        say(&mut call, 0, 4_000);
        sound(&mut call, 2_000, 3_000);
        call.record_output(at(2_350), &Output::Clear);
        message(&mut call, 2_000, 3_000);
        say(&mut call, 3_800, 4_800);
        let quality = call.quality(at(5_000), Some(started())).unwrap();
        assert_eq!((quality.yield_ms.unwrap().max, quality.yield_rate), (350, Some(1.0)));
        assert_eq!((quality.response_ms.unwrap().max, quality.talk_over_ms), (800, 350));
    }

    #[test]
    fn a_false_interruption_is_a_noise_that_was_not_ignored() {
        let mut call = new();
        say(&mut call, 0, 2_000);
        sound(&mut call, 1_000, 1_300);
        call.record_output(at(1_200), &Output::Clear);
        say(&mut call, 2_500, 3_500);
        let noises = call.quality(at(4_000), Some(started())).unwrap().noises.unwrap();
        assert_eq!((noises.total, noises.ignored), (1, 0));
    }

    #[test]
    fn after_a_takeover_the_earlier_messages_count() {
        let message = |role, from: i64, to: i64| Message {
            kind: MessageKind::Speech,
            role,
            content: "words".into(),
            started_at: Timestamp::from_millis(1_000_000 + from),
            ended_at: Timestamp::from_millis(1_000_000 + to),
            interrupted: false,
        };
        let earlier = [
            message(Role::Agent, 0, 2_000),
            message(Role::User, 3_000, 4_000),
            message(Role::Agent, 4_700, 6_000),
        ];
        let mut call = CallTimeline::new(Duration::from_secs(8), &earlier, Some(started()));
        sound(&mut call, 1_000, 2_000);
        self::message(&mut call, 1_000, 2_000);
        say(&mut call, 2_500, 3_500);
        let quality = call.quality(at(4_000), Some(started())).unwrap();
        let response = quality.response_ms.unwrap();
        assert_eq!((quality.turns, response.max, response.p50), (2, 700, 700));
        assert_eq!(quality.response_rate, Some(1.0));
    }

    #[test]
    fn a_conversation_that_never_started_has_none() {
        assert_eq!(CallTimeline::new(Duration::ZERO, &[], None).quality(at(0), None), None);
    }

    #[test]
    fn the_timeline_of_an_endless_call_is_bounded() {
        let mut call = new();
        for n in 0..200_000 {
            call.record_frame(at(n * 1_000), true);
            words(&mut call, n * 1_000);
            message(&mut call, n * 1_000, n * 1_000 + 10);
        }
        assert_eq!([call.sounds.len(), call.words_at_ms.len(), call.turns.len()], [MAX_SPANS; 3]);
    }
}
