//! With word times the stored words are, to the word, those that the caller heard to their end.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Silence behind the last word of a clause.
const TAIL_MS: u64 = 60;
/// Time until a clause's first audio.
const FIRST_AUDIO_MS: u64 = 90;

/// How a synthesizer with word times speaks, and how it is interrupted.
#[derive(Debug, Clone)]
struct Interruption {
    /// Length of each word of the reply and of the silence before it.
    words: Vec<(u64, u64)>,
    /// Length of the audio that is delivered at a time.
    chunk_ms: u64,
    /// How many times faster than speech the audio arrives.
    speed: u64,
    at_ms: u64,
    /// Whether a sound comes before the words.
    is_heard_first: bool,
}

fn interruption() -> impl Strategy<Value = Interruption> {
    let word = (20u64..500, prop_oneof![2 => Just(0u64), 1 => 0u64..150]);
    let words = prop::collection::vec(word, 1..40);
    (words, 40u64..900, 1u64..20, 0u64..9_000, any::<bool>()).prop_map(
        |(words, chunk_ms, speed, at_ms, is_heard_first)| Interruption {
            words,
            chunk_ms,
            speed,
            at_ms,
            is_heard_first,
        },
    )
}

/// A word of a clause: where it ends in the text and when it is audible.
type Timed = (u32, u64, u64);

impl Interruption {
    /// The word with this number; a sentence has five.
    fn word(index: usize) -> String {
        format!("word{index}{}", if index % 5 == 4 { "." } else { "" })
    }

    fn reply(&self) -> String {
        (0..self.words.len()).map(Self::word).collect::<Vec<_>>().join(" ")
    }

    /// The words of a clause, and the length of its audio.
    fn clause(&self, text: &str) -> (Vec<Timed>, u64) {
        let (mut words, mut at) = (vec![], 0);
        let mut place = 0;
        for word in text.split(' ') {
            let digits: String = word.chars().filter(char::is_ascii_digit).collect();
            let (length, gap) = self.words[digits.parse::<usize>().unwrap()];
            place += word.len();
            words.push((u32::try_from(place).unwrap(), at + gap, at + gap + length));
            at += gap + length;
            place += 1;
        }
        (words, at + TAIL_MS)
    }

    /// The synthesizer's inputs for a clause, each with its time: words before the audio in which they end.
    fn inputs(&self, clause: ClauseId, text: &str) -> Vec<(u64, Input)> {
        let (words, length) = self.clause(text);
        let (mut inputs, mut from) = (vec![], 0);
        while from < length {
            let until = length.min(from + self.chunk_ms);
            let at = FIRST_AUDIO_MS + from / self.speed;
            let ended = words.iter().filter(|(.., end)| (from + 1..=until).contains(end));
            let words: Vec<_> = ended
                .map(|&(text_end, starts, ends)| PlacedWord {
                    text_end,
                    starts: Duration::from_millis(starts),
                    ends: Duration::from_millis(ends),
                })
                .collect();
            if !words.is_empty() {
                inputs.push((at, Input::VoiceWords { clause, words }));
            }
            inputs.push((at, Input::VoiceAudio { clause, audio: Duration::from_millis(until - from) }));
            from = until;
        }
        let finished = Input::VoiceFinished { clause, trailing_silence: Duration::from_millis(TAIL_MS) };
        inputs.push((FIRST_AUDIO_MS + length / self.speed, finished));
        inputs
    }

    /// Lets time pass, and plays the synthesizer.
    fn advance(&self, call: &mut Call, by_ms: u64, requested: &mut usize) {
        for _ in 0..by_ms {
            while *requested < call.done.len() {
                if let (at, Output::Synthesize { clause, text }) = call.done[*requested].clone() {
                    let inputs = self.inputs(clause, &text).into_iter();
                    call.coming
                        .extend(inputs.map(|(after, input)| (at + Duration::from_millis(after), input)));
                }
                *requested += 1;
            }
            call.advance(1);
        }
    }

    /// The words that ended in the audio that was played before the first clear.
    fn heard(&self, call: &Call) -> Vec<String> {
        let (mut sent, mut plays_until) = (vec![], CallTime::default());
        let mut texts = BTreeMap::new();
        let mut unplayed = Duration::ZERO;
        for (at, output) in &call.done {
            match output {
                Output::Synthesize { clause, text } => drop(texts.insert(*clause, text.clone())),
                Output::Send { clause, audio } => {
                    sent.push((*clause, *audio));
                    plays_until = plays_until.max(*at) + *audio;
                }
                Output::Clear => {
                    unplayed = plays_until.since(*at);
                    break;
                }
                _ => {}
            }
        }
        let mut played = BTreeMap::<ClauseId, Duration>::new();
        for (clause, audio) in sent {
            *played.entry(clause).or_default() += audio;
        }
        for audio in played.values_mut().rev() {
            let cut = unplayed.min(*audio);
            *audio -= cut;
            unplayed -= cut;
        }
        let mut heard = vec![];
        for (clause, played) in played {
            let text = &texts[&clause];
            let (words, _) = self.clause(text);
            let ended = words.iter().filter(|(.., end)| u128::from(*end) <= played.as_millis());
            heard.extend(text.split(' ').map(str::to_owned).take(ended.count()));
        }
        heard
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn stored_words_are_those_that_ended_before_the_cut(interruption in interruption()) {
        let mut call = Call::asked("When do you close?");
        call.voice = None;
        let mut requested = call.done.len();
        call.answers(0, &interruption.reply());
        interruption.advance(&mut call, interruption.at_ms, &mut requested);
        if interruption.is_heard_first {
            for _ in 0..12 {
                interruption.advance(&mut call, 20, &mut requested);
                call.feed(Input::Frame { is_speech: true, level_db: -15, agent_level_db: -20 });
            }
        }
        call.transcribes_interim("wait a moment");
        let heard = interruption.heard(&call).join(" ");
        let stored = call.history().into_iter().find_map(|line| line.strip_prefix("agent: ").map(str::to_owned));
        prop_assert_eq!(stored.unwrap_or_default(), heard);
    }
}
