//! The tokens of an answer, counted by us for the case that the vendor does not.

use switchboard_dialogue::HistoryItem;
use switchboard_model::{agents::AgentConfig, costs::Usage};

/// Characters of a token, about, in English: the vendors' own rule of thumb.
const CHARACTERS_PER_TOKEN: u64 = 4;

/// One request to the model and its answer so far.
#[derive(Debug, Default)]
pub(crate) struct TokenEstimate {
    sent_characters: u64,
    received_characters: u64,
    reported: bool,
}

impl TokenEstimate {
    /// Of asking for the next line after these.
    pub(crate) fn of(agent: &AgentConfig, lines: &[HistoryItem]) -> Self {
        let characters = |line: &HistoryItem| match line {
            HistoryItem::User(text)
            | HistoryItem::Agent(text)
            | HistoryItem::ToolResult { content: text, .. } => count(text),
            HistoryItem::Note(note) => count(note),
            HistoryItem::ToolCalls(calls) => {
                calls.iter().map(|call| count(&call.name) + count(&call.arguments)).sum()
            }
        };
        let prompt = agent.prompt.as_deref().map_or(0, count);
        Self { sent_characters: prompt + lines.iter().map(characters).sum::<u64>(), ..Self::default() }
    }

    /// More of the answer came in.
    pub(crate) fn received(&mut self, text: &str) {
        self.received_characters += count(text);
    }

    /// Whether nothing of an answer came.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.received_characters == 0
    }

    /// The vendor counted; the estimate is not needed.
    pub(crate) fn reported(&mut self) {
        self.reported = true;
    }

    /// Adds the estimate to what was used, unless the vendor counted. It does not when we cancel, and
    /// cancelled work is paid for.
    pub(crate) fn count(self, usage: &mut Usage) {
        if !self.reported {
            usage.input_tokens += self.sent_characters.div_ceil(CHARACTERS_PER_TOKEN);
            usage.output_tokens += self.received_characters.div_ceil(CHARACTERS_PER_TOKEN);
            usage.tokens_estimated = true;
        }
    }
}

fn count(text: &str) -> u64 {
    text.chars().count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate() -> TokenEstimate {
        let agent = AgentConfig { prompt: Some("12345678".into()), ..AgentConfig::default() };
        let mut estimate =
            TokenEstimate::of(&agent, &[HistoryItem::User("1234".into()), HistoryItem::Agent("1".into())]);
        estimate.received("12345");
        estimate
    }

    #[test]
    fn a_cancelled_answer_is_estimated() {
        let mut usage = Usage::default();
        estimate().count(&mut usage);
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.tokens_estimated), (4, 2, true));
    }

    #[test]
    fn an_answer_the_vendor_counted_is_not() {
        let (mut usage, mut estimate) = (Usage::default(), estimate());
        estimate.reported();
        estimate.count(&mut usage);
        assert_eq!(usage, Usage::default());
    }
}
