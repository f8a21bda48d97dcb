//! Feeds the engine and carries out its outputs.

use std::{collections::VecDeque, mem, time::Duration};

use switchboard_dialogue::{
    AnsweredCalls, ClauseId, ConversationEvent, FunctionCall, Input, Output, ProviderRole,
};
use switchboard_model::{
    agents::LanguageModel,
    conversations::{EndedReason, JournalEntry},
    event_names::EventName,
    events::Recipients,
    function_rounds::{AnsweredCall, FunctionRound},
};

use super::{Call, CallOutcome};
use crate::{
    journal_entries,
    media_stream::MediaStream,
    tool_calls::error,
    tool_check::{self, BadCall},
};

impl Call<'_> {
    /// Feeds the input, if there is one.
    pub(super) fn feed_any(&mut self, input: Option<Input>) {
        if let Some(input) = input {
            self.feed(input);
        }
    }

    /// Feeds an input and carries out the outputs, until they cause no further inputs.
    pub(super) fn feed(&mut self, input: Input) {
        let (mut inputs, mut outputs) = (mem::take(&mut self.inputs), mem::take(&mut self.outputs));
        inputs.push_back(input);
        while let Some(input) = inputs.pop_front() {
            let returned = match &input {
                Input::ToolResult { call, .. } => Some(call.clone()),
                _ => None,
            };
            let now = self.now();
            self.timeline.record_input(now, &input);
            self.dialogue.on(now, input, &mut outputs);
            for output in outputs.drain(..) {
                self.timeline.record_output(now, &output);
                self.perform(output, &mut inputs);
            }
            if let Some(call) = returned {
                self.record_round(&call);
            }
        }
        (self.inputs, self.outputs) = (inputs, outputs);
    }

    fn perform(&mut self, output: Output, inputs: &mut VecDeque<Input>) {
        match output {
            Output::StartGeneration { generation } => {
                self.generations.start(generation, self.dialogue.history(), &mut self.usage);
            }
            Output::CancelGeneration { generation } => {
                self.generations.cancel_one(generation, &mut self.usage);
            }
            Output::Synthesize { clause, text } => self.speech.synthesize(clause, &text, inputs),
            Output::CancelSynthesis => self.speech.cancel(),
            Output::Send { clause, audio } => self.send_audio(clause, audio, inputs),
            Output::Rewind { clause, audio } => self.speech.rewind(clause, audio),
            Output::Mark(mark) => self.send(|stream| stream.mark(mark), inputs),
            Output::Clear => {
                let now = self.now();
                if let Some(recorder) = &mut self.recorder {
                    recorder.clear_agent(now);
                }
                self.send(MediaStream::clear, inputs);
            }
            Output::FinalizeTranscript => self.transcriber.finalize(),
            Output::ReplaceTranscriber => self.transcriber.replace(),
            Output::CallTool(call) => match self.check_tool(&call) {
                Ok(()) => inputs.extend(self.tools.start(call.id)),
                Err(bad) => {
                    inputs.push_back(Input::ToolResult { call: call.id, content: error(&bad.told) });
                }
            },
            // A call that is not executed is no event: webhooks and hooks would act on it.
            Output::Event(ConversationEvent::FunctionCall(call)) => match self.check_tool(&call) {
                Ok(()) => self.record_event(ConversationEvent::FunctionCall(call), inputs),
                Err(bad) => self.faults.record(ProviderRole::LanguageModel, bad.fault),
            },
            Output::Event(event) => self.record_event(event, inputs),
            Output::End { .. } if self.has_failed => {
                self.outcome = Some(CallOutcome::Ended(EndedReason::Unknown));
            }
            Output::End { reason } => self.outcome = Some(CallOutcome::Ended(reason)),
            Output::HandOver { unspoken } => self.outcome = Some(CallOutcome::HandedOver(unspoken)),
        }
    }

    /// Queues the calls of the response that made this one for the next worker, once all have returned.
    fn record_round(&self, call: &str) {
        let Some(AnsweredCalls { said, calls }) = self.dialogue.answered_calls(call) else { return };
        let calls = calls.into_iter().map(|(call, result)| {
            let FunctionCall { id, name, arguments, provider_state } = call;
            AnsweredCall { id: self.generations.on_wire(id), name, arguments, result, provider_state }
        });
        let at = self.began_at.after(Duration::from_micros(self.now().0));
        if let Some(round) = (FunctionRound { at, said, calls: calls.collect() }).bounded() {
            self.journal.record_round(round);
        }
    }

    fn check_tool(&self, call: &FunctionCall) -> Result<(), BadCall> {
        let (LanguageModel::Openai(settings) | LanguageModel::Google(settings)) = &self.agent.language_model;
        tool_check::check(&settings.tools, call)
    }

    fn send_audio(&mut self, clause: ClauseId, audio: Duration, inputs: &mut VecDeque<Input>) {
        let now = self.now();
        if mem::take(&mut self.awaits_greeting) {
            let greeting_ms = now.0 / 1_000;
            tracing::info!(greeting_ms, "greeting started");
            self.response_times.record_greeting(greeting_ms);
        }
        let audio = self.speech.take(clause, audio);
        if let Some(recorder) = &mut self.recorder {
            recorder.record_agent(now, self.converters.voice_to_recording.convert(audio));
        }
        let audio = self.converters.voice_to_stream.convert(audio);
        self.voice_activity.record_agent(now, audio);
        if !self.stream.media(audio) {
            inputs.push_back(stream_is_full());
        }
    }

    fn send(&mut self, message: impl FnOnce(&mut MediaStream) -> bool, inputs: &mut VecDeque<Input>) {
        if !message(&mut self.stream) {
            inputs.push_back(stream_is_full());
        }
    }

    fn record_event(&mut self, event: ConversationEvent, inputs: &mut VecDeque<Input>) {
        match &event {
            ConversationEvent::ProviderTimedOut(role) => {
                if *role == ProviderRole::Synthesizer {
                    self.speech.give_up_awaited();
                }
                self.faults.record_timeout(*role);
            }
            ConversationEvent::ModelFault(fault) => self.faults.record_model(*fault),
            ConversationEvent::MessageSent { latency: Some(latency), .. } => {
                self.response_times.record_response(*latency);
            }
            _ => {}
        }
        let Some(entry) = journal_entries::from_event(event, self.began_at, self.now()) else { return };
        let recipients = self.recipients(&entry);
        if recipients.hangs_up {
            inputs.push_back(Input::HangUp);
        }
        if !self.record(entry, recipients) {
            tracing::error!("call failed: nothing could be stored for minutes");
            self.has_failed = true;
            inputs.push_back(Input::HangUp);
        }
    }

    /// The webhooks and hooks that receive the entry's event.
    pub(super) fn recipients(&self, entry: &JournalEntry) -> Recipients {
        self.conversation.recipients(self.agent, entry.name, &entry.event_data())
    }

    /// Queues an entry, if its event is stored. False if the journal's queue is full.
    pub(super) fn record(&mut self, mut entry: JournalEntry, recipients: Recipients) -> bool {
        self.stream.send_event(entry.name, || entry.event_data());
        if !recipients.stores(entry.name) {
            return true;
        }
        self.conversation.record_failed_filters(recipients.failures.clone());
        entry.faults.splice(..0, self.faults.take());
        let mut usage = self.usage.clone();
        let transcribed = usage.of(self.transcribes.as_ref());
        transcribed.transcriber_ms += self.transcriber.audio_ms();
        // The provider's own report comes with the end of the call.
        transcribed.transcriber_estimated = true;
        if entry.name != EventName::FunctionCallTriggered {
            return self.journal.record(entry, recipients, &usage);
        }
        let is_received = !recipients.webhooks.is_empty();
        let (is_queued, stored) = self.journal.record_call(entry, recipients, &usage);
        self.tools.announce(is_received.then_some(stored));
        is_queued
    }
}

fn stream_is_full() -> Input {
    tracing::warn!("media stream lost: its messages were not read");
    Input::StreamLost
}
