//! The scripted language model: its responses to a conversation, for every vendor's server.
//!
//! It reads only the messages of the request, so an error of recognition changes its response.
//!
//! ```json
//! {
//!   "default": "I'm sorry, could you say that again?",
//!   "when_silent": "Are you still there?",
//!   "rules": [{
//!     "about": "ignored",
//!     "words": ["stock", "how many"],
//!     "turn": 2,
//!     "after_ms": 1500,
//!     "say": "Let me look.",
//!     "calls": [{"name": "count", "arguments": {"what": "cakes"}}],
//!     "then": "We have {result} of them."
//!   }]
//! }
//! ```
//!
//! The first rule with a word, or several words in a row, of the last user message applies; with `turn`, only if that is the
//! user message with this number, from 1. After `after_ms` it says its
//! text and makes those of its tool calls that the request offers (`call` is for a single one). After the results of
//! the tools it says `then`, where `{result}` stands for the last result; without `then` it says nothing. If no rule
//! applies it says `default`. `when_silent`, if set, is the response to a request that ends with a system message.
//! Every member but `words` is optional.

use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

const SCRIPT: &str = include_str!("../scripts/model.json");

/// A conversation as the script reads it.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    /// The messages, oldest first; a prompt is the first one, if it is among them.
    pub(crate) messages: Vec<Said>,
    /// The tools that may be called.
    pub(crate) tools: Vec<String>,
}

/// A message.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) role: Role,
    pub(crate) text: String,
}

/// The side that a message is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    User,
    Agent,
    /// The result of a tool.
    Result,
    /// An instruction from neither side.
    Note,
}

/// The script.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Script {
    #[serde(default, rename = "about")]
    _about: IgnoredAny,
    #[serde(default = "not_recognised")]
    default: String,
    when_silent: Option<String>,
    #[serde(default)]
    rules: Vec<Rule>,
}

pub(crate) fn not_recognised() -> String {
    "I'm sorry, could you say that again?".to_owned()
}

/// A response to every message that contains one of these words.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default, rename = "about")]
    _about: IgnoredAny,
    words: Vec<String>,
    turn: Option<usize>,
    #[serde(default)]
    after_ms: u64,
    #[serde(default)]
    say: String,
    call: Option<ScriptedCall>,
    #[serde(default)]
    calls: Vec<ScriptedCall>,
    then: Option<String>,
}

/// A tool call.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScriptedCall {
    pub(crate) name: String,
    pub(crate) arguments: Value,
}

/// A response of the model.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Reply {
    /// Time until the first token.
    pub(crate) after: Duration,
    pub(crate) text: String,
    /// Parallel tool calls.
    pub(crate) calls: Vec<ScriptedCall>,
}

impl Script {
    /// The built-in script.
    pub(crate) fn load() -> anyhow::Result<Self> {
        serde_json::from_str(SCRIPT).context("reading scripts/model.json")
    }

    /// The response to a conversation: to its last user message, to the results of tools, or to a system message.
    pub(crate) fn reply(&self, conversation: &Conversation) -> Reply {
        let messages = &conversation.messages;
        let last_said = messages.iter().rposition(|message| message.role == Role::User);
        let said = words(last_said.map_or("", |at| messages[at].text.as_str()));
        let turn = messages.iter().filter(|message| message.role == Role::User).count();
        let rule = self.rules.iter().find(|rule| {
            rule.turn.is_none_or(|wanted| wanted == turn)
                && rule.words.iter().any(|word| said.contains(&words(word)))
        });
        // The first message is the prompt.
        let noted = messages.len() > 1 && messages.last().is_some_and(|message| message.role == Role::Note);
        if noted && let Some(text) = &self.when_silent {
            return Reply::say(text.clone());
        }
        let result = messages.iter().rposition(|message| message.role == Role::Result);
        if !noted
            && result > last_said
            && let Some(result) = result
        {
            let then = rule.and_then(|rule| rule.then.as_ref());
            return Reply::say(
                then.map_or_else(String::new, |then| then.replace("{result}", &messages[result].text)),
            );
        }
        let Some(rule) = rule else { return Reply::say(self.default.clone()) };
        let offered = |call: &&ScriptedCall| conversation.tools.contains(&call.name);
        Reply {
            after: Duration::from_millis(rule.after_ms),
            text: rule.say.clone(),
            calls: rule.call.iter().chain(&rule.calls).filter(offered).cloned().collect(),
        }
    }
}

/// The words of a text in lower case, each between two spaces. A text contains another's words in a row if the one
/// string contains the other.
fn words(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(" ".to_owned(), |all, word| all + word + " ")
}

impl Reply {
    pub(crate) fn say(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}

/// Estimates the number of tokens: four characters each, at least one.
pub(crate) fn tokens(text: &str) -> usize {
    text.chars().count().div_ceil(4).max(1)
}
