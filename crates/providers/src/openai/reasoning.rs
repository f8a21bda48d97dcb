//! Removes what some models write into their words although nobody should hear it: reasoning, between `<think>` and
//! `</think>`, and function calls that they write as text.
//!
//! Pure. The words come in pieces of any size, so the beginning of a tag is held back until it is whole.

const OPENINGS: [&str; 4] = ["<think>", "<thinking>", "<tool_call>", "<function_call>"];
const CLOSINGS: [&str; 4] = ["</think>", "</thinking>", "</tool_call>", "</function_call>"];

/// The words of one response so far.
#[derive(Debug, Default)]
pub(super) struct ReasoningFilter {
    /// Text that may be the beginning of a tag, or reasoning whose end may have begun.
    held: String,
    is_reasoning: bool,
    /// A tag has just been removed: the line breaks around it are removed with it.
    trims: bool,
}

impl ReasoningFilter {
    /// Takes the next piece, and returns the words that may be spoken.
    pub(super) fn push(&mut self, piece: &str) -> String {
        let mut text = std::mem::take(&mut self.held);
        text.push_str(piece);
        let mut words = String::new();
        // One pass, whatever the text: a server may send a megabyte of tags.
        let (mut released, mut looked_at) = (0, 0);
        while let Some(start) = text[looked_at..].find('<').map(|offset| looked_at + offset) {
            let Some(tag) = self.tags().iter().find(|tag| text[start..].starts_with(**tag)) else {
                looked_at = start + 1;
                continue;
            };
            self.release(&text[released..start], &mut words);
            self.is_reasoning = !self.is_reasoning;
            self.trims = true;
            released = start + tag.len();
            looked_at = released;
        }
        let kept = text.len() - partial_tag(&text[released..], self.tags());
        self.release(&text[released..kept], &mut words);
        self.held = text.split_off(kept);
        words
    }

    /// The rest of the words: what looked like the beginning of a tag and was none.
    pub(super) fn finish(&mut self) -> String {
        let rest = std::mem::take(&mut self.held);
        if self.is_reasoning { String::new() } else { rest }
    }

    /// The tags that change whether the text is reasoning.
    fn tags(&self) -> &'static [&'static str; 4] {
        if self.is_reasoning { &CLOSINGS } else { &OPENINGS }
    }

    fn release(&mut self, text: &str, words: &mut String) {
        if self.is_reasoning {
            return;
        }
        let text = if self.trims { text.trim_start() } else { text };
        self.trims &= text.is_empty();
        words.push_str(text);
    }
}

/// The length of the longest end of `text` that one of the tags begins with.
fn partial_tag(text: &str, tags: &[&str]) -> usize {
    let ends = text.char_indices().rev().map(|(start, _)| &text[start..]);
    let longest = tags.iter().map(|tag| tag.len()).max().unwrap_or(0);
    ends.take_while(|end| end.len() < longest)
        .filter(|end| tags.iter().any(|tag| tag.starts_with(end)))
        .map(str::len)
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spoken(pieces: &[&str]) -> String {
        let mut filter = ReasoningFilter::default();
        let words: String = pieces.iter().map(|piece| filter.push(piece)).collect();
        words + &filter.finish()
    }

    #[test]
    fn reasoning_is_removed_whatever_its_pieces() {
        let text = "<think>\nThe caller asks for 2 < 3.\n</think>\n\nWe close at six.";
        assert_eq!(spoken(&[text]), "We close at six.");
        for size in 1..12 {
            let pieces: Vec<String> =
                text.chars().collect::<Vec<_>>().chunks(size).map(|piece| piece.iter().collect()).collect();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            assert_eq!(spoken(&pieces), "We close at six.", "{size}");
        }
    }

    #[test]
    fn words_around_reasoning_stay() {
        assert_eq!(
            spoken(&["Well. <thinking>hm</thinking>At six. <think>", "never", " closed"]),
            "Well. At six. "
        );
        assert_eq!(spoken(&["2 <", " 3, and <th", "e end"]), "2 < 3, and <the end");
        assert_eq!(spoken(&["Grüße <"]), "Grüße <");
        assert_eq!(spoken(&["<think></think>"]), "");
        assert_eq!(spoken(&["Sure. <tool_", "call>{\"name\": \"x\"}</tool_call>", " Done."]), "Sure. Done.");
    }

    #[test]
    fn a_megabyte_of_tags_is_removed_in_one_pass() {
        let text = "<think></think>".repeat(70_000) + "At six.";
        assert_eq!(spoken(&[&text]), "At six.");
    }
}
