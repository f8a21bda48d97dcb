//! One live transcription, without IO: it takes audio, control messages and recognised texts, and returns messages and
//! audio to recognise. It has no clock: all times are positions in the stream of audio.
//!
//! One piece of audio is recognised at a time, in the order of speech. A final is usually ready at the moment when the
//! silence is long enough: its recognition starts with the silence, and is discarded only if speech continues.

use std::{collections::VecDeque, time::Duration};

use serde_json::Value;

use super::{
    messages::{self, Final, Span},
    options::{Encoding, ListenOptions},
};
use crate::{
    audio::{self, FRAME_BYTES, Segment, Segmenter},
    clock,
};

/// Silence after which an utterance is recognised ahead of its end; pauses inside words are shorter.
const AHEAD: Duration = Duration::from_millis(120);

/// Speech between two interim results.
const INTERIM_EVERY: Duration = Duration::from_millis(700);

/// Silence that makes a piece final when endpointing is off.
const PIECE_SILENCE: Duration = Duration::from_secs(1);

/// Bytes of speech (20 s) at which a piece becomes final although speech continues.
const LONGEST_PIECE: usize = 20 * 8000;

/// Interval of empty finals in a stream without speech.
const EMPTY_FINAL_EVERY: Duration = Duration::from_secs(5);

/// Words of each final, where a turn has several.
const WORDS_OF_A_FINAL: usize = 2;

/// An action for the socket or the engine.
#[derive(Debug, PartialEq)]
pub(super) enum Output {
    /// Send this message.
    Send(Value),
    /// Recognise this mu-law audio, and pass the text to [`Session::decoded`].
    Decode(Vec<u8>),
    /// Close normally: everything was sent.
    Close,
}

/// The state of one live transcription.
pub(super) struct Session {
    options: ListenOptions,
    request_id: String,
    segmenter: Segmenter,
    /// The beginning of a sample, or of a pair of samples, that a message has cut in two.
    unread: Vec<u8>,
    /// Bytes of mu-law received.
    received: usize,
    /// End of the last final; finals cover the stream without gaps.
    covered: Duration,
    /// Pieces to recognise; the first one is being recognised if `decoding`.
    jobs: VecDeque<Job>,
    decoding: bool,
    /// The text of the utterance, recognised when its silence began.
    ahead: Option<String>,
    /// The beginning of the current utterance.
    start: Duration,
    /// The position of its last interim.
    interim_at: Duration,
    /// The end of the last word without an `UtteranceEnd` after it.
    last_word_end: Option<Duration>,
    closing: bool,
    /// A final with several words is sent in pieces.
    many_finals: bool,
}

/// A piece of speech to recognise.
struct Job {
    kind: Kind,
    /// Beginning and end of the speech.
    speech: Span,
    /// The position up to which the result covers the stream.
    until: Duration,
    input: Input,
}

/// The content of a job.
enum Input {
    /// Audio; empty while it is being recognised.
    Audio(Vec<u8>),
    /// A text that is known already; the job only waits for its turn.
    Text(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Interim,
    /// Becomes final unless speech continues.
    Ahead,
    Final(Final),
}

impl Session {
    pub(super) fn new(options: ListenOptions, request_id: String, many_finals: bool) -> Self {
        let segmenter = Segmenter::new(options.endpointing.unwrap_or(PIECE_SILENCE));
        Self {
            options,
            request_id,
            segmenter,
            unread: vec![],
            received: 0,
            covered: Duration::ZERO,
            jobs: VecDeque::new(),
            decoding: false,
            ahead: None,
            start: Duration::ZERO,
            interim_at: Duration::ZERO,
            last_word_end: None,
            closing: false,
            many_finals,
        }
    }

    /// Sets the encoding of a stream whose audio is still to come.
    pub(super) fn set_encoding(&mut self, encoding: Encoding) {
        self.options.encoding = encoding;
    }

    /// Takes audio as the client sent it.
    pub(super) fn audio(&mut self, bytes: &[u8], out: &mut Vec<Output>) {
        if self.closing {
            return;
        }
        let mulaw = match self.options.encoding {
            Encoding::Mulaw => bytes.to_vec(),
            Encoding::Linear16 => self.linear(bytes),
            Encoding::Wideband => self.wideband(bytes),
        };
        // Frame by frame, so that long messages lead to the same decisions as short ones.
        for piece in mulaw.chunks(FRAME_BYTES) {
            self.piece(piece, out);
        }
    }

    /// The client requests the final of everything it has sent.
    pub(super) fn finalize(&mut self, out: &mut Vec<Output>) {
        let finalized = Final { speech_final: true, from_finalize: true };
        self.flush(finalized);
        let pending = self.jobs.iter().any(|job| matches!(job.kind, Kind::Final(how) if how.from_finalize));
        let position = self.position();
        if !pending && position > self.covered {
            let speech = (position, position);
            let input = Input::Text(String::new());
            self.jobs.push_back(Job { kind: Kind::Final(finalized), speech, until: position, input });
        }
        self.advance(out);
    }

    /// The client sends no more audio: the finals, the metadata and the close follow.
    pub(super) fn close(&mut self, out: &mut Vec<Output>) {
        self.flush(Final { speech_final: true, from_finalize: false });
        self.closing = true;
        self.advance(out);
    }

    /// The text of the last [`Output::Decode`].
    pub(super) fn decoded(&mut self, text: String, out: &mut Vec<Output>) {
        self.decoding = false;
        let Some(job) = self.jobs.pop_front() else { return };
        match job.kind {
            Kind::Final(how) => self.send_final(&text, job.speech, job.until, how, out),
            Kind::Interim | Kind::Ahead => {
                if self.options.interim_results && !text.is_empty() {
                    out.push(Output::Send(self.results(&text, job.speech, job.until, None)));
                }
                if job.kind == Kind::Ahead {
                    self.ahead = Some(text);
                }
            }
        }
        self.advance(out);
    }

    /// Whether the text of the utterance is known ahead of its end.
    pub(super) fn is_ahead(&self) -> bool {
        self.ahead.is_some()
    }

    /// Duration of the audio received.
    pub(super) fn position(&self) -> Duration {
        audio::duration(self.received)
    }

    /// Converts linear samples to mu-law.
    fn linear(&mut self, bytes: &[u8]) -> Vec<u8> {
        let bytes = [&*self.unread, bytes].concat();
        let (samples, rest) = bytes.as_chunks();
        self.unread = rest.to_vec();
        samples.iter().map(|sample| audio::encode(i16::from_le_bytes(*sample))).collect()
    }

    /// Converts linear samples at 16 kHz to mu-law at 8 kHz: each two become their mean.
    fn wideband(&mut self, bytes: &[u8]) -> Vec<u8> {
        let bytes = [&*self.unread, bytes].concat();
        let (pairs, rest) = bytes.as_chunks();
        self.unread = rest.to_vec();
        let mean =
            |&[a, b, c, d]: &[u8; 4]| i16::midpoint(i16::from_le_bytes([a, b]), i16::from_le_bytes([c, d]));
        pairs.iter().map(|pair| audio::encode(mean(pair))).collect()
    }

    fn piece(&mut self, mulaw: &[u8], out: &mut Vec<Output>) {
        self.received += mulaw.len();
        for segment in self.segmenter.push(mulaw) {
            match segment {
                Segment::Started { at } => {
                    (self.start, self.interim_at) = (at, at);
                    if self.options.vad_events {
                        out.push(Output::Send(messages::speech_started(at)));
                    }
                }
                Segment::Ended { start, end, audio } => {
                    let how =
                        Final { speech_final: self.options.endpointing.is_some(), from_finalize: false };
                    self.ended((start, end), audio, how);
                }
            }
        }
        self.watch();
        self.advance(out);
    }

    /// Decides whether the current utterance is recognised now.
    fn watch(&mut self) {
        let position = self.position();
        let silent_for = self.segmenter.silent_for();
        if silent_for.is_zero() {
            self.ahead = None;
            // The running recognition cannot be stopped, but its text is only an interim now.
            self.jobs
                .iter_mut()
                .filter(|job| job.kind == Kind::Ahead)
                .for_each(|job| job.kind = Kind::Interim);
        }
        let Some(current) = self.segmenter.current() else { return };
        if current.len() >= LONGEST_PIECE {
            self.flush(Final::default());
            return;
        }
        let speech = (self.start, position.saturating_sub(silent_for));
        let known = self.ahead.is_some() || self.jobs.iter().any(|job| job.kind == Kind::Ahead);
        let kind = if silent_for >= AHEAD {
            (!known).then_some(Kind::Ahead)
        } else {
            // Not in a silence, where an interim would delay the final.
            let due = self.options.interim_results && silent_for.is_zero() && self.jobs.is_empty();
            (due && position >= self.interim_at + INTERIM_EVERY).then_some(Kind::Interim)
        };
        if let Some(kind) = kind {
            let input = Input::Audio(current.to_vec());
            self.interim_at = position;
            self.jobs.push_back(Job { kind, speech, until: position, input });
        }
    }

    fn flush(&mut self, how: Final) {
        if let Some(Segment::Ended { start, end, audio }) = self.segmenter.flush() {
            self.ended((start, end), audio, how);
        }
    }

    /// Ends an utterance, whose text is known, being recognised, or still to be recognised.
    fn ended(&mut self, speech: Span, audio: Vec<u8>, how: Final) {
        let (kind, until) = (Kind::Final(how), self.position());
        if let Some(job) = self.jobs.iter_mut().find(|job| job.kind == Kind::Ahead) {
            (job.kind, job.speech, job.until) = (kind, speech, until);
        } else {
            let input = self.ahead.take().map_or(Input::Audio(audio), Input::Text);
            self.jobs.push_back(Job { kind, speech, until, input });
        }
    }

    /// Starts the next recognition, and sends the results that are due.
    fn advance(&mut self, out: &mut Vec<Output>) {
        while !self.decoding
            && let Some(job) = self.jobs.front_mut()
        {
            match (job.kind, &mut job.input) {
                (Kind::Final(how), Input::Text(text)) => {
                    let (text, speech, until) = (std::mem::take(text), job.speech, job.until);
                    self.jobs.pop_front();
                    self.send_final(&text, speech, until, how, out);
                }
                (_, Input::Audio(audio)) => {
                    self.decoding = true;
                    out.push(Output::Decode(std::mem::take(audio)));
                }
                (_, Input::Text(_)) => drop(self.jobs.pop_front()),
            }
        }
        if !self.jobs.is_empty() {
            return;
        }
        let position = self.position();
        if self.closing {
            let created = clock::now().to_string();
            out.push(Output::Send(messages::metadata(&self.request_id, &created, position)));
            out.push(Output::Close);
        } else if self.segmenter.current().is_none() {
            if let (Some(gap), Some(end)) = (self.options.utterance_end, self.last_word_end)
                && position >= end + gap
            {
                self.last_word_end = None;
                out.push(Output::Send(messages::utterance_end(end)));
            }
            if position >= self.covered + EMPTY_FINAL_EVERY {
                self.send_final("", (position, position), position, Final::default(), out);
            }
        }
    }

    fn send_final(&mut self, text: &str, speech: Span, until: Duration, how: Final, out: &mut Vec<Output>) {
        let mut rest = (text, speech.0);
        if self.many_finals {
            rest = self.send_first_pieces(text, speech, out);
        }
        out.push(Output::Send(self.results(rest.0, (rest.1, speech.1), until, Some(how))));
        self.covered = until;
        if !text.is_empty() {
            self.last_word_end = Some(speech.1);
        }
    }

    /// Sends all words but the last [`WORDS_OF_A_FINAL`] in finals of so many words. Returns the rest and its beginning.
    fn send_first_pieces<'t>(
        &mut self,
        text: &'t str,
        (start, end): Span,
        out: &mut Vec<Output>,
    ) -> (&'t str, Duration) {
        let words = text.split(' ').count();
        let (mut rest, mut from, mut left) = (text, start, words);
        while left > WORDS_OF_A_FINAL
            && let Some((at, _)) = rest.match_indices(' ').nth(WORDS_OF_A_FINAL - 1)
        {
            left -= WORDS_OF_A_FINAL;
            let share = f64::from(u32::try_from(words - left).unwrap_or(1))
                / f64::from(u32::try_from(words).unwrap_or(1));
            let to = start + end.saturating_sub(start).mul_f64(share);
            out.push(Output::Send(self.results(&rest[..at], (from, to), to, Some(Final::default()))));
            self.covered = to;
            (rest, from) = (&rest[at + 1..], to);
        }
        (rest, from)
    }

    fn results(&self, text: &str, speech: Span, until: Duration, how: Option<Final>) -> Value {
        let words = messages::words(text, speech, self.options.punctuate);
        messages::results(&self.request_id, (self.covered, until), &words, how)
    }
}

#[cfg(test)]
mod tests;
