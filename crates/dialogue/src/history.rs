//! The conversation so far, as the language model reads it.

use serde_json::Value;

use crate::types::{AnsweredCalls, FunctionCall, GenerationId, HistoryItem, UtteranceId, UtteranceKind};

/// Stands for a missing result: models refuse a function call without a result.
pub(crate) const UNANSWERED: &str = "no result yet: the conversation went on before the function answered";

/// Maximum size of the history, in bytes: some two hours of talk. What is older than that is forgotten.
const MAX_BYTES: usize = 128 * 1024;

/// The history of a call.
#[derive(Default)]
pub(crate) struct History {
    entries: Vec<Entry>,
}

enum Entry {
    User(String),
    Agent {
        /// None: another worker's.
        utterance: Option<UtteranceId>,
        kind: UtteranceKind,
        /// All of the utterance until it is over, then its heard words.
        text: String,
    },
    /// The calls of one generation, and their results. None: another worker's generation.
    Tools(Option<GenerationId>, Vec<(FunctionCall, Option<String>)>),
    Note(&'static str),
}

impl Entry {
    /// Its size for the model, in bytes.
    fn size(&self) -> usize {
        match self {
            Self::User(text) | Self::Agent { text, .. } => text.len(),
            Self::Note(note) => note.len(),
            Self::Tools(_, calls) => calls
                .iter()
                .map(|(call, result)| {
                    call.id.len()
                        + call.name.len()
                        + call.arguments.len()
                        + call.provider_state.as_ref().map_or(0, state_size)
                        + result.as_ref().map_or(0, String::len)
                })
                .sum(),
        }
    }

    fn is_hold_phrase(&self) -> bool {
        matches!(self, Self::Agent { kind: UtteranceKind::HoldPhrase, .. })
    }
}

/// The size of the state that a vendor wants back, in bytes: some sign each call with kilobytes.
fn state_size(state: &Value) -> usize {
    match state {
        Value::String(text) => text.len(),
        Value::Array(all) => all.iter().map(state_size).sum(),
        Value::Object(all) => all.iter().map(|(name, value)| name.len() + state_size(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
    }
}

impl History {
    /// Whether the user has said something.
    pub(crate) fn has_user(&self) -> bool {
        self.entries.iter().any(|entry| matches!(entry, Entry::User(_)))
    }

    /// The history of a call that is taken over, made legal: each function call has a result, and each result a call.
    pub(crate) fn taken_over(items: Vec<HistoryItem>) -> Self {
        let mut history = Self::default();
        for item in items {
            match item {
                HistoryItem::User(text) if !text.trim().is_empty() => history.user_said(text),
                HistoryItem::Agent { text, kind } if !text.trim().is_empty() => {
                    history.entries.push(Entry::Agent { utterance: None, kind, text });
                }
                HistoryItem::ToolCalls(calls) if !calls.is_empty() => history.add_calls(None, &calls),
                HistoryItem::ToolResult { call, content } => {
                    let mut calls = history.tools_mut().rev().flatten();
                    if let Some((_, result)) =
                        calls.find(|(known, result)| known.id == call && result.is_none())
                    {
                        *result = Some(content);
                    }
                }
                HistoryItem::User(_)
                | HistoryItem::Agent { .. }
                | HistoryItem::Note(_)
                | HistoryItem::ToolCalls(_) => {}
            }
        }
        // No worker waits for these results any more, and a new call may have the same id.
        for (_, result) in history.tools_mut().flatten() {
            result.get_or_insert_with(|| UNANSWERED.to_owned());
        }
        history.forget();
        history
    }

    /// Forgets the oldest entries beyond the bound. Each function call stays beside its result, and the last entry
    /// stays in any case.
    fn forget(&mut self) {
        let mut size = 0;
        let kept = self.entries.iter().rev().take_while(|entry| {
            size += entry.size();
            size <= MAX_BYTES
        });
        let kept = kept.count().max(1);
        let mut forgotten = self.entries.len().saturating_sub(kept);
        // Some models refuse a history that begins with a function call.
        while forgotten > 0
            && forgotten + 1 < self.entries.len()
            && matches!(self.entries[forgotten], Entry::Tools(..))
        {
            forgotten += 1;
        }
        self.entries.drain(..forgotten);
    }

    fn tools_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Vec<(FunctionCall, Option<String>)>> {
        self.entries.iter_mut().filter_map(|entry| match entry {
            Entry::Tools(_, calls) => Some(calls),
            Entry::User(_) | Entry::Agent { .. } | Entry::Note(_) => None,
        })
    }

    /// The last entry that is not a hold phrase.
    fn last(&self) -> Option<&Entry> {
        self.entries.iter().rfind(|entry| !entry.is_hold_phrase())
    }

    /// Whether functions were called last: the model is to use their results.
    pub(crate) fn ends_with_tools(&self) -> bool {
        matches!(self.last(), Some(Entry::Tools(..)))
    }

    /// Whether functions were called last that have not all returned.
    pub(crate) fn awaits_results(&self) -> bool {
        matches!(self.last(), Some(Entry::Tools(_, calls)) if calls.iter().any(|(_, result)| result.is_none()))
    }

    /// Whether the user spoke last.
    pub(crate) fn ends_with_user(&self) -> bool {
        matches!(self.last(), Some(Entry::User(_)))
    }

    /// Whether the agent was heard since the user spoke.
    pub(crate) fn agent_has_replied(&self) -> bool {
        let is_text = |entry: &&Entry| !matches!(entry, Entry::Tools(..)) && !entry.is_hold_phrase();
        matches!(self.entries.iter().rfind(is_text), Some(Entry::Agent { .. }))
    }

    /// Adds an instruction for the model. Two in a row would repeat it, so the second is left out.
    pub(crate) fn note(&mut self, note: &'static str) {
        if !matches!(self.last(), Some(Entry::Note(_))) {
            self.entries.push(Entry::Note(note));
        }
    }

    pub(crate) fn user_said(&mut self, text: String) {
        self.entries.push(Entry::User(text));
        self.forget();
    }

    /// Takes back words at the end of the user's last text, unless something followed it.
    pub(crate) fn user_did_not_say(&mut self, words: &str) {
        let last = self.entries.iter().rposition(|entry| !entry.is_hold_phrase());
        let Some((index, Entry::User(text))) = last.map(|index| (index, &mut self.entries[index])) else {
            return;
        };
        let Some(before) = text.strip_suffix(words) else { return };
        text.truncate(before.trim_end().len());
        if text.is_empty() {
            self.entries.remove(index);
        }
    }

    /// The agent is going to say another clause of an utterance.
    pub(crate) fn agent_says(&mut self, utterance: UtteranceId, kind: UtteranceKind, clause: &str) {
        if let Some(Entry::Agent { text, .. }) =
            self.position(utterance).map(|index| &mut self.entries[index])
        {
            text.push(' ');
            text.push_str(clause);
        } else {
            self.entries.push(Entry::Agent { utterance: Some(utterance), kind, text: clause.to_owned() });
        }
    }

    /// The agent is going to say a hold phrase before the utterance `next`.
    pub(crate) fn agent_holds(&mut self, utterance: UtteranceId, next: Option<UtteranceId>, text: &str) {
        let index = next.and_then(|next| self.position(next)).unwrap_or(self.entries.len());
        let (utterance, kind) = (Some(utterance), UtteranceKind::HoldPhrase);
        self.entries.insert(index, Entry::Agent { utterance, kind, text: text.to_owned() });
    }

    /// An utterance is over: only its heard words are kept.
    pub(crate) fn agent_was_heard(&mut self, utterance: UtteranceId, heard: &str) {
        let Some(index) = self.position(utterance) else { return };
        if heard.is_empty() {
            self.entries.remove(index);
        } else if let Entry::Agent { text, .. } = &mut self.entries[index] {
            heard.clone_into(text);
        }
    }

    fn position(&self, id: UtteranceId) -> Option<usize> {
        let is = |entry: &Entry| matches!(entry, Entry::Agent { utterance, .. } if *utterance == Some(id));
        self.entries.iter().rposition(is)
    }

    /// A generation called functions.
    pub(crate) fn tools_called(&mut self, generation: GenerationId, calls: &[FunctionCall]) {
        self.add_calls(Some(generation), calls);
    }

    fn add_calls(&mut self, generation: Option<GenerationId>, calls: &[FunctionCall]) {
        let calls = calls.iter().map(|call| (call.clone(), None)).collect();
        self.entries.push(Entry::Tools(generation, calls));
        self.forget();
    }

    /// A function returned; its generation, if this was the generation's last result. Models reuse ids now and
    /// then: the oldest call without a result is meant.
    pub(crate) fn tool_returned(&mut self, id: &str, content: String) -> Option<GenerationId> {
        for entry in &mut self.entries {
            let Entry::Tools(generation, calls) = entry else { continue };
            if let Some((_, result)) =
                calls.iter_mut().find(|(call, result)| call.id == id && result.is_none())
            {
                *result = Some(content);
                let is_last = calls.iter().all(|(_, result)| result.is_some());
                return generation.filter(|_| is_last);
            }
        }
        None
    }

    /// The calls of the response of this worker that made the call `id`, with their results; none while one is missing.
    pub(crate) fn answered_calls(&self, id: &str) -> Option<AnsweredCalls> {
        let calls = |entry: &Entry| match entry {
            Entry::Tools(Some(_), calls) if calls.iter().any(|(call, _)| call.id == id) => {
                calls.iter().map(|(call, result)| Some((call.clone(), result.clone()?))).collect()
            }
            _ => None,
        };
        let (index, calls) =
            self.entries.iter().enumerate().rev().find_map(|(index, entry)| Some((index, calls(entry)?)))?;
        let said = match self.entries[..index].iter().rfind(|entry| !entry.is_hold_phrase()) {
            Some(Entry::Agent { text, .. }) => Some(text.clone()),
            _ => None,
        };
        Some(AnsweredCalls { said, calls })
    }

    /// The whole history, in order. Texts of one side in a row become one item. A hold phrase that was said last is
    /// left out: to the model it would look like a reply.
    pub(crate) fn items(&self) -> Vec<HistoryItem> {
        let mut items = Vec::with_capacity(self.entries.len());
        let is_said =
            |entry: &Entry| matches!(entry, Entry::User(_) | Entry::Agent { .. }) && !entry.is_hold_phrase();
        let last = self.entries.iter().rposition(is_said);
        for (index, entry) in self.entries.iter().enumerate() {
            match (entry, items.last_mut()) {
                (entry, _) if entry.is_hold_phrase() && last.is_none_or(|last| last < index) => {}
                (Entry::User(more), Some(HistoryItem::User(text)))
                | (Entry::Agent { text: more, .. }, Some(HistoryItem::Agent { text, .. })) => {
                    text.push(' ');
                    text.push_str(more);
                }
                (Entry::User(text), _) => items.push(HistoryItem::User(text.clone())),
                (Entry::Agent { text, .. }, _) => items.push(HistoryItem::agent(text)),
                (Entry::Note(note), _) => items.push(HistoryItem::Note((*note).to_owned())),
                (Entry::Tools(_, calls), _) => {
                    items.push(HistoryItem::ToolCalls(calls.iter().map(|(call, _)| call.clone()).collect()));
                    items.extend(calls.iter().map(|(call, result)| HistoryItem::ToolResult {
                        call: call.id.clone(),
                        content: result.clone().unwrap_or_else(|| UNANSWERED.to_owned()),
                    }));
                }
            }
        }
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEECH: UtteranceKind = UtteranceKind::Speech;

    fn call(id: &str) -> FunctionCall {
        FunctionCall { id: id.into(), name: "look".into(), arguments: "{}".into(), provider_state: None }
    }

    #[test]
    fn texts_of_one_side_are_one_item_and_unheard_texts_are_none() {
        let mut history = History::default();
        history.user_said("I would like".into());
        history.agent_says(UtteranceId(1), SPEECH, "Of course.");
        history.agent_was_heard(UtteranceId(1), "");
        history.user_said("two cakes".into());
        history.agent_says(UtteranceId(2), SPEECH, "Two cakes.");
        history.agent_says(UtteranceId(2), SPEECH, "Anything else?");
        history.agent_was_heard(UtteranceId(2), "Two cakes.");
        let user = HistoryItem::User("I would like two cakes".into());
        assert_eq!(history.items(), [user, HistoryItem::agent("Two cakes.")]);
    }

    #[test]
    fn a_hold_phrase_is_known_by_its_flag_and_not_by_its_text() {
        let text = "One moment, please.";
        let item = |kind| HistoryItem::Agent { text: text.into(), kind };
        let user = || HistoryItem::User("When?".into());
        let held = History::taken_over(vec![user(), item(UtteranceKind::HoldPhrase)]);
        assert!(held.ends_with_user() && !held.agent_has_replied());
        assert_eq!(held.items(), [user()]);
        let replied = History::taken_over(vec![user(), item(UtteranceKind::Speech)]);
        assert!(!replied.ends_with_user() && replied.agent_has_replied());
        assert_eq!(replied.items(), [user(), HistoryItem::agent(text)]);
    }

    #[test]
    fn each_call_has_a_result_behind_it() {
        let mut history = History::default();
        let generation = GenerationId(7);
        history.tools_called(generation, &[call("a"), call("b")]);
        history.user_said("Hurry!".into());
        assert_eq!(history.tool_returned("x", "?".into()), None);
        assert_eq!(history.tool_returned("b", "late".into()), None);
        let result = |call: &str, content: &str| HistoryItem::ToolResult {
            call: call.into(),
            content: content.into(),
        };
        assert_eq!(history.items()[1..3], [result("a", UNANSWERED), result("b", "late")]);
        assert_eq!(history.answered_calls("b"), None, "a has not returned");
        assert_eq!(history.tool_returned("a", "later".into()), Some(generation));
        let answered = [(call("a"), "later".to_owned()), (call("b"), "late".to_owned())];
        assert_eq!(history.answered_calls("b").unwrap().calls, answered);
        assert_eq!(history.tool_returned("a", "again".into()), None);
        assert_eq!(history.items()[1], result("a", "later"));
        assert_eq!(history.items()[3], HistoryItem::User("Hurry!".into()));
    }

    #[test]
    fn words_before_a_call_are_named_with_it() {
        let mut history = History::default();
        history.user_said("Is it ready?".into());
        history.agent_says(UtteranceId(1), SPEECH, "Let me look.");
        history.agent_holds(UtteranceId(2), None, "One moment, please.");
        history.tools_called(GenerationId(1), &[call("a")]);
        history.tool_returned("a", "yes".into());
        assert_eq!(history.answered_calls("a").unwrap().said.as_deref(), Some("Let me look."));
        history.tools_called(GenerationId(2), &[call("b")]);
        history.tool_returned("b", "no".into());
        assert_eq!(history.answered_calls("b").unwrap().said, None);
    }

    #[test]
    fn the_oldest_entries_are_forgotten_beyond_the_bound() {
        let mut history = History::default();
        for number in 0..200 {
            history.tools_called(GenerationId(number), &[call("a")]);
            history.tool_returned("a", "r".repeat(1_000));
            history.user_said(format!("{number}: {}", "u".repeat(1_000)));
        }
        let items = history.items();
        let HistoryItem::User(last) = items.last().unwrap() else { panic!("the user spoke last") };
        assert!(last.starts_with("199: "));
        let size: usize = history.entries.iter().map(Entry::size).sum();
        assert!((MAX_BYTES - 3_000..=MAX_BYTES).contains(&size), "{size}");
        let calls = items.iter().filter(|item| matches!(item, HistoryItem::ToolCalls(_))).count();
        let results = items.iter().filter(|item| matches!(item, HistoryItem::ToolResult { .. })).count();
        assert_eq!(calls, results);
        history.user_said("u".repeat(2 * MAX_BYTES));
        assert_eq!(history.items().len(), 1, "the last entry stays");
    }

    #[test]
    fn a_misunderstood_ending_is_taken_back() {
        let mut history = History::default();
        history.user_said("call five five".into());
        history.user_did_not_say("six");
        history.user_did_not_say("five five");
        assert_eq!(history.items(), [HistoryItem::User("call".into())]);
        history.user_did_not_say("call");
        assert_eq!(history.items(), []);
    }
}
