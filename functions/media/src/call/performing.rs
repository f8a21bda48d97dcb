//! Does what the engine decides.

use std::{collections::VecDeque, mem};

use switchboard_dialogue::{ClauseId, ConversationEvent, Input, Output, ProviderRole};
use switchboard_model::{
    conversations::{EndedReason, JournalEntry},
    events::{self, EventContext, EventName, Recipients},
};

use super::{Call, CallOutcome};
use crate::{journal_entries, media_stream::MediaStream};

impl Call<'_> {
    /// Tells the engine what happened and does what it says, until nothing more follows.
    pub(super) fn feed(&mut self, input: Input) {
        let (mut inputs, mut outputs) = (mem::take(&mut self.inputs), mem::take(&mut self.outputs));
        inputs.push_back(input);
        while let Some(input) = inputs.pop_front() {
            self.dialogue.on(self.now(), input, &mut outputs);
            for output in outputs.drain(..) {
                self.perform(output, &mut inputs);
            }
        }
        (self.inputs, self.outputs) = (inputs, outputs);
    }

    fn perform(&mut self, output: Output, inputs: &mut VecDeque<Input>) {
        match output {
            Output::StartGeneration { generation } => self.ask(generation),
            Output::CancelGeneration { generation } => {
                if self.asking.as_ref().is_some_and(|asking| asking.generation == generation) {
                    self.stop_asking();
                }
            }
            Output::Synthesize { clause, text } => self.speak(clause, &text, inputs),
            Output::CancelSynthesis => {
                self.speaking.clear();
                self.at_voice.clear();
                self.outgoing.clear();
            }
            Output::Send { clause, bytes } => self.send(clause, bytes, inputs),
            Output::Rewind { clause, bytes } => self.outgoing.take_back(clause, bytes),
            Output::Mark(mark) => self.tell_carrier(|carrier| carrier.mark(mark), inputs),
            Output::Clear => {
                let now = self.now();
                if let Some(recorder) = &mut self.recorder {
                    recorder.cleared(now);
                }
                self.tell_carrier(MediaStream::clear, inputs);
            }
            Output::ReplaceTranscriber => self.transcriber.replace(),
            Output::CallTool(call) => inputs.extend(self.tools.call(call.id)),
            Output::Event(happening) => self.log(happening, inputs),
            Output::End { .. } if self.failed => self.over = Some(CallOutcome::Ended(EndedReason::Unknown)),
            Output::End { reason } => self.over = Some(CallOutcome::Ended(reason)),
            Output::HandOver { unspoken } => self.over = Some(CallOutcome::HandedOver(unspoken)),
        }
    }

    fn send(&mut self, clause: ClauseId, bytes: u32, inputs: &mut VecDeque<Input>) {
        let now = self.now();
        if mem::take(&mut self.greets) {
            let greeting_ms = now.0 / 1_000;
            tracing::info!(conversation = %self.address.conversation, greeting_ms, "the greeting begins");
            self.response_times.greeted(greeting_ms);
        }
        let audio = self.outgoing.take(clause, bytes);
        if let Some(recorder) = &mut self.recorder {
            recorder.sent(now, audio);
        }
        self.voice_activity.sent(now, audio);
        if !self.carrier.media(audio) {
            inputs.push_back(self.carrier_is_full());
        }
    }

    fn tell_carrier(&mut self, message: impl FnOnce(&mut MediaStream) -> bool, inputs: &mut VecDeque<Input>) {
        if !message(&mut self.carrier) {
            inputs.push_back(self.carrier_is_full());
        }
    }

    fn carrier_is_full(&self) -> Input {
        tracing::warn!(conversation = %self.address.conversation, "the carrier takes no more audio");
        Input::StreamLost
    }

    fn log(&mut self, happening: ConversationEvent, inputs: &mut VecDeque<Input>) {
        match &happening {
            ConversationEvent::ProviderTimedOut(part) => {
                if *part == ProviderRole::Synthesizer {
                    // Clauses are waited for one after the other; what becomes of this one does not matter.
                    self.at_voice.pop_first();
                }
                self.faults.late(*part);
            }
            ConversationEvent::MessageSent { latency: Some(latency), .. } => {
                self.response_times.answered(*latency)
            }
            _ => {}
        }
        let Some(entry) = journal_entries::entry(happening, self.began_at, self.now()) else { return };
        let matches = self.matching(&entry);
        if matches.hangs_up {
            inputs.push_back(Input::HangUp);
        }
        if !self.note(entry, matches) {
            tracing::error!(conversation = %self.address.conversation, "nothing could be stored for minutes");
            self.failed = true;
            inputs.push_back(Input::HangUp);
        }
    }

    pub(super) fn matching(&self, entry: &JournalEntry) -> Recipients {
        let (conversation, agent, name) = (&self.conversation, self.agent, entry.name);
        events::recipients(&EventContext { conversation, agent, name, data: &entry.event_data() })
    }

    /// Has something stored; false when there is no room left for it.
    pub(super) fn note(&mut self, mut entry: JournalEntry, matches: Recipients) -> bool {
        if !matches.stores(entry.name) {
            return true;
        }
        self.conversation.record_failed_filters(matches.failures);
        entry.faults = self.faults.take();
        let mut usage = self.usage.clone();
        usage.transcriber_ms += self.transcriber.audio_ms();
        if entry.name != EventName::FunctionCallTriggered {
            return self.journal.note(entry, &usage);
        }
        let (noted, stored) = self.journal.note_call(entry, &usage);
        self.tools.announce((!matches.webhooks.is_empty()).then_some(stored));
        noted
    }
}
