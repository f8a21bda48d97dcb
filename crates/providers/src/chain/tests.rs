//! Chains of scripted providers, on paused time.

use std::future::ready;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use switchboard_model::ids::CredentialId;
use switchboard_model::time::Timestamp;
use tokio::time::sleep;

use super::{
    scripted::{Scripted, Step},
    *,
};
use crate::{
    audio::AudioFormat,
    language_model::{Conversation, Generation, GenerationEvent, LanguageModel},
    synthesizer::{CallContext, SpeechEvent, Synthesizer, VoiceSession},
    transcriber::Transcriber,
};

fn candidate<P: ?Sized>(provider: Arc<P>, service: Service, name: &str, place: usize) -> Candidate<P> {
    let id = ProviderId {
        service,
        provider: name.into(),
        model: String::new(),
        voice: String::new(),
        credential: None,
    };
    let stand_in = (place > 0).then(|| StandIn { service, provider: name.into(), model: "its-model".into() });
    Candidate { provider, id, stand_in }
}

fn model(providers: &[&Scripted], outages: &ProviderOutages) -> ChainedModel {
    let candidates = providers.iter().enumerate().map(|(place, one)| {
        candidate(Arc::new((*one).clone()) as Arc<dyn LanguageModel>, Service::LanguageModel, one.1, place)
    });
    ChainedModel::new(candidates.collect(), outages.clone())
}

fn voice(providers: &[&Scripted], outages: &ProviderOutages) -> Box<dyn VoiceSession> {
    let candidates = providers.iter().enumerate().map(|(place, one)| {
        candidate(Arc::new((*one).clone()) as Arc<dyn Synthesizer>, Service::Voice, one.1, place)
    });
    let context = CallContext { format: AudioFormat::TELEPHONE, language: "en".into() };
    ChainedVoice::new(candidates.collect(), outages.clone()).open(&context)
}

/// A response of the chain: the reasons that were reported, the first words, and the error at its end.
async fn generate(chain: &ChainedModel) -> (Vec<String>, Option<String>, Option<Error>) {
    let conversation = Conversation { prompt: Some("You are Ada."), messages: &[] };
    let mut events = chain.generate(&conversation);
    let (mut failed, mut words) = (vec![], None);
    while let Some(event) = events.next().await {
        match event {
            Ok(GenerationEvent::Fallback(fallback)) => failed.extend(fallback.failed),
            Ok(GenerationEvent::Text(text)) => words = words.or(Some(text)),
            Ok(_) => {}
            Err(error) => return (failed, words, Some(error)),
        }
    }
    (failed, words, None)
}

/// A clause of the chain: the reasons that were reported, and who spoke it.
async fn speak(session: &mut dyn VoiceSession) -> (Vec<String>, Option<Bytes>, Option<Error>) {
    let mut events = session.synthesize("Hello.");
    let (mut failed, mut audio) = (vec![], None);
    while let Some(event) = events.next().await {
        match event {
            Ok(SpeechEvent::Fallback(fallback)) => failed.extend(fallback.failed),
            Ok(SpeechEvent::Audio(bytes)) => audio = Some(bytes),
            Ok(_) => {}
            Err(error) => return (failed, audio, Some(error)),
        }
    }
    (failed, audio, None)
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_answered_by_the_next_model_in_the_same_turn() {
    let (first, second) =
        (Scripted::new("first", &[Step::Refuses]), Scripted::new("second", &[Step::Serves]));
    let chain = model(&[&first, &second], &ProviderOutages::default());
    let began = Instant::now();
    let (failed, words, error) = generate(&chain).await;
    assert_eq!(failed, ["first: refused the request (401)"], "without the vendor's explanation");
    assert_eq!((words.as_deref(), error.is_none(), began.elapsed()), (Some("second"), true, Duration::ZERO));
    // The rest of the call does not pay for the failing one, and does not hear of it again.
    for _ in 0..3 {
        assert_eq!(generate(&chain).await.0, [""; 0]);
    }
    assert_eq!((first.requests(), second.requests()), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn a_failing_server_is_asked_twice_before_the_next_one() {
    let (first, second) = (Scripted::new("first", &[Step::Fails]), Scripted::new("second", &[Step::Serves]));
    let (failed, words, _) = generate(&model(&[&first, &second], &ProviderOutages::default())).await;
    assert_eq!(failed, ["first: error (500), and was asked again", "first: error (500)"]);
    assert_eq!(words.as_deref(), Some("second"));
    assert_eq!(first.requests(), 2);
    let recovers = Scripted::new("first", &[Step::Fails, Step::Serves]);
    let (failed, words, _) = generate(&model(&[&recovers, &second], &ProviderOutages::default())).await;
    assert_eq!(failed, ["first: error (500), and was asked again"]);
    assert_eq!(words.as_deref(), Some("first"));
}

#[tokio::test(start_paused = true)]
async fn a_silent_provider_is_left_in_time() {
    let (first, second) =
        (Scripted::new("first", &[Step::IsSilent]), Scripted::new("second", &[Step::Serves]));
    let began = Instant::now();
    let (failed, words, _) = generate(&model(&[&first, &second], &ProviderOutages::default())).await;
    assert_eq!(failed, ["first: it sent nothing for 2500 ms"]);
    assert_eq!((words.as_deref(), began.elapsed()), (Some("second"), Duration::from_millis(2_500)));
    let (began, mut session) = (Instant::now(), voice(&[&first, &second], &ProviderOutages::default()));
    let (failed, audio, _) = speak(&mut *session).await;
    assert_eq!(failed, ["first: it sent nothing for 1500 ms"]);
    assert_eq!((audio.unwrap(), began.elapsed()), ("second".into(), Duration::from_millis(1_500)));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_repeated_after_the_first_word() {
    let (first, second) = (Scripted::new("first", &[Step::Breaks]), Scripted::new("second", &[Step::Serves]));
    let chain = model(&[&first, &second], &ProviderOutages::default());
    let (failed, words, error) = generate(&chain).await;
    assert_eq!((failed.len(), words.as_deref(), second.requests()), (0, Some("first"), 0));
    assert!(error.unwrap().is_retryable());
}

#[tokio::test(start_paused = true)]
async fn other_calls_skip_a_failing_provider_for_a_bounded_time() {
    let first = Scripted::new("first", &[Step::Refuses, Step::Serves]);
    let second = Scripted::new("second", &[Step::Serves]);
    let outages = ProviderOutages::default();
    generate(&model(&[&first, &second], &outages)).await;
    let (failed, words, _) = generate(&model(&[&first, &second], &outages)).await;
    assert_eq!(failed, ["first: refused the request (401), a short time ago"]);
    assert_eq!((words.as_deref(), first.requests()), (Some("second"), 1));
    sleep(Duration::from_mins(2)).await;
    let (failed, words, _) = generate(&model(&[&first, &second], &outages)).await;
    assert_eq!((failed.len(), words.as_deref()), (0, Some("first")));
}

/// It reports its usage, and then fails.
struct Counting;

impl LanguageModel for Counting {
    fn connect_ahead(&self) -> BoxFuture<'static, ()> {
        ready(()).boxed()
    }

    fn generate(&self, _conversation: &Conversation<'_>) -> Generation {
        let usage = GenerationEvent::Usage {
            input_tokens: 10,
            output_tokens: 0,
            cached_tokens: 0,
            cache_write_tokens: 0,
        };
        stream::iter([Ok(usage), Err(Error::rejected("first", "content_filter", "No."))]).boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn usage_without_a_word_does_not_count_as_serving() {
    let second = Scripted::new("second", &[Step::Serves]);
    let candidates = vec![
        candidate(Arc::new(Counting) as Arc<dyn LanguageModel>, Service::LanguageModel, "first", 0),
        candidate(Arc::new(second) as Arc<dyn LanguageModel>, Service::LanguageModel, "second", 1),
    ];
    let chain = ChainedModel::new(candidates, ProviderOutages::default());
    assert_eq!(generate(&chain).await.1.as_deref(), Some("second"));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_one_request_leaves_the_provider_to_other_calls() {
    let first = Scripted::new("first", &[Step::RefusesHere, Step::Serves]);
    let second = Scripted::new("second", &[Step::Serves]);
    let outages = ProviderOutages::default();
    let chain = model(&[&first, &second], &outages);
    let (failed, words, _) = generate(&chain).await;
    assert_eq!((failed, words.as_deref()), (vec!["first: refused the request (400)".into()], Some("second")));
    assert_eq!(generate(&chain).await.1.as_deref(), Some("second"), "the call itself does not ask it again");
    let (failed, words, _) = generate(&model(&[&first, &second], &outages)).await;
    assert_eq!((failed.len(), words.as_deref()), (0, Some("first")));
}

#[tokio::test(start_paused = true)]
async fn a_voice_that_is_missing_leaves_the_other_voices_of_its_vendor() {
    let spoken_by = async |first: &Scripted, voice: &str, outages: &ProviderOutages| {
        let second = Scripted::new("second", &[Step::Serves]);
        let candidates = [first, &second].into_iter().enumerate().map(|(place, one)| {
            let provider = Arc::new(one.clone()) as Arc<dyn Synthesizer>;
            let mut candidate = candidate(provider, Service::Voice, one.1, place);
            candidate.id.voice = voice.into();
            candidate
        });
        let context = CallContext { format: AudioFormat::TELEPHONE, language: "en".into() };
        let mut session = ChainedVoice::new(candidates.collect(), outages.clone()).open(&context);
        speak(&mut *session).await.1.unwrap()
    };
    for (step, others) in [(Step::HasNoVoice, "first"), (Step::Refuses, "second")] {
        let (first, outages) = (Scripted::new("first", &[step, Step::Serves]), ProviderOutages::default());
        assert_eq!(spoken_by(&first, "sarah", &outages).await, "second");
        assert_eq!(spoken_by(&first, "sarah", &outages).await, "second", "{step:?} is remembered");
        assert_eq!(spoken_by(&first, "adam", &outages).await, others, "{step:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_key_has_outages_of_its_own() {
    let first = Scripted::new("first", &[Step::Refuses, Step::Serves]);
    let second = Scripted::new("second", &[Step::Serves]);
    let outages = ProviderOutages::default();
    let with = |credential| {
        let candidates = [&first, &second].into_iter().enumerate().map(|(place, one)| {
            let provider = Arc::new(one.clone()) as Arc<dyn LanguageModel>;
            let mut candidate = candidate(provider, Service::LanguageModel, one.1, place);
            candidate.id.credential = credential;
            candidate
        });
        ChainedModel::new(candidates.collect(), outages.clone())
    };
    let own = CredentialId::new(Timestamp::from_millis(0), 1);
    let (failed, ..) = generate(&with(Some(own))).await;
    assert_eq!(failed, [format!("first with {own}: refused the request (401)")], "the key is named");
    assert_eq!(generate(&with(None)).await.1.as_deref(), Some("first"), "the deployment's key still serves");
}

#[tokio::test(start_paused = true)]
async fn the_last_ones_error_is_its_owners() {
    let (first, second) =
        (Scripted::new("first", &[Step::Refuses]), Scripted::new("second", &[Step::IsBusy]));
    let chain = model(&[&first, &second], &ProviderOutages::default());
    let (failed, words, error) = generate(&chain).await;
    assert_eq!((failed.len(), words), (1, None));
    assert_eq!(error.unwrap().retry_after(), Some(Duration::from_secs(20)));
    // A chain never gives up: the next turn asks them again.
    assert!(generate(&chain).await.2.is_some());
    assert!(first.requests() + second.requests() > 2);
}

#[tokio::test(start_paused = true)]
async fn the_first_one_serves_again_when_its_stand_in_fails() {
    let first = Scripted::new("first", &[Step::Refuses, Step::Serves]);
    let second = Scripted::new("second", &[Step::Serves, Step::Refuses]);
    let chain = model(&[&first, &second], &ProviderOutages::default());
    assert_eq!(generate(&chain).await.1.as_deref(), Some("second"));
    let (failed, words, _) = generate(&chain).await;
    assert_eq!((failed, words.as_deref()), (vec!["second: refused the request (401)".into()], Some("first")));
}

#[tokio::test(start_paused = true)]
async fn clauses_at_once_are_all_spoken_by_the_next_voice() {
    let (first, second) =
        (Scripted::new("first", &[Step::Refuses]), Scripted::new("second", &[Step::Serves]));
    let mut session = voice(&[&first, &second], &ProviderOutages::default());
    let clauses = ["One.", "Two.", "Three."].map(|clause| session.synthesize(clause));
    let mut reasons = 0;
    for mut clause in clauses {
        let mut characters = 0;
        while let Some(event) = clause.next().await {
            match event.unwrap() {
                SpeechEvent::Fallback(fallback) => {
                    assert_eq!(
                        fallback.stand_in.unwrap().provider,
                        "second",
                        "each clause says who speaks it"
                    );
                    reasons += fallback.failed.len();
                }
                SpeechEvent::Characters { count, .. } => characters += count,
                SpeechEvent::Audio(audio) => assert_eq!(audio, "second"),
                other => panic!("{other:?}"),
            }
        }
        assert!(characters > 0);
    }
    assert_eq!(reasons, 1, "it is noted once");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_turn_is_no_silence() {
    let (first, second) =
        (Scripted::new("first", &[Step::Waits(4)]), Scripted::new("second", &[Step::Serves]));
    let (failed, audio, _) = speak(&mut *voice(&[&first, &second], &ProviderOutages::default())).await;
    assert_eq!((failed.len(), audio.unwrap()), (0, "first".into()));
}

fn transcriber(providers: &[(&Scripted, bool)], outages: &ProviderOutages) -> ChainedTranscriber {
    let candidates = providers.iter().enumerate().map(|(place, (one, detects_turns))| {
        let provider = Arc::new((*one).clone()) as Arc<dyn Transcriber>;
        (candidate(provider, Service::Transcriber, one.1, place), *detects_turns)
    });
    ChainedTranscriber::new(candidates.collect(), outages.clone())
}

#[tokio::test(start_paused = true)]
async fn a_transcriber_that_refuses_is_replaced() {
    let (first, second) =
        (Scripted::new("first", &[Step::Refuses]), Scripted::new("second", &[Step::Serves]));
    let chain = transcriber(&[(&first, true), (&second, true)], &ProviderOutages::default());
    let (mut sink, session) = chain.connect().await.unwrap();
    let fallback = sink.take_fallback().unwrap();
    assert_eq!(fallback.stand_in.unwrap().provider, "second");
    assert_eq!(fallback.failed, ["first: refused the request (401)"]);
    assert_eq!(session.count().await, 1);
    let (mut sink, _) = chain.connect().await.unwrap();
    assert_eq!(sink.take_fallback().unwrap().failed, [""; 0]);
    assert_eq!(first.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_transcriber_that_does_not_accept_a_connection_is_replaced() {
    let (first, second) =
        (Scripted::new("first", &[Step::IsSilent]), Scripted::new("second", &[Step::Serves]));
    let chain = transcriber(&[(&first, true), (&second, true)], &ProviderOutages::default());
    let (mut sink, _) = chain.connect().await.unwrap();
    assert_eq!(sink.take_fallback().unwrap().failed, ["first: it sent nothing for 2000 ms"]);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_refused_later_goes_on_elsewhere() {
    let (first, second) = (Scripted::new("first", &[Step::Breaks]), Scripted::new("second", &[Step::Serves]));
    let chain = transcriber(&[(&first, true), (&second, true)], &ProviderOutages::default());
    let (_sink, mut session) = chain.connect().await.unwrap();
    let error = session.next().await.unwrap().unwrap_err();
    assert!(error.is_retryable(), "its owner connects again: {error}");
    let (mut sink, _) = chain.connect().await.unwrap();
    assert_eq!(sink.take_fallback().unwrap().stand_in.unwrap().provider, "second");
}

#[tokio::test(start_paused = true)]
async fn a_transcriber_without_a_word_is_replaced_in_this_call_only() {
    let (first, second) =
        (Scripted::new("first", &[Step::Waits(0)]), Scripted::new("second", &[Step::Serves]));
    let outages = ProviderOutages::default();
    let chain = transcriber(&[(&first, true), (&second, true)], &outages);
    for _ in 0..3 {
        let (mut sink, session) = chain.connect().await.unwrap();
        assert_eq!((sink.take_fallback().unwrap(), session.count().await), (StandInReport::default(), 0));
    }
    let (mut sink, _) = chain.connect().await.unwrap();
    assert_eq!(sink.take_fallback().unwrap().failed, ["first: it returned no word in 3 sessions"]);
    let other = transcriber(&[(&first, true), (&second, true)], &outages);
    assert_eq!(other.connect().await.unwrap().0.take_fallback(), Some(StandInReport::default()));
}

#[tokio::test(start_paused = true)]
async fn a_stand_in_that_detects_no_turns_ends_them_with_its_finals() {
    let (first, second) =
        (Scripted::new("first", &[Step::Refuses]), Scripted::new("second", &[Step::Serves]));
    for (detects, expected) in [(true, 1), (false, 2)] {
        let chain = transcriber(&[(&first, true), (&second, detects)], &ProviderOutages::default());
        let (_sink, session) = chain.connect().await.unwrap();
        assert_eq!(session.count().await, expected);
    }
    let chain = transcriber(&[(&first, false), (&second, false)], &ProviderOutages::default());
    assert_eq!(
        chain.connect().await.unwrap().1.count().await,
        1,
        "the engine knows that nobody detects them"
    );
}
