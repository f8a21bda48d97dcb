//! Sentences: what is synthesized at a time.

/// A shorter sentence is synthesized together with the next one.
const SHORTEST_SENTENCE: usize = 12;

/// Splits a text after its sentences, so that the first can play while the others are synthesized.
pub(crate) fn sentences(text: &str) -> Vec<String> {
    let mut sentences = vec![String::new()];
    for word in text.split_whitespace() {
        if sentences.last().is_some_and(|sentence| ends(sentence)) {
            sentences.push(String::new());
        }
        if let Some(last) = sentences.last_mut() {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    sentences.retain(|sentence| sentence.chars().any(char::is_alphanumeric));
    sentences
}

/// Whether a text is long enough to be a sentence and ends like one, unlike "Dr." or "Mrs."
fn ends(text: &str) -> bool {
    let word = text.rsplit(' ').next().unwrap_or(text);
    let title = word.len() <= 4 && word.ends_with('.') && word.starts_with(char::is_uppercase);
    text.ends_with(['.', '!', '?']) && text.len() >= SHORTEST_SENTENCE && !title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_after_its_sentences() {
        let text = "Thank you, Mr. Smith. Your order is ready!  Yes. It costs $3.50 for you. ... Bye";
        let expected =
            ["Thank you, Mr. Smith.", "Your order is ready!", "Yes. It costs $3.50 for you.", "... Bye"];
        assert_eq!(sentences(text), expected);
        assert_eq!(sentences(" \n "), Vec::<String>::new());
        assert_eq!(sentences("..."), Vec::<String>::new());
    }
}
