//! The opening of a call: what the agent says before anybody has asked it anything.
//!
//! The disclosure comes first, whatever the caller does; then the greeting. In a call that is taken over before the caller
//! has heard all of the disclosure, it is said again, and what the earlier worker owed follows it.

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
}

impl Opening {
    /// The opening of a call, and the history of an earlier worker without the words that wait behind the disclosure.
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
        (Self { disclosure, greeting, waiting }, history)
    }

    pub(crate) fn has_disclosure(&self) -> bool {
        self.disclosure.is_some()
    }

    pub(crate) fn take_greeting(&mut self) -> Option<String> {
        self.greeting.take()
    }

    /// Says the disclosure, and what there is to say behind it: the greeting, an earlier worker's unspoken words, or the
    /// reply to the words that wait.
    pub(crate) fn disclose(
        &mut self,
        at: CallTime,
        agent: &mut AgentSide,
        unspoken: &mut Unspoken,
        out: &mut Vec<Output>,
    ) {
        let Some(disclosure) = self.disclosure.take() else { return };
        agent.disclose(at, &disclosure);
        if let Some(words) = self.waiting.take() {
            agent.user_said(words);
        }
        if let Some(greeting) = self.greeting.take() {
            agent.add_greeting(&greeting);
        } else if let Some(unspoken) = unspoken.take() {
            agent.add_speech(&unspoken);
        } else {
            agent.continue_reply(at, out);
        }
    }
}
