//! The lexer: splits a text into tokens by CEL's lexical rules, and drops white space and comments.

use super::FilterError;

/// One token and the place where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token<'t> {
    pub(super) kind: TokenKind,
    /// As written.
    pub(super) text: &'t str,
    /// In bytes.
    pub(super) offset: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// An operator, a bracket or a keyword; its text tells which.
    Symbol,
    Name,
    /// Decimal or hexadecimal, without a sign.
    Int,
    /// An integer with `u` or `U` at its end.
    Uint,
    Double,
    /// The value, with escapes resolved.
    String(String),
    Bytes,
    /// The end of the text.
    End,
}

/// Words that cannot be names, not even of fields.
const KEYWORDS: [&str; 4] = ["in", "true", "false", "null"];
const PAIRS: [&str; 6] = ["==", "!=", "<=", ">=", "&&", "||"];
const SINGLES: &str = "<>[]{}().,-!?:+*/%";

/// Yields the tokens of a text one by one.
pub(super) struct Lexer<'t> {
    text: &'t str,
    /// Where the rest begins, in bytes.
    at: usize,
}

/// A literal that breaks off: the offset, within the literal, of the first character that does not fit.
struct Malformed(usize);

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token. At the end of the text it is [`TokenKind::End`], on every call.
    pub(super) fn next_token(&mut self) -> Result<Token<'t>, FilterError> {
        self.skip_blanks();
        let rest = &self.text[self.at..];
        let (kind, length) = token(rest).map_err(|Malformed(at)| {
            // The message ends with the character that does not fit.
            let length = at + rest[at..].chars().next().map_or(0, char::len_utf8);
            FilterError::new(self.text, self.at, format!("unexpected '{}'", &rest[..length]))
        })?;
        let token = Token { kind, text: &rest[..length], offset: self.at };
        self.at += length;
        Ok(token)
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.text[self.at..].trim_start_matches(['\t', ' ', '\r', '\n', '\u{c}']);
            self.at = self.text.len() - rest.len();
            if !rest.starts_with("//") {
                return;
            }
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
    }
}

/// The token at the start of `text`, and its length in bytes.
fn token(text: &str) -> Result<(TokenKind, usize), Malformed> {
    let Some(first) = text.chars().next() else { return Ok((TokenKind::End, 0)) };
    let digits_follow = text[first.len_utf8()..].starts_with(|next: char| next.is_ascii_digit());
    match first {
        'a'..='z' | 'A'..='Z' | '_' => name_or_prefixed_string(text),
        '0'..='9' => Ok(number(text)),
        '.' if digits_follow => Ok(number(text)),
        '\'' | '"' => {
            string(text, Escapes::Resolved).map(|(value, length)| (TokenKind::String(value), length))
        }
        _ if PAIRS.iter().any(|pair| text.starts_with(pair)) => Ok((TokenKind::Symbol, 2)),
        _ if SINGLES.contains(first) => Ok((TokenKind::Symbol, 1)),
        // Half of a pair.
        '=' | '&' | '|' => Err(Malformed(1)),
        _ => Err(Malformed(0)),
    }
}

/// A name, a keyword, or a literal with one of the prefixes `r`, `b` and `br`.
fn name_or_prefixed_string(text: &str) -> Result<(TokenKind, usize), Malformed> {
    let length = text.find(|next: char| !next.is_ascii_alphanumeric() && next != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(length);
    let prefix = if rest.starts_with(['\'', '"']) { name.to_ascii_lowercase() } else { String::new() };
    let escapes = match prefix.as_str() {
        "r" | "br" => Escapes::Verbatim,
        "b" => Escapes::Resolved,
        _ if KEYWORDS.contains(&name) => return Ok((TokenKind::Symbol, length)),
        _ => return Ok((TokenKind::Name, length)),
    };
    let (value, end) = string(rest, escapes).map_err(|Malformed(at)| Malformed(length + at))?;
    let kind = if prefix == "r" { TokenKind::String(value) } else { TokenKind::Bytes };
    Ok((kind, length + end))
}

fn number(text: &str) -> (TokenKind, usize) {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let suffixed = |length: usize| match bytes.get(length) {
        Some(b'u' | b'U') => (TokenKind::Uint, length + 1),
        _ => (TokenKind::Int, length),
    };
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        let count = hexadecimal.bytes().take_while(u8::is_ascii_hexdigit).count();
        if count > 0 {
            return suffixed(2 + count);
        }
    }
    let whole = digits(0);
    let mut length = whole;
    if bytes.get(length) == Some(&b'.') && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits(length + 1 + sign);
        // Without digits, the letter begins a name.
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    if length == whole { suffixed(length) } else { (TokenKind::Double, length) }
}

#[derive(Clone, Copy, PartialEq)]
enum Escapes {
    Resolved,
    /// A backslash is a character like any other.
    Verbatim,
}

/// The value of the string literal at the start of `text`, and the literal's length with its quotes.
fn string(text: &str, escapes: Escapes) -> Result<(String, usize), Malformed> {
    let triple = text.starts_with("'''") || text.starts_with("\"\"\"");
    let quote = &text[..if triple { 3 } else { 1 }];
    let mut value = String::new();
    let mut at = quote.len();
    loop {
        let rest = &text[at..];
        if rest.starts_with(quote) {
            return Ok((value, at + quote.len()));
        }
        let next = rest.chars().next().ok_or(Malformed(at))?;
        let (next, length) = match next {
            '\\' if escapes == Escapes::Resolved => {
                escape(rest).map_err(|Malformed(within)| Malformed(at + within))?
            }
            '\n' | '\r' if !triple => return Err(Malformed(at)),
            // CEL reads every kind of line break as a line feed.
            '\r' => ('\n', if rest.starts_with("\r\n") { 2 } else { 1 }),
            next => (next, next.len_utf8()),
        };
        value.push(next);
        at += length;
    }
}

/// The character that the escape sequence at the start of `text` stands for, and the sequence's length.
fn escape(text: &str) -> Result<(char, usize), Malformed> {
    let kind = text[1..].chars().next().ok_or(Malformed(1))?;
    let (digits_from, digits, radix) = match kind {
        'a' => return Ok(('\u{7}', 2)),
        'b' => return Ok(('\u{8}', 2)),
        'f' => return Ok(('\u{c}', 2)),
        'n' => return Ok(('\n', 2)),
        'r' => return Ok(('\r', 2)),
        't' => return Ok(('\t', 2)),
        'v' => return Ok(('\u{b}', 2)),
        '"' | '\'' | '\\' | '?' | '`' => return Ok((kind, 2)),
        'x' | 'X' => (2, 2, 16),
        'u' => (2, 4, 16),
        'U' => (2, 8, 16),
        // Three digits, the backslash before them.
        '0'..='3' => (1, 3, 8),
        _ => return Err(Malformed(1)),
    };
    let mut code = 0_u32;
    for at in digits_from..digits_from + digits {
        // All before `at` are ASCII, so it is a boundary.
        let digit = text[at..].chars().next().and_then(|digit| digit.to_digit(radix)).ok_or(Malformed(at))?;
        code = code * radix + digit;
    }
    let end = digits_from + digits;
    // Surrogates and numbers beyond Unicode are no characters.
    char::from_u32(code).map(|char| (char, end)).ok_or(Malformed(end - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Vec<(TokenKind, &str)>, FilterError> {
        let mut lexer = Lexer::new(text);
        let mut tokens = vec![];
        loop {
            match lexer.next_token()? {
                Token { kind: TokenKind::End, .. } => return Ok(tokens),
                Token { kind, text, .. } => tokens.push((kind, text)),
            }
        }
    }

    #[test]
    fn numbers_end_where_cel_ends_them() {
        use TokenKind::{Double, Int, Name, Symbol, Uint};
        for (text, expected) in [
            ("0", vec![(Int, "0")]),
            ("0012", vec![(Int, "0012")]),
            ("0x1F", vec![(Int, "0x1F")]),
            ("0xau", vec![(Uint, "0xau")]),
            ("7U", vec![(Uint, "7U")]),
            ("1.5e+3", vec![(Double, "1.5e+3")]),
            ("1E5", vec![(Double, "1E5")]),
            (".5", vec![(Double, ".5")]),
            ("1.e5", vec![(Int, "1"), (Symbol, "."), (Name, "e5")]),
            ("1e", vec![(Int, "1"), (Name, "e")]),
            ("1e+", vec![(Int, "1"), (Name, "e"), (Symbol, "+")]),
            ("0x", vec![(Int, "0"), (Name, "x")]),
            ("0X1", vec![(Int, "0"), (Name, "X1")]),
            ("1.5u", vec![(Double, "1.5"), (Name, "u")]),
            ("0xe5.5", vec![(Int, "0xe5"), (Double, ".5")]),
            ("a.5", vec![(Name, "a"), (Double, ".5")]),
        ] {
            assert_eq!(tokens(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn strings_have_the_value_that_cel_gives_them() {
        for (text, value) in [
            ("'it\\'s'", "it's"),
            ("\"\\a\\b\\f\\n\\r\\t\\v\\\"\\\\\\?\\`\"", "\u{7}\u{8}\u{c}\n\r\t\u{b}\"\\?`"),
            ("'\\x41\\XfF\\u20aC\\U0001F600\\101\\377'", "A\u{ff}\u{20ac}\u{1f600}A\u{ff}"),
            ("r'\\n'", "\\n"),
            ("R\"\\\"", "\\"),
            ("'''a 'b' \r\n\rc'''", "a 'b' \n\nc"),
            ("\"\"\"\\\"\"\"\"", "\""),
            ("r'''\\'''", "\\"),
            ("''''a'''", "'a"),
            ("''", ""),
            ("''''''", ""),
        ] {
            assert_eq!(tokens(text), Ok(vec![(TokenKind::String(value.to_owned()), text)]), "{text}");
        }
        for text in ["b'a'", "B\"\\x00\"", "br'\\'", "bR'''a'''"] {
            assert_eq!(tokens(text), Ok(vec![(TokenKind::Bytes, text)]), "{text}");
        }
    }

    #[test]
    fn an_error_shows_the_text_up_to_what_does_not_fit() {
        for (text, message) in [
            ("a = b", "line 1, column 3: unexpected '= '"),
            ("a &", "line 1, column 3: unexpected '&'"),
            ("`a`", "line 1, column 1: unexpected '`'"),
            ("// a\n #", "line 2, column 2: unexpected '#'"),
            ("'a", "line 1, column 1: unexpected ''a'"),
            ("r'a", "line 1, column 1: unexpected 'r'a'"),
            ("'\\q'", "line 1, column 1: unexpected ''\\q'"),
            ("'\\400'", "line 1, column 1: unexpected ''\\4'"),
            ("'\\x4g'", "line 1, column 1: unexpected ''\\x4g'"),
            ("'\\x4é'", "line 1, column 1: unexpected ''\\x4é'"),
            ("'\\ud800'", "line 1, column 1: unexpected ''\\ud800'"),
            ("'\\U00110000'", "line 1, column 1: unexpected ''\\U00110000'"),
            ("'''a''", "line 1, column 1: unexpected ''''a'''"),
            ("'\\", "line 1, column 1: unexpected ''\\'"),
        ] {
            assert_eq!(tokens(text).unwrap_err().to_string(), message, "{text}");
        }
    }
}
