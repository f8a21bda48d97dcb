//! The audio that the carrier has queued to play to the person: a pure buffer in steps of 20 ms.
//!
//! Audio of any size is queued and played in real time. A mark returns when all audio before it has played, and at once
//! if nothing is queued, or when the queue is cleared.

use std::collections::VecDeque;

use crate::audio::{FRAME_BYTES, SILENCE};

/// Maximum of queued audio: ten minutes. Twilio documents no limit; this one bounds memory.
const QUEUE_LIMIT: usize = 10 * 60 * 8000;
/// Maximum number of pending marks.
const MARKS_LIMIT: usize = 10_000;

/// The queue is full.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Queued audio and pending marks. Positions count all bytes that were ever queued.
#[derive(Debug, Default)]
pub(super) struct Playback {
    queue: VecDeque<u8>,
    /// The end of the last byte taken from the queue.
    taken: u64,
    /// The end of the last byte that has finished playing: one frame behind `taken` while that frame plays.
    played: u64,
    /// Pending marks with the positions that they wait for, in order.
    marks: VecDeque<(u64, String)>,
}

impl Playback {
    /// Queues audio of any length.
    pub(super) fn queue(&mut self, mulaw: &[u8]) -> Result<(), Full> {
        if self.queue.len() + mulaw.len() > QUEUE_LIMIT {
            return Err(Full);
        }
        self.queue.extend(mulaw);
        Ok(())
    }

    /// Sets a mark after the queued audio. Returns it if there is nothing to wait for.
    pub(super) fn mark(&mut self, name: String) -> Result<Option<String>, Full> {
        let position = self.taken + self.queue.len() as u64;
        if position <= self.played {
            return Ok(Some(name));
        }
        if self.marks.len() >= MARKS_LIMIT {
            return Err(Full);
        }
        self.marks.push_back((position, name));
        Ok(None)
    }

    /// Drops the queue and returns every pending mark. The frame that is playing cannot be taken back.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = String> + '_ {
        self.queue.clear();
        self.played = self.taken;
        self.marks.drain(..).map(|(_, name)| name)
    }

    /// Whether all audio was taken.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Advances by 20 ms: fills the next frame, with silence where nothing is queued, and returns the marks that the end of
    /// the last frame has reached.
    pub(super) fn step(&mut self, frame: &mut [u8; FRAME_BYTES]) -> impl Iterator<Item = String> + '_ {
        self.played = self.taken;
        let length = self.queue.len().min(FRAME_BYTES);
        for (to, from) in frame.iter_mut().zip(self.queue.drain(..length)) {
            *to = from;
        }
        frame[length..].fill(SILENCE);
        self.taken += length as u64;
        let reached = self.marks.iter().take_while(|(position, _)| *position <= self.played).count();
        self.marks.drain(..reached).map(|(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn step(playback: &mut Playback) -> (Vec<u8>, Vec<String>) {
        let mut frame = [0; FRAME_BYTES];
        let marks = playback.step(&mut frame).collect();
        (frame.to_vec(), marks)
    }

    #[test]
    fn audio_plays_in_real_time_and_its_mark_returns_at_its_end() {
        let mut playback = Playback::default();
        playback.queue(&[1; 400]).unwrap();
        assert_eq!(playback.mark("a".to_owned()), Ok(None));
        assert_eq!(step(&mut playback), (vec![1; 160], vec![]));
        assert_eq!(step(&mut playback), (vec![1; 160], vec![]));
        let mut last = vec![1; 80];
        last.resize(160, SILENCE);
        assert_eq!(step(&mut playback), (last, vec![]), "its last bytes only begin to sound");
        assert_eq!(step(&mut playback), (vec![SILENCE; 160], vec!["a".to_owned()]));
    }

    #[test]
    fn a_mark_on_an_empty_queue_returns_at_once() {
        let mut playback = Playback::default();
        assert_eq!(playback.mark("a".to_owned()), Ok(Some("a".to_owned())));
        playback.queue(&[1; 160]).unwrap();
        step(&mut playback);
        assert_eq!(playback.mark("b".to_owned()), Ok(None), "the last frame still sounds");
        assert_eq!(step(&mut playback).1, ["b"]);
        assert_eq!(playback.mark("c".to_owned()), Ok(Some("c".to_owned())));
    }

    #[test]
    fn a_clear_returns_every_pending_mark_and_silences_the_line() {
        let mut playback = Playback::default();
        for name in ["a", "b"] {
            playback.queue(&[1; 1600]).unwrap();
            playback.mark(name.to_owned()).unwrap();
        }
        step(&mut playback);
        assert_eq!(playback.clear().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(step(&mut playback), (vec![SILENCE; 160], vec![]));
        assert_eq!(playback.mark("c".to_owned()), Ok(Some("c".to_owned())));
    }

    #[test]
    fn the_queue_is_limited_to_ten_minutes() {
        let mut playback = Playback::default();
        assert_eq!(playback.queue(&vec![1; QUEUE_LIMIT]), Ok(()));
        assert_eq!(playback.queue(&[1]), Err(Full));
    }

    #[derive(Debug, Clone)]
    enum Input {
        Audio(usize),
        Mark,
        Clear,
        Step,
    }

    fn input() -> impl Strategy<Value = Input> {
        prop_oneof![
            (0usize..1000).prop_map(Input::Audio),
            Just(Input::Mark),
            Just(Input::Clear),
            Just(Input::Step)
        ]
    }

    proptest! {
        #[test]
        fn every_mark_returns_once_in_order_and_never_before_its_audio(
            inputs in proptest::collection::vec(input(), 0..200)
        ) {
            let mut playback = Playback::default();
            // A model that counts whole frames: the steps that each mark still has to wait for.
            let (mut set, mut returned) = (0usize, Vec::new());
            for input in &inputs {
                match input {
                    Input::Audio(length) => playback.queue(&vec![1; *length]).unwrap(),
                    Input::Mark => {
                        let empty = playback.queue.is_empty();
                        let back = playback.mark(set.to_string()).unwrap();
                        prop_assert!(back.is_none() || empty, "audio was queued before mark {}", set);
                        returned.extend(back);
                        set += 1;
                    }
                    Input::Clear => {
                        returned.extend(playback.clear());
                        prop_assert_eq!(returned.len(), set, "a clear leaves no mark pending");
                    }
                    Input::Step => returned.extend(step(&mut playback).1),
                }
            }
            while !playback.queue.is_empty() {
                returned.extend(step(&mut playback).1);
            }
            returned.extend(step(&mut playback).1);
            let expected: Vec<_> = (0..set).map(|n| n.to_string()).collect();
            prop_assert_eq!(returned, expected);
        }
    }
}
