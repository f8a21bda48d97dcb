//! The functions that a language model called, as a worker leaves them to the next one. They are no part of the API.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::time::Timestamp;

/// Maximum size of [`FunctionRound::said`]: enough to know its message again.
const MAX_SAID_BYTES: usize = 128;

/// The function calls of one response, all of which have returned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionRound {
    /// When the last one returned.
    #[serde(rename = "t")]
    pub at: Timestamp,
    /// The beginning of the words that the agent said before it called, if it did: their message may begin after the results.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// The calls, in the order of the response.
    #[serde(rename = "c")]
    pub calls: Vec<AnsweredCall>,
}

/// A function call with its result.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct AnsweredCall {
    /// Its id on the vendor's wire.
    #[serde(rename = "i")]
    pub id: String,
    /// The function.
    #[serde(rename = "n")]
    pub name: String,
    /// The arguments as the model wrote them.
    #[serde(rename = "a")]
    pub arguments: String,
    /// The result as the model was shown it.
    #[serde(rename = "r")]
    pub result: String,
    /// State that the vendor wants back with the call, such as Gemini's thought signature. Opaque.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub provider_state: Option<Value>,
}

impl FunctionRound {
    /// Maximum size in bytes. A response has at most 16 KiB of arguments and 32 KiB of state, so that at least 16 KiB are
    /// left for the results.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// The round as it is stored: long results are cut, each to the same share. None if the calls alone are too large.
    #[must_use]
    pub fn bounded(mut self) -> Option<Self> {
        let share = Self::MAX_BYTES.checked_sub(self.calls.iter().map(AnsweredCall::size).sum())?
            / self.calls.len().max(1);
        for AnsweredCall { result, .. } in &mut self.calls {
            result.truncate(result.floor_char_boundary(share));
        }
        if let Some(said) = &mut self.said {
            said.truncate(said.floor_char_boundary(MAX_SAID_BYTES));
        }
        Some(self)
    }

    /// Whether a message of the agent has the words that it said before it called.
    #[must_use]
    pub fn follows(&self, message: &str) -> bool {
        self.said.as_deref().is_some_and(|said| message.starts_with(said) || said.starts_with(message))
    }
}

impl AnsweredCall {
    /// Its size without the result.
    fn size(&self) -> usize {
        let state = self.provider_state.as_ref().map_or(0, |state| state.to_string().len());
        self.id.len() + self.name.len() + self.arguments.len() + state
    }
}

impl fmt::Debug for AnsweredCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnsweredCall").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn round(arguments: usize, results: &[usize]) -> FunctionRound {
        let call = |result: &usize| AnsweredCall {
            id: String::new(),
            name: String::new(),
            arguments: "a".repeat(arguments),
            result: "\u{e9}".repeat(*result),
            provider_state: None,
        };
        FunctionRound { at: Timestamp::from_millis(0), said: None, calls: results.iter().map(call).collect() }
    }

    #[test]
    fn a_round_follows_the_words_before_it_also_if_they_were_cut_off() {
        let said = format!("One moment, {}", "please ".repeat(50));
        let round = FunctionRound { said: Some(said.clone()), ..round(0, &[1]) }.bounded().unwrap();
        assert!(round.follows(&said) && round.follows("One moment,"));
        assert!(!round.follows("It is ready.") && !round.follows("One moment, it is ready."));
        assert!(!FunctionRound { said: None, ..round }.follows("One moment,"));
    }

    #[test]
    fn results_are_cut_to_what_the_calls_leave() {
        let whole = round(1_000, &[100, 200]);
        assert_eq!(whole.clone().bounded(), Some(whole));
        let cut = round(1_000, &[100, 60_000]).bounded().unwrap();
        let lengths: Vec<_> = cut.calls.iter().map(|call| call.result.len()).collect();
        assert_eq!(lengths, [200, FunctionRound::MAX_BYTES / 2 - 1_000]);
        assert_eq!(round(40 * 1024, &[1, 1]).bounded(), None);
        let mut signed = round(0, &[1]);
        signed.calls[0].provider_state = Some(json!({ "signature": "s".repeat(FunctionRound::MAX_BYTES) }));
        assert_eq!(signed.bounded(), None, "a signature is never cut");
    }
}
