//! The variables that a filter is evaluated against.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde_json::Value as Json;

use super::{program::Variable, values::Value};

/// The variables of one event, as the caller supplies them. An absent one is [`Json::Null`].
pub struct Variables<'a> {
    /// The event's name.
    pub event: &'a str,
    /// Whole seconds since the conversation started.
    pub duration: &'a Json,
    /// The speech that started or stopped, with the `role` of its speaker.
    pub speech: &'a Json,
    /// The message.
    pub message: &'a Json,
    /// The function that the model called.
    pub function: &'a Json,
    /// The conversation, with its `metadata` and its `phone_call`.
    pub conversation: Lazy<'a>,
}

/// A value that is built on first use.
pub struct Lazy<'a> {
    build: Box<dyn Fn() -> Json + 'a>,
    value: OnceCell<Json>,
}

impl<'a> Lazy<'a> {
    /// A value that `build` builds, once.
    #[must_use]
    pub fn new(build: impl Fn() -> Json + 'a) -> Self {
        Self { build: Box::new(build), value: OnceCell::new() }
    }

    fn get(&self) -> &Json {
        self.value.get_or_init(|| (self.build)())
    }
}

impl Variables<'_> {
    pub(super) fn get(&self, variable: Variable) -> Value<'_> {
        match variable {
            Variable::Event => Value::String(Cow::Borrowed(self.event)),
            Variable::Conversation => self.conversation.get().into(),
            Variable::Metadata => (&self.conversation.get()["metadata"]).into(),
            // Read from the conversation, not from the event: the carrier reports `answered_by` seconds after the
            // call was answered.
            Variable::PhoneCall => (&self.conversation.get()["phone_call"]).into(),
            Variable::Speech => self.speech.into(),
            Variable::Duration => self.duration.into(),
            Variable::Message => self.message.into(),
            Variable::Function => self.function.into(),
        }
    }
}
