//! The opening of a call: what the agent says before anybody has asked it anything.
//!
//! The disclosure comes first, whatever the caller does; then the greeting. In a call that is taken over before the
//! caller has heard all of the disclosure, it is said again, and then what the earlier worker owed. A reply that is
//! owed is a turn of its own behind the disclosure: the caller's wait for it begins there.

use crate::{
    agent_side::AgentSide,
    call_time::CallTime,
    handover::{Unspoken, can_be_said},
    output::Output,
    types::HistoryItem,
};

/// The texts of the opening that were not said yet.
#[derive(Debug, Default)]
pub(crate) struct Opening {
    disclosure: Option<String>,
    greeting: Option<String>,
    /// The caller's words that wait for a reply behind the disclosure: an earlier worker heard them.
    waiting: Option<String>,
    /// The agent is saying the disclosure, and nothing else was to be said behind it.
    is_reply_due: bool,
}

impl Opening {
    /// The opening of a call, and an earlier worker's history without the words that wait behind the disclosure.
    pub(crate) fn new(
        disclosure: Option<String>,
        greeting: Option<String>,
        mut history: Vec<HistoryItem>,
    ) -> (Self, Vec<HistoryItem>) {
        let disclosure = disclosure.filter(|text| can_be_said(text));
        let is_said =
            |item: &mut HistoryItem| matches!(item, HistoryItem::User(text) if !text.trim().is_empty());
        let last = history.pop_if(|item| disclosure.is_some() && is_said(item));
        let waiting = match last {
            Some(HistoryItem::User(words)) => Some(words),
            _ => None,
        };
        (Self { disclosure, greeting, waiting, is_reply_due: false }, history)
    }

    pub(crate) fn has_disclosure(&self) -> bool {
        self.disclosure.is_some()
    }

    pub(crate) fn take_greeting(&mut self) -> Option<String> {
        self.greeting.take()
    }

    /// The caller's words that an earlier worker heard, if they are not in the conversation yet. They are replied to now.
    pub(crate) fn take_waiting(&mut self) -> Option<String> {
        self.is_reply_due = false;
        self.waiting.take()
    }

    /// Says the disclosure, and in the same turn the greeting or an earlier worker's unspoken words.
    pub(crate) fn disclose(&mut self, at: CallTime, agent: &mut AgentSide, unspoken: &mut Unspoken) {
        let Some(disclosure) = self.disclosure.take() else { return };
        agent.disclose(at, &disclosure);
        let next = self.greeting.take();
        let is_greeting = next.is_some();
        let Some(text) = next.or_else(|| unspoken.take().map(|rest| rest.text)) else {
            self.is_reply_due = true;
            return;
        };
        if let Some(words) = self.take_waiting() {
            agent.user_said(words);
        }
        if is_greeting {
            agent.add_greeting(&text);
        } else {
            agent.add_speech(&text);
        }
    }

    /// The turn of the disclosure may be over: the agent replies to what an earlier worker left.
    pub(crate) fn reply_behind(&mut self, at: CallTime, agent: &mut AgentSide, out: &mut Vec<Output>) {
        if !std::mem::take(&mut self.is_reply_due) {
            return;
        }
        if let Some(words) = self.take_waiting() {
            agent.user_said(words);
        }
        agent.continue_reply(at, out);
    }
}
