//! Random settings and inputs.

use proptest::prelude::*;

use crate::tests::*;

/// The texts of the two sides share no letter, so that no word can belong to the wrong side.
fn user_text() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "",
        " ",
        "uu",
        "uu vv",
        "uu vv ww and",
        "okay",
        "uh",
        "xx 5",
        "vv ww.",
        "uu vv ww",
    ])
    .prop_map(str::to_owned)
}

fn model_text() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "",
        "aa",
        " bb cc",
        ". ",
        "aa bb, cc dd ee. ",
        "Dd aa bb cc dd ee ff. Gg ",
        "**",
        "\n",
    ])
    .prop_map(str::to_owned)
}

/// Ids are small numbers, so that most of them exist.
pub(super) fn input() -> impl Strategy<Value = Input> {
    let generation = (0u32..6).prop_map(GenerationId);
    let clause = (0u32..12).prop_map(ClauseId);
    let id = || prop::sample::select(vec!["a", "b"]).prop_map(str::to_owned);
    let some_audio = prop_oneof![4 => audio(20_000), 1 => Just(GRAIN * u32::MAX)];
    let spoken_until = prop::option::of((0u64..20_000_000).prop_map(CallTime));
    prop_oneof![
        1 => Just(Input::MediaStarted),
        6 => (any::<bool>(), 0i16..4).prop_map(|(is_speech, louder)| {
            Input::Frame { is_speech, level_db: -22 + 4 * louder, agent_level_db: -18 }
        }),
        1 => prop::sample::select(vec!['1', '2', '#', 'x']).prop_map(Input::Dtmf),
        2 => Just(Input::SpeechStarted),
        4 => (user_text(), any::<bool>(), spoken_until)
            .prop_map(|(text, is_final, spoken_until)| Input::Transcript { text, is_final, spoken_until }),
        4 => Just(Input::TurnEnded),
        8 => (generation.clone(), model_text()).prop_map(|(generation, text)| Input::ModelText { generation, text }),
        2 => (generation.clone(), id()).prop_map(|(generation, id)| Input::ModelToolCall { generation, call: tool(&id) }),
        3 => generation.clone().prop_map(|generation| Input::ModelFinished { generation }),
        1 => generation.prop_map(|generation| Input::ModelFailed { generation }),
        12 => (clause.clone(), some_audio).prop_map(|(clause, audio)| Input::VoiceAudio { clause, audio }),
        3 => (clause.clone(), word_times()).prop_map(|(clause, words)| Input::VoiceWords { clause, words }),
        5 => (clause.clone(), audio(4000))
            .prop_map(|(clause, trailing_silence)| Input::VoiceFinished { clause, trailing_silence }),
        1 => clause.clone().prop_map(|clause| Input::VoiceDelayed { clause }),
        1 => clause.prop_map(|clause| Input::VoiceFailed { clause }),
        4 => (0u32..3, 0u32..6).prop_map(|(clears, number)| Input::Played { mark: Mark { clears, number } }),
        2 => id().prop_map(|call| Input::ToolResult { call, content: "zz".into() }),
        1 => Just(Input::TranscriberFailed),
        2 => Just(Input::TranscriptWithdrawn),
        1 => prop_oneof![
            9 => Just(Input::Wake),
            1 => Just(Input::HangUp),
            1 => Just(Input::Drain),
            1 => Just(Input::TranscriberLost),
        ],
        8 => Just(Input::Wake),
    ]
}

/// Times of words, some of them out of order.
fn word_times() -> impl Strategy<Value = Vec<PlacedWord>> {
    let word = (0u32..12, 0u64..2_000, 0u64..2_000).prop_map(|(text_end, starts, ends)| PlacedWord {
        text_end,
        starts: Duration::from_millis(starts),
        ends: Duration::from_millis(ends),
    });
    prop::collection::vec(word, 0..4)
}

fn utterance_kind() -> impl Strategy<Value = UtteranceKind> {
    prop::sample::select(vec![UtteranceKind::Speech, UtteranceKind::HoldPhrase, UtteranceKind::Apology])
}

/// Inputs, each with the time since the one before it, in µs.
pub(super) fn inputs() -> impl Strategy<Value = Vec<(u64, Input)>> {
    let after = prop_oneof![6 => 0u64..100_000, 3 => 0u64..3_000_000, 1 => Just(0), 1 => 0u64..1 << 40];
    prop::collection::vec((after, input()), 0..80)
}

pub(super) fn settings() -> impl Strategy<Value = EngineSettings> {
    let greeting = prop::option::of(model_text());
    let longest = prop::option::of((0u64..60).prop_map(Duration::from_secs));
    let first_words = (prop::option::weighted(0.2, model_text()), greeting);
    (first_words, longest, prop::option::of(takeover())).prop_map(|(first_words, max_duration, takeover)| {
        let (disclosure, greeting) = first_words;
        EngineSettings {
            disclosure,
            greeting,
            max_duration,
            language: "en".into(),
            takeover,
            weighs_sounds: true,
            ..EngineSettings::default()
        }
    })
}

/// Takeovers whose history may be out of order.
pub(super) fn takeover() -> impl Strategy<Value = Takeover> {
    let id = || prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned);
    let line = prop_oneof![
        3 => user_text().prop_map(HistoryItem::User),
        3 => (model_text(), utterance_kind()).prop_map(|(text, kind)| HistoryItem::Agent { text, kind }),
        1 => prop::collection::vec(id().prop_map(|id| tool(&id)), 0..3).prop_map(HistoryItem::ToolCalls),
        1 => id().prop_map(|call| HistoryItem::ToolResult { call, content: "zz".into() }),
    ];
    let elapsed = prop_oneof![9 => 0u64..100_000, 1 => any::<u64>()].prop_map(Duration::from_millis);
    (prop::collection::vec(line, 0..8), prop::option::of(model_text()), elapsed)
        .prop_map(|(history, unspoken, elapsed)| Takeover { history, unspoken, elapsed })
}
