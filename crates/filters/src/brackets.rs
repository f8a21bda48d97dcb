//! How deep a text nests, measured without reading it as the parser does.
//!
//! Brackets in string literals do not count, so strings must be told from the rest exactly as the
//! parser's lexer tells them. Where that takes more than a glance (escapes, comments, triple quotes,
//! characters the language does not know, which the lexer skips in its own way) nothing is taken for a
//! string and no bracket for a closing one. The parser's way of mending a text with mismatched brackets
//! is another such doubt.

use super::{FilterError, MAX_BRACKETS, MAX_BYTES, Position};

/// Refuses what is too long or nests too deeply.
pub(super) fn check(text: &str) -> Result<(), FilterError> {
    let refuse = |offset, message: String| Err(FilterError { message, position: Position::of(text, offset) });
    if text.len() > MAX_BYTES {
        return refuse(MAX_BYTES, format!("a filter is at most {MAX_BYTES} bytes long"));
    }
    let too_deep = match deepest(text.as_bytes()) {
        Some((depth, offset)) => (depth > MAX_BRACKETS).then_some(offset),
        None => text.match_indices(['(', '[', '{']).nth(MAX_BRACKETS).map(|(offset, _)| offset),
    };
    match too_deep {
        Some(offset) => refuse(offset, format!("brackets are nested at most {MAX_BRACKETS} deep")),
        None => Ok(()),
    }
}

/// How deep brackets nest and where they are deepest; none where there is doubt.
fn deepest(text: &[u8]) -> Option<(usize, usize)> {
    let mut open = vec![];
    let mut deepest = (0, 0);
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let next = text.get(at + 1).copied();
        at += match byte {
            b'(' | b'[' | b'{' => {
                open.push(byte);
                if open.len() > deepest.0 {
                    deepest = (open.len(), at);
                }
                1
            }
            b')' | b']' | b'}' => {
                let matching = matches!((open.pop()?, byte), (b'(', b')') | (b'[', b']') | (b'{', b'}'));
                if !matching {
                    return None;
                }
                1
            }
            b'\'' | b'"' => string(&text[at..])?,
            b'&' | b'|' | b'=' if next == Some(byte) => 2,
            b'!' | b'<' | b'>' if next == Some(b'=') => 2,
            b'/' if next == Some(b'/') => return None,
            byte if byte.is_ascii_alphanumeric() || b"_!<>+-*/%.,:? \t\r\n".contains(&byte) => 1,
            _ => return None,
        };
    }
    open.is_empty().then_some(deepest)
}

/// The length of a string literal, with its quotes; none if it is not the simplest kind.
fn string(text: &[u8]) -> Option<usize> {
    let quote = text[0];
    if text.starts_with(&[quote; 3]) {
        return None;
    }
    let end = text[1..].iter().position(|byte| *byte == quote || b"\\\n\r".contains(byte))?;
    (text[1 + end] == quote).then_some(end + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(text: &str) -> Option<usize> {
        deepest(text.as_bytes()).map(|(depth, _)| depth)
    }

    #[test]
    fn brackets_count_outside_of_simple_strings_only() {
        for (text, expected) in [
            ("", Some(0)),
            ("a", Some(0)),
            ("(a)", Some(1)),
            ("[(1)][0]", Some(2)),
            ("f(a)(b)", Some(1)),
            ("message.content.contains('(((') && \"[[\" != ''", Some(1)),
            ("('é(' == \"it's (\")", Some(1)),
            ("a // ' \n ((((", None),
            ("'a\\'((((' == 'b'", None),
            ("r'\\' + ((( '", None),
            ("'''((('''", None),
            ("'(((", None),
            ("'(((\n'", None),
            ("&'(((('", None),
            ("a = '((('", None),
            ("`a('`((('", None),
            ("é'((('", None),
            ("(]((", None),
            ("((", None),
            ("a)", None),
        ] {
            assert_eq!(depth(text), expected, "{text}");
        }
    }

    #[test]
    fn seventeen_brackets_are_refused_where_they_are_deepest_and_in_doubt_any_seventeen_are() {
        let nested = |depth: usize| "(".repeat(depth) + "a" + &")".repeat(depth);
        assert!(check(&nested(16)).is_ok());
        let error = check(&format!("true &&\n {}", nested(17))).unwrap_err();
        assert_eq!(error.to_string(), "line 2, column 18: brackets are nested at most 16 deep");
        let flat = "(a) || ".repeat(16) + "b";
        assert!(check(&flat).is_ok());
        assert!(check(&format!("{flat} || (c)")).is_ok());
        assert!(check(&format!("{flat} || 'it\\'s'")).is_ok());
        assert!(check(&format!("{flat} || (c) || 'it\\'s'")).is_err(), "an escape is a doubt");
    }

    #[test]
    fn a_thousand_bytes_are_allowed_and_no_more() {
        assert!(check(&"a".repeat(1_000)).is_ok());
        let error = check(&"é".repeat(501)).unwrap_err();
        assert_eq!(error.to_string(), "line 1, column 501: a filter is at most 1000 bytes long");
    }
}
