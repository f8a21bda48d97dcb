//! Estimates the tokens of a generation, for vendors and cancelled generations that report no usage.

use switchboard_dialogue::HistoryItem;
use switchboard_model::{agents::AgentConfig, costs::Usage};

/// Characters per token of English text: the vendors' own rule of thumb.
const CHARACTERS_PER_TOKEN: u64 = 4;

/// The size of one generation, request and response.
#[derive(Debug, Default)]
pub(crate) struct TokenEstimate {
    sent_characters: u64,
    received_characters: u64,
    reported: bool,
}

impl TokenEstimate {
    /// For a generation that continues `history`.
    pub(crate) fn new(agent: &AgentConfig, history: &[HistoryItem]) -> Self {
        let characters = |line: &HistoryItem| match line {
            HistoryItem::User(text)
            | HistoryItem::Agent { text, .. }
            | HistoryItem::ToolResult { content: text, .. } => count(text),
            HistoryItem::Note(note) => count(note),
            HistoryItem::ToolCalls(calls) => {
                calls.iter().map(|call| count(&call.name) + count(&call.arguments)).sum()
            }
        };
        let prompt = agent.prompt.as_deref().map_or(0, count);
        Self { sent_characters: prompt + history.iter().map(characters).sum::<u64>(), ..Self::default() }
    }

    /// Adds text that the model generated.
    pub(crate) fn record_text(&mut self, text: &str) {
        self.received_characters += count(text);
    }

    /// Whether the model has generated nothing so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.received_characters == 0
    }

    /// The vendor has reported the usage, so the estimate is not needed.
    pub(crate) fn mark_reported(&mut self) {
        self.reported = true;
    }

    /// The request is made again, of the same vendor or another one: its usage is another one, too.
    pub(crate) fn mark_repeated(&mut self) {
        self.reported = false;
    }

    /// Adds the estimate to `usage`, unless the vendor reported it. Vendors report nothing for a generation that we
    /// cancel, and charge for it.
    pub(crate) fn add_to(self, usage: &mut Usage) {
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
        let history = [HistoryItem::User("1234".into()), HistoryItem::agent("1")];
        let mut estimate = TokenEstimate::new(&agent, &history);
        estimate.record_text("12345");
        estimate
    }

    #[test]
    fn a_cancelled_generation_is_estimated() {
        let mut usage = Usage::default();
        estimate().add_to(&mut usage);
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.tokens_estimated), (4, 2, true));
    }

    #[test]
    fn a_generation_that_was_repeated_after_its_usage_is_estimated() {
        let (mut usage, mut estimate) = (Usage::default(), estimate());
        estimate.mark_reported();
        estimate.mark_repeated();
        estimate.add_to(&mut usage);
        assert!(usage.tokens_estimated);
    }

    #[test]
    fn a_reported_generation_is_not_estimated() {
        let (mut usage, mut estimate) = (Usage::default(), estimate());
        estimate.mark_reported();
        estimate.add_to(&mut usage);
        assert_eq!(usage, Usage::default());
    }
}
