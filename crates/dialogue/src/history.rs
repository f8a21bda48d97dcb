//! What was said and called so far, as the model is told it.

use super::{HistoryItem, ToolCall, phrases::Phrases};

/// Stands for a result that is not there yet: a model refuses a call without one.
pub(super) const UNANSWERED: &str = "no result yet: the conversation went on before the function answered";

/// One utterance of the agent; numbers are never used again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct UtteranceId(pub(super) u32);

/// Functions called together; numbers are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batch(usize);

#[derive(Default)]
pub(super) struct History {
    entries: Vec<Entry>,
    batches: usize,
}

enum Entry {
    User(String),
    /// Until the utterance is over, all of it; then what was heard. None: another worker's.
    Agent(Option<UtteranceId>, String),
    /// What the agent said for want of an answer.
    Filler(Option<UtteranceId>, String),
    Tools(Batch, Vec<(ToolCall, Option<String>)>),
    Note(&'static str),
}

impl History {
    /// What was said and called before, made legal: every call gets a result, every result has a call.
    /// `phrases` is what the agent says of its own accord.
    pub(super) fn resumed(lines: Vec<HistoryItem>, phrases: &Phrases) -> Self {
        let mut history = Self::default();
        for line in lines {
            match line {
                HistoryItem::User(text) if !text.trim().is_empty() => history.entries.push(Entry::User(text)),
                HistoryItem::Agent(text) if phrases.is_moment(text.trim()) => {
                    history.entries.push(Entry::Filler(None, text));
                }
                HistoryItem::Agent(text) if !text.trim().is_empty() => {
                    history.entries.push(Entry::Agent(None, text));
                }
                HistoryItem::ToolCalls(calls) if !calls.is_empty() => {
                    history.called(&calls);
                }
                HistoryItem::ToolResult { call, content } => {
                    let mut calls = history.tools_mut().rev().flatten();
                    if let Some((_, result)) =
                        calls.find(|(known, result)| known.id == call && result.is_none())
                    {
                        *result = Some(content);
                    }
                }
                HistoryItem::User(_)
                | HistoryItem::Agent(_)
                | HistoryItem::Note(_)
                | HistoryItem::ToolCalls(_) => {}
            }
        }
        // Nobody works on these any more, and a new call may have the same id.
        for (_, result) in history.tools_mut().flatten() {
            result.get_or_insert_with(|| UNANSWERED.to_owned());
        }
        history
    }

    fn tools_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Vec<(ToolCall, Option<String>)>> {
        self.entries.iter_mut().filter_map(|entry| match entry {
            Entry::Tools(_, calls) => Some(calls),
            Entry::User(_) | Entry::Agent(..) | Entry::Filler(..) | Entry::Note(_) => None,
        })
    }

    /// What was said or done last, for want of an answer.
    fn last(&self) -> Option<&Entry> {
        self.entries.iter().rfind(|entry| !matches!(entry, Entry::Filler(..)))
    }

    /// Whether functions were called last, so that the model is to go on.
    pub(super) fn ends_with_tools(&self) -> bool {
        matches!(self.last(), Some(Entry::Tools(..)))
    }

    /// Whether the user spoke last.
    pub(super) fn ends_with_user(&self) -> bool {
        matches!(self.last(), Some(Entry::User(_)))
    }

    /// Whether the agent was heard since the user spoke.
    pub(super) fn agent_has_answered(&self) -> bool {
        let text = self.entries.iter().rfind(|entry| !matches!(entry, Entry::Tools(..) | Entry::Filler(..)));
        matches!(text, Some(Entry::Agent(..)))
    }

    /// Something the model should know now. It is told once, however often it is noted in a row.
    pub(super) fn note(&mut self, note: &'static str) {
        if !matches!(self.last(), Some(Entry::Note(_))) {
            self.entries.push(Entry::Note(note));
        }
    }

    pub(super) fn user_said(&mut self, text: String) {
        self.entries.push(Entry::User(text));
    }

    /// Takes back words at the end of what the user said last, unless something followed it.
    pub(super) fn user_did_not_say(&mut self, words: &str) {
        let last = self.entries.iter().rposition(|entry| !matches!(entry, Entry::Filler(..)));
        let Some((index, Entry::User(text))) = last.map(|index| (index, &mut self.entries[index])) else {
            return;
        };
        let Some(before) = text.strip_suffix(words) else { return };
        text.truncate(before.trim_end().len());
        if text.is_empty() {
            self.entries.remove(index);
        }
    }

    /// The agent is going to say one more clause.
    pub(super) fn agent_says(&mut self, utterance: UtteranceId, clause: &str) {
        match self.agent(utterance) {
            Some(index) => {
                if let Entry::Agent(_, text) = &mut self.entries[index] {
                    text.push(' ');
                    text.push_str(clause);
                }
            }
            None => self.entries.push(Entry::Agent(Some(utterance), clause.to_owned())),
        }
    }

    /// The agent is going to ask for patience, before it says `next`.
    pub(super) fn agent_fills(&mut self, filler: UtteranceId, next: Option<UtteranceId>, text: &str) {
        let place = next.and_then(|next| self.agent(next)).unwrap_or(self.entries.len());
        self.entries.insert(place, Entry::Filler(Some(filler), text.to_owned()));
    }

    /// This much of the utterance was heard.
    pub(super) fn agent_was_heard(&mut self, utterance: UtteranceId, heard: &str) {
        let Some(index) = self.agent(utterance) else { return };
        if heard.is_empty() {
            self.entries.remove(index);
        } else if let Entry::Agent(_, text) | Entry::Filler(_, text) = &mut self.entries[index] {
            heard.clone_into(text);
        }
    }

    fn agent(&self, utterance: UtteranceId) -> Option<usize> {
        let is = |entry: &Entry| matches!(entry, Entry::Agent(id, _) | Entry::Filler(id, _) if *id == Some(utterance));
        self.entries.iter().rposition(is)
    }

    /// Functions were called.
    pub(super) fn called(&mut self, calls: &[ToolCall]) -> Batch {
        let batch = Batch(self.batches);
        self.batches += 1;
        self.entries.push(Entry::Tools(batch, calls.iter().map(|call| (call.clone(), None)).collect()));
        batch
    }

    /// A function answered; the batch is returned when this was its last answer. Models use an id
    /// again now and then: the oldest call without an answer is meant.
    pub(super) fn answered(&mut self, id: &str, content: String) -> Option<Batch> {
        for entry in &mut self.entries {
            let Entry::Tools(batch, calls) = entry else { continue };
            if let Some((_, result)) =
                calls.iter_mut().find(|(call, result)| call.id == id && result.is_none())
            {
                *result = Some(content);
                return calls.iter().all(|(_, result)| result.is_some()).then_some(*batch);
            }
        }
        None
    }

    /// All of it, in order. Texts of one side that follow each other are one line. Who still has to answer
    /// is not told that they have asked for patience: it would look like an answer.
    pub(super) fn lines(&self) -> Vec<HistoryItem> {
        let mut lines = Vec::with_capacity(self.entries.len());
        let said = |entry: &Entry| matches!(entry, Entry::User(_) | Entry::Agent(..));
        let last = self.entries.iter().rposition(said);
        for (index, entry) in self.entries.iter().enumerate() {
            match (entry, lines.last_mut()) {
                (Entry::Filler(..), _) if last.is_none_or(|last| last < index) => {}
                (Entry::User(more), Some(HistoryItem::User(text)))
                | (Entry::Agent(_, more) | Entry::Filler(_, more), Some(HistoryItem::Agent(text))) => {
                    text.push(' ');
                    text.push_str(more);
                }
                (Entry::User(text), _) => lines.push(HistoryItem::User(text.clone())),
                (Entry::Agent(_, text) | Entry::Filler(_, text), _) => {
                    lines.push(HistoryItem::Agent(text.clone()))
                }
                (Entry::Note(note), _) => lines.push(HistoryItem::Note((*note).to_owned())),
                (Entry::Tools(_, calls), _) => {
                    lines.push(HistoryItem::ToolCalls(calls.iter().map(|(call, _)| call.clone()).collect()));
                    lines.extend(calls.iter().map(|(call, result)| HistoryItem::ToolResult {
                        call: call.id.clone(),
                        content: result.clone().unwrap_or_else(|| UNANSWERED.to_owned()),
                    }));
                }
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str) -> ToolCall {
        ToolCall { id: id.into(), name: "look".into(), arguments: "{}".into(), provider_state: None }
    }

    #[test]
    fn texts_of_one_side_are_one_line_and_what_was_not_heard_is_none() {
        let mut history = History::default();
        history.user_said("I would like".into());
        history.agent_says(UtteranceId(1), "Of course.");
        history.agent_was_heard(UtteranceId(1), "");
        history.user_said("two cakes".into());
        history.agent_says(UtteranceId(2), "Two cakes.");
        history.agent_says(UtteranceId(2), "Anything else?");
        history.agent_was_heard(UtteranceId(2), "Two cakes.");
        assert_eq!(
            history.lines(),
            [HistoryItem::User("I would like two cakes".into()), HistoryItem::Agent("Two cakes.".into())]
        );
    }

    #[test]
    fn every_call_has_a_result_behind_it() {
        let mut history = History::default();
        let batch = history.called(&[call("a"), call("b")]);
        history.user_said("Hurry!".into());
        assert_eq!(history.answered("x", "?".into()), None);
        assert_eq!(history.answered("b", "late".into()), None);
        let result = |call: &str, content: &str| HistoryItem::ToolResult {
            call: call.into(),
            content: content.into(),
        };
        assert_eq!(history.lines()[1..3], [result("a", UNANSWERED), result("b", "late")]);
        assert_eq!(history.answered("a", "later".into()), Some(batch));
        assert_eq!(history.answered("a", "again".into()), None);
        assert_eq!(history.lines()[1], result("a", "later"));
        assert_eq!(history.lines()[3], HistoryItem::User("Hurry!".into()));
    }

    #[test]
    fn a_misunderstood_ending_is_taken_back() {
        let mut history = History::default();
        history.user_said("call five five".into());
        history.user_did_not_say("six");
        history.user_did_not_say("five five");
        assert_eq!(history.lines(), [HistoryItem::User("call".into())]);
        history.user_did_not_say("call");
        assert_eq!(history.lines(), []);
    }
}
