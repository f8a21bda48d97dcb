//! The messages that a client of a live transcription gets; the engine answers when the test tells it to.

use serde_json::json;

use super::*;

/// The options that an agent requests.
const OPTIONS: ListenOptions = ListenOptions {
    encoding: Encoding::Mulaw,
    interim_results: true,
    endpointing: Some(Duration::from_millis(300)),
    utterance_end: Some(Duration::from_secs(1)),
    vad_events: true,
    punctuate: true,
};

/// A session whose engine answers only when asked to.
struct Call {
    session: Session,
    /// Pieces of audio given to the engine and not answered yet.
    decodes: Vec<usize>,
    messages: Vec<Value>,
    closed: bool,
}

impl Call {
    fn new(options: ListenOptions) -> Self {
        Self::with(options, false)
    }

    fn with(options: ListenOptions, many_finals: bool) -> Self {
        let session = Session::new(options, "r1".to_owned(), many_finals);
        Self { session, decodes: Vec::new(), messages: Vec::new(), closed: false }
    }

    fn act(&mut self, act: impl FnOnce(&mut Session, &mut Vec<Output>)) {
        let mut out = Vec::new();
        act(&mut self.session, &mut out);
        for output in out {
            match output {
                Output::Send(message) => self.messages.push(message),
                Output::Decode(audio) => self.decodes.push(audio.len()),
                Output::Close => self.closed = true,
            }
        }
        assert!(self.decodes.len() <= 1, "one piece is decoded at a time");
    }

    fn engine_answers(&mut self, text: &str) {
        assert_eq!(self.decodes.pop().map(|_| ()), Some(()), "the engine was asked");
        self.act(|session, out| session.decoded(text.to_owned(), out));
    }

    /// Feeds `frames` frames of sound or silence; the engine answers each request at once with `text`.
    fn hear(&mut self, byte: u8, frames: usize, text: &str) {
        for _ in 0..frames {
            self.act(|session, out| session.audio(&[byte; FRAME_BYTES], out));
            while !self.decodes.is_empty() {
                self.engine_answers(text);
            }
        }
    }

    /// Feeds `frames` frames while the engine has not answered.
    fn feed(&mut self, byte: u8, frames: usize) {
        for _ in 0..frames {
            self.act(|session, out| session.audio(&[byte; FRAME_BYTES], out));
        }
    }

    /// The messages so far, each by its kind.
    fn kinds(&mut self) -> Vec<String> {
        let kind = |message: Value| match message["type"].as_str() {
            Some("Results") => {
                let transcript = &message["channel"]["alternatives"][0]["transcript"];
                let flag = |name: &str| message[name] == json!(true);
                let how = match (flag("is_final"), flag("speech_final"), flag("from_finalize")) {
                    (false, false, false) => "interim",
                    (true, false, false) => "final",
                    (true, true, false) => "speech_final",
                    (true, true, true) => "from_finalize",
                    _ => "wrong",
                };
                format!("{how} {}", transcript.as_str().unwrap_or("none"))
            }
            kind => kind.unwrap_or("none").to_owned(),
        };
        std::mem::take(&mut self.messages).into_iter().map(kind).collect()
    }
}

const SOUND: u8 = 0x10;
const SILENT: u8 = audio::SILENCE;

#[test]
fn an_utterance_is_reported_from_its_start_to_its_end() {
    let mut call = Call::new(OPTIONS);
    call.hear(SILENT, 50, "");
    call.hear(SOUND, 100, "Hello there.");
    call.hear(SILENT, 49, "Hello there.");
    let speech_started = json!({"type": "SpeechStarted", "channel": [0], "timestamp": 1.0});
    assert_eq!(call.messages[0], speech_started);
    let last = call.messages.last().unwrap().clone();
    let kinds = call.kinds();
    let interims = kinds.iter().filter(|kind| *kind == "interim Hello there.").count();
    assert_eq!(interims, 3, "at 0.7 s, at 1.4 s and when the silence began: {kinds:?}");
    assert_eq!(kinds.last().unwrap(), "speech_final Hello there.");
    assert_eq!(kinds.len(), 5, "{kinds:?}");
    assert_eq!((&last["start"], &last["duration"]), (&json!(0.0), &json!(3.3)));
    let words = &last["channel"]["alternatives"][0]["words"];
    assert_eq!((&words[0]["start"], &words[1]["end"]), (&json!(1.0), &json!(3.0)));
    call.hear(SILENT, 1, "");
    let utterance_end = json!({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": 3.0});
    assert_eq!(call.messages, [utterance_end]);
}

#[test]
fn the_final_is_decoded_while_the_silence_lasts() {
    let mut call = Call::new(ListenOptions { interim_results: false, utterance_end: None, ..OPTIONS });
    call.feed(SOUND, 50);
    call.feed(SILENT, 5);
    assert!(call.decodes.is_empty());
    call.feed(SILENT, 1);
    assert_eq!(call.decodes, [56 * FRAME_BYTES], "asked after 120 ms of silence");
    call.engine_answers("Hello.");
    call.feed(SILENT, 8);
    assert_eq!(call.kinds(), ["SpeechStarted"], "but the silence may still be a pause");
    call.feed(SILENT, 1);
    assert_eq!(call.kinds(), ["speech_final Hello."]);
    assert!(call.decodes.is_empty());
}

#[test]
fn what_was_decoded_in_a_pause_is_not_the_end() {
    let mut call = Call::new(OPTIONS);
    call.hear(SOUND, 20, "");
    call.hear(SILENT, 10, "Hello");
    call.hear(SOUND, 20, "Hello");
    call.hear(SILENT, 15, "Hello there.");
    let kinds = call.kinds();
    let finals: Vec<&String> = kinds.iter().filter(|kind| kind.contains("final")).collect();
    assert_eq!(finals, ["speech_final Hello there."]);
}

#[test]
fn a_slow_engine_delays_messages_but_keeps_their_order() {
    let mut call = Call::new(OPTIONS);
    call.feed(SOUND, 40);
    assert_eq!(call.decodes.len(), 1, "an interim");
    call.feed(SILENT, 20);
    call.feed(SOUND, 20);
    call.feed(SILENT, 70);
    assert_eq!(call.kinds(), ["SpeechStarted", "SpeechStarted"]);
    call.engine_answers("Hello");
    call.engine_answers("Hello there.");
    assert_eq!(call.kinds(), ["interim Hello", "speech_final Hello there."]);
    call.engine_answers("Goodbye.");
    assert_eq!(call.kinds(), ["speech_final Goodbye.", "UtteranceEnd"]);
}

#[test]
fn finalize_flushes_what_is_buffered_and_says_so() {
    let mut call = Call::new(OPTIONS);
    call.act(Session::finalize);
    assert_eq!(call.kinds(), [""; 0], "nothing was sent, nothing is answered");
    call.feed(SOUND, 20);
    call.act(Session::finalize);
    call.engine_answers("Hello.");
    assert_eq!(call.kinds(), ["SpeechStarted", "from_finalize Hello."]);
    call.feed(SILENT, 10);
    call.act(Session::finalize);
    assert_eq!(call.kinds(), ["from_finalize "], "there was only silence");
}

#[test]
fn finalize_after_the_end_of_speech_is_answered_after_the_final() {
    let mut call = Call::new(OPTIONS);
    call.feed(SOUND, 20);
    call.feed(SILENT, 20);
    call.act(Session::finalize);
    call.engine_answers("Hello.");
    assert_eq!(call.kinds(), ["SpeechStarted", "speech_final Hello.", "from_finalize "]);
}

#[test]
fn a_closed_stream_ends_with_its_final_and_metadata() {
    let mut call = Call::new(OPTIONS);
    call.feed(SOUND, 20);
    call.act(Session::close);
    assert!(!call.closed);
    call.engine_answers("Hello.");
    assert!(call.closed);
    let metadata = call.messages.last().unwrap();
    assert_eq!((&metadata["duration"], &metadata["request_id"]), (&json!(0.4), &json!("r1")));
    assert_eq!(call.kinds(), ["SpeechStarted", "speech_final Hello.", "Metadata"]);
}

#[test]
fn only_what_was_asked_for_is_sent() {
    let options = ListenOptions { interim_results: false, vad_events: false, utterance_end: None, ..OPTIONS };
    let mut call = Call::new(options);
    call.hear(SOUND, 100, "Hello.");
    call.hear(SILENT, 150, "Hello.");
    assert_eq!(call.kinds(), ["speech_final Hello."]);
}

#[test]
fn without_endpointing_pieces_are_final_but_the_speech_is_not() {
    let mut call = Call::new(ListenOptions { endpointing: None, ..OPTIONS });
    call.hear(SOUND, 20, "Hello.");
    call.hear(SILENT, 60, "Hello.");
    assert_eq!(call.kinds(), ["SpeechStarted", "interim Hello.", "final Hello.", "UtteranceEnd"]);
}

#[test]
fn the_finals_tile_the_stream_whether_there_is_speech_or_not() {
    let mut call = Call::new(OPTIONS);
    call.hear(SILENT, 300, "");
    call.hear(SOUND, 1500, "On and on.");
    call.hear(SILENT, 300, "On and on.");
    let mut position = 0.0;
    let mut texts = Vec::new();
    for message in call.messages.iter().filter(|message| message["is_final"] == json!(true)) {
        assert!((message["start"].as_f64().unwrap() - position).abs() < 1e-9);
        position += message["duration"].as_f64().unwrap();
        texts.push(message["channel"]["alternatives"][0]["transcript"].as_str().unwrap());
    }
    assert_eq!(texts, ["", "On and on.", "On and on.", ""]);
}

#[test]
fn linear_samples_are_heard_like_mu_law_wherever_they_are_cut() {
    let linear: Vec<u8> = [audio::decode(SOUND); 4000].into_iter().flat_map(i16::to_le_bytes).collect();
    let mut call = Call::new(ListenOptions { encoding: Encoding::Linear16, ..OPTIONS });
    for piece in linear.chunks(333) {
        call.act(|session, out| session.audio(piece, out));
    }
    call.act(Session::close);
    call.engine_answers("Hello.");
    assert_eq!(call.messages.last().unwrap()["duration"], json!(0.5));
    assert_eq!(call.kinds(), ["SpeechStarted", "speech_final Hello.", "Metadata"]);
}

#[test]
fn a_turn_may_have_several_finals_that_tile_it() {
    let mut call = Call::with(ListenOptions { interim_results: false, vad_events: false, ..OPTIONS }, true);
    call.hear(SOUND, 50, "we close at six o'clock");
    call.hear(SILENT, 20, "we close at six o'clock");
    let finals: Vec<_> = call
        .messages
        .iter()
        .filter(|message| message["is_final"] == true)
        .map(|message| {
            let text = message["channel"]["alternatives"][0]["transcript"].as_str().unwrap().to_lowercase();
            (text, message["speech_final"] == true)
        })
        .collect();
    assert_eq!(finals.len(), 3, "{finals:?}");
    assert!(finals[0].0.contains("we close") && finals[1].0.contains("at six"), "{finals:?}");
    assert_eq!(finals.iter().map(|(_, is_end)| *is_end).collect::<Vec<_>>(), [false, false, true]);
    let mut covered = 0.0;
    for message in &call.messages {
        assert!((message["start"].as_f64().unwrap() - covered).abs() < 0.01, "{message}");
        covered += message["duration"].as_f64().unwrap();
    }
}
