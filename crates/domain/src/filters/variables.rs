//! What a filter is evaluated against.

use std::{borrow::Cow, cell::OnceCell};

use serde_json::Value as Json;

use super::{program::Variable, values::Value};
use crate::{
    events::{EventName, Scope},
    payload,
};

/// The variables of one event; what must be put together for one is, when it is first asked for.
pub struct Variables<'a> {
    scope: Scope<'a>,
    conversation: OnceCell<Json>,
}

impl<'a> Variables<'a> {
    /// Those of an event.
    #[must_use]
    pub fn of(scope: Scope<'a>) -> Self {
        Self { scope, conversation: OnceCell::new() }
    }

    pub(super) fn get(&self, variable: Variable) -> Value<'_> {
        let name = self.scope.name;
        match variable {
            Variable::Event => Value::String(Cow::Borrowed(name.as_str())),
            Variable::Conversation => self.conversation().into(),
            Variable::Metadata => (&self.conversation()["metadata"]).into(),
            // With every event of a call: the carrier says who answered some seconds after the answer.
            Variable::PhoneCall => (&self.conversation()["phone_call"]).into(),
            Variable::Speech => match name {
                EventName::SpeechStarted | EventName::SpeechEnded => self.scope.data.into(),
                _ => Value::Null,
            },
            Variable::Duration => (&self.scope.data["duration"]).into(),
            Variable::Message => (&self.scope.data["message"]).into(),
            Variable::Function => (&self.scope.data["function"]).into(),
        }
    }

    fn conversation(&self) -> &Json {
        let Scope { conversation, agent, name, .. } = self.scope;
        self.conversation.get_or_init(|| payload::conversation_then(name, conversation, agent))
    }
}
