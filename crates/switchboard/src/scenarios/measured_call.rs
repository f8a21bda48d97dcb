//! The turn-taking of an observed call, measured from its recording.

use switchboard_model::{conversations::Quality, time::Timestamp};
use switchboard_quality::{
    CallQuality, Panel, Segments, Sound, Span, SpeechDetector, TICK_MS, Timeline, reactions,
};

use super::{
    observed_call::{ObservedCall, millis},
    sound_kinds::{self, ScriptedSound},
};
use crate::api_client::Utterance;

/// The turn-taking of one call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct MeasuredCall {
    /// In ticks, for the sums of a set.
    pub(super) panel: Panel,
    /// In milliseconds.
    pub(super) quality: CallQuality,
}

impl MeasuredCall {
    /// The numbers of the call, as the API shows those of a conversation.
    pub(super) fn json(&self, happened: &ObservedCall) -> Option<Quality> {
        let started_at = Timestamp::from_millis(millis(&happened.conversation["started_at"])?);
        Some(Quality::new(&self.quality, false, started_at))
    }
}

/// Measures a call; none without a recording.
pub(super) fn measure(happened: &ObservedCall, script: &[ScriptedSound]) -> Option<MeasuredCall> {
    let timeline = timeline(happened, script)?;
    let panel = Panel::new(&reactions(&Segments::new(&timeline, TICK_MS)));
    Some(MeasuredCall { panel, quality: CallQuality::new(&timeline) })
}

/// When each side is heard: the agent's speech is found in the recording, and so are the edges of each sound of the
/// caller, whose kind is known from the script.
fn timeline(happened: &ObservedCall, script: &[ScriptedSound]) -> Option<Timeline> {
    let began = millis(&happened.conversation["started_at"])?;
    let audio = &happened.recorded.as_ref()?.audio;
    let (agent, length_ms) = speech(audio.rate, &audio.agent);
    let (heard, _) = speech(audio.rate, &audio.caller);
    let offset = happened.since_answer(began);
    let since_media = |ms: u64| clamp(i64::try_from(ms).unwrap_or(i64::MAX) - offset);
    let said = &happened.call.said;
    let caller = said.iter().zip(sound_kinds::of_record(script, said));
    // Keys are not heard.
    let caller = caller.filter(|(done, _)| done.what.as_deref() != Some("keys"));
    let caller = caller.map(|(done, (kind, continues))| {
        let Utterance { at_ms, until_ms, .. } = done;
        let scripted = Span::new(since_media(*at_ms), since_media(*until_ms));
        Sound { span: audible(scripted, &heard), kind, continues }
    });
    let calls = happened.events.iter().filter(|event| event["event"] == "function_call:triggered");
    let function_calls_ms = calls.filter_map(|event| Some(clamp(millis(&event["created_at"])? - began)));
    Some(Timeline {
        caller: caller.collect(),
        agent,
        function_calls_ms: function_calls_ms.collect(),
        length_ms,
    })
}

/// The speech in a channel, and the channel's length.
fn speech(rate: u32, samples: &[i16]) -> (Vec<Span>, u32) {
    let (mut detector, mut found) = (SpeechDetector::new(rate), vec![]);
    detector.push(samples, &mut found);
    let length = detector.length_ms();
    detector.finish(&mut found);
    (found, length)
}

/// The part of a scripted sound that is heard: its audio may begin and end with silence. All of it if it is too soft to be
/// found.
fn audible(scripted: Span, heard: &[Span]) -> Span {
    let overlaps = |span: &&Span| span.overlap_ms(scripted) > 0;
    let (first, last) = (heard.iter().find(overlaps), heard.iter().rev().find(overlaps));
    let (Some(first), Some(last)) = (first, last) else { return scripted };
    Span::new(first.from_ms.max(scripted.from_ms), last.to_ms.min(scripted.to_ms))
}

fn clamp(ms: i64) -> u32 {
    u32::try_from(ms.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;

    use serde_json::json;
    use switchboard_quality::Rate;

    use super::{
        super::observed_call::tests::{happened, says},
        *,
    };
    use crate::evidence::{RecordingFile, recording::Recording};

    /// The call of `happened` with a recording, which began 0.2 s after the answer: the agent is heard as it says, and stops
    /// 0.4 s after it is interrupted.
    pub(in super::super) fn recorded() -> ObservedCall {
        let mut happened = happened();
        happened.call.said.insert(1, says(5_700, 5_900, "Uh-huh."));
        let channel = |spans: &[(usize, usize)]| {
            let mut samples = vec![0_i16; 9 * 8_000];
            for (from, to) in spans {
                samples[from * 8..to * 8].fill(4_000);
            }
            samples
        };
        let audio = Recording {
            rate: 8_000,
            caller: channel(&[(2_900, 4_200), (5_500, 5_700), (6_700, 7_100)]),
            agent: channel(&[(100, 1_800), (5_000, 7_100)]),
        };
        happened.recorded = Some(RecordingFile { path: PathBuf::from("call.wav"), audio });
        happened
    }

    pub(in super::super) fn script() -> Vec<ScriptedSound> {
        let mut caller = json!({ "acts": [
            "When do you close?", { "after": "speech", "say": "Uh-huh.", "kind": "backchannel" }, "Stop.",
        ] });
        sound_kinds::take(&mut caller).unwrap()
    }

    #[test]
    fn a_call_is_measured_from_its_recording_and_script() {
        let MeasuredCall { panel, quality } = measure(&recorded(), &script()).unwrap();
        // The question's audio ends 0.1 s before the sandbox's record says.
        assert_eq!(quality.response_ms.unwrap().max, 800);
        assert_eq!(quality.yield_ms.unwrap().max, 400);
        assert_eq!(quality.backchannels, Rate { hits: 1, total: 1 });
        assert_eq!((quality.turns, quality.first_word_ms, quality.agent_interruptions), (2, Some(100), 0));
        assert_eq!(panel.yields, Rate { hits: 1, total: 1 });
    }

    #[test]
    fn a_call_without_a_recording_is_not_measured() {
        assert_eq!(measure(&happened(), &script()), None);
    }
}
