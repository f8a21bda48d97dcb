//! `function` is a variable of ours, but a word that CEL reserves: its parser refuses it. So it reads
//! another word there, of the same length, which keeps all places as they are.

/// What CEL reserves.
pub(super) const RESERVED: &str = "function";
/// What the parser reads instead. It is the variable only where [`RESERVED`] was written.
pub(super) const READ_AS: &str = "Function";
const _: () = assert!(RESERVED.len() == READ_AS.len());

/// The text as the parser is to read it. Strings, comments and fields stay as they are; where a text is no
/// CEL at all it does not matter what becomes of it.
pub(super) fn readable(text: &str) -> String {
    let mut readable = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_dot = false;
    while let Some(first) = rest.chars().next() {
        let (token, raw) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), None)
        } else if first == '\'' || first == '"' {
            (string(rest, false), None)
        } else if first.is_ascii_alphabetic() || first == '_' {
            let name = |char: char| char.is_ascii_alphanumeric() || char == '_';
            let length = rest.find(|char| !name(char)).unwrap_or(rest.len());
            (length, rest[length..].starts_with(['\'', '"']).then(|| rest[..length].to_ascii_lowercase()))
        } else {
            (first.len_utf8(), None)
        };
        let length = match raw.as_deref() {
            Some("r" | "br") => token + string(&rest[token..], true),
            _ => token,
        };
        let (token, after) = rest.split_at(length);
        readable.push_str(if token == RESERVED && !after_dot { READ_AS } else { token });
        after_dot = first == '.' || (after_dot && (first.is_ascii_whitespace() || token.starts_with("//")));
        rest = after;
    }
    readable
}

/// How long the string literal is that the text begins with; up to the end, if it does not end.
fn string(text: &str, raw: bool) -> usize {
    let quote = if text.starts_with("'''") || text.starts_with("\"\"\"") { &text[..3] } else { &text[..1] };
    let mut at = quote.len();
    while let Some(char) = text[at..].chars().next() {
        if text[at..].starts_with(quote) {
            return at + quote.len();
        }
        at += char.len_utf8();
        if char == '\\' && !raw {
            at += text[at..].chars().next().map_or(0, char::len_utf8);
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserved_word_is_read_as_another_where_it_is_a_variable_and_nowhere_else() {
        for (text, expected) in [
            ("function.name == 'function'", "Function.name == 'function'"),
            ("metadata.function == function", "metadata.function == Function"),
            ("metadata . // a function\n function", "metadata . // a function\n function"),
            ("functions + my_function", "functions + my_function"),
            ("[function]", "[Function]"),
            ("'it\\'s a function' + function.id", "'it\\'s a function' + Function.id"),
            ("r'\\' + function.id", "r'\\' + Function.id"),
            ("bR\"\\\" + function.id", "bR\"\\\" + Function.id"),
            ("'''a ' function''' + function.id", "'''a ' function''' + Function.id"),
            ("r\"\"\"\\\"\"\" + function.id", "r\"\"\"\\\"\"\" + Function.id"),
            ("'é' + function.id // function", "'é' + Function.id // function"),
            ("a ? .5 : function", "a ? .5 : Function"),
            ("'function", "'function"),
            ("'function\\", "'function\\"),
        ] {
            assert_eq!(readable(text), expected);
        }
    }
}
