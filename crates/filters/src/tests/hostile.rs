//! Hostile filters, and texts that are no filters.

use std::thread;

use proptest::prelude::*;

use super::*;

/// Texts that nest as deeply as a thousand bytes allow, in every way.
fn hostile() -> Vec<String> {
    let around = |open: &str, inner: &str, close: &str| {
        let depth = (MAX_BYTES - inner.len()) / (open.len() + close.len());
        open.repeat(depth) + inner + &close.repeat(depth)
    };
    let mut texts = vec![];
    for (open, inner, close) in [
        ("(", "true", ")"),
        ("[", "1", "]"),
        ("{1:", "1", "}"),
        ("f(", "1", ")"),
        ("a{b:", "1", "}"),
        ("{(", "1", ")}"),
        ("[-", "1", "]"),
        ("!", "true", ""),
        ("-", "1", ""),
        ("- ", "1", ""),
        ("!-", "1", ""),
        ("- !", "1", ""),
        ("true?", "true", ":true"),
        ("true?true:", "true", ""),
        ("", "1", "+1"),
        ("", "1", "==1"),
        ("", "1", "<1"),
        ("", "true", "&&true"),
        ("", "true", "||true"),
        ("", "true", "&&true||true"),
        ("", "event", ".a"),
        ("", "event", ".size()"),
        ("", "event", "[0]"),
        ("", "event", "['a']"),
        ("", "['a']", ".map(a,a+a)"),
        ("[1].all(x,", "true", ")"),
        ("", "1", " in [1]"),
        ("()", "(", ""),
        ("(]", "(", ""),
        ("[}", "(", ""),
        ("(", "", ""),
        ("[", "", ""),
        ("{", "", ""),
        (")", "", ""),
        ("'", "", ""),
        ("\"", "", ""),
        ("r'\\'(", "", ""),
        ("'\\q(", "", ""),
        ("&'(", "1", "'"),
        ("='[", "1", ""),
        ("/*(", "", ""),
        ("'''(", "", ""),
        ("`(", "", ""),
        ("\u{e9}(", "", ""),
        ("1 ", "", ""),
        ("@", "", ""),
        ("[1,", "1", ""),
        ("[[1],", "1", "]"),
    ] {
        texts.push(around(open, inner, close));
        // The same text within as many brackets as are allowed.
        texts.push("(".repeat(16) + &around(open, inner, close)[..MAX_BYTES / 2] + &")".repeat(16));
    }
    texts.push("// '\n".to_owned() + &"(".repeat(900));
    texts.push("event.matches('".to_owned() + &"(".repeat(900) + "')");
    texts.push("event.matches('".to_owned() + &"(".repeat(400) + &")".repeat(400) + "')");
    texts
}

#[test]
fn no_text_overflows_a_small_stack() {
    // Half of a thread's default. Optimized code needs less.
    let small = thread::Builder::new().stack_size(1024 * 1024);
    let checking = small.spawn(|| {
        let texts = hostile();
        let read: Vec<_> = texts.iter().filter_map(|text| Filter::parse(text).ok()).collect();
        for filter in &read {
            let _ = evaluate(&filter.clone(), "conversation:started", &Json::Null);
            let _ = evaluate(&Filter::stored(filter.text().to_owned()), "conversation:started", &Json::Null);
        }
        (texts.len(), read.len())
    });
    let (texts, read) = checking.unwrap().join().unwrap();
    assert!(read > 0 && read < texts, "some of {texts} are filters, but {read}");
}

#[test]
fn an_expression_above_the_maximum_height_is_refused() {
    let sum = |terms: usize| vec!["1"; terms].join("+") + " > 0";
    assert_eq!(outcome(&sum(MAX_DEPTH - 1), "conversation:started", &Json::Null), "true");
    let error = Filter::parse(&sum(MAX_DEPTH)).unwrap_err().to_string();
    assert!(error.ends_with("expressions are nested at most 64 deep"), "{error}");
    let many = vec!["duration == 300"; 50].join("||");
    assert_eq!(outcome(&many, "conversation:duration", &json!({ "duration": 300 })), "true");
}

#[test]
fn no_filter_runs_long() {
    let long = json!({ "message": { "content": "a".repeat(20_000) }, "function": { "arguments": {
        "list": vec![json!({ "text": "a".repeat(100), "n": 1 }); 5_000] } } });
    for text in [
        // Texts that are copied many times.
        format!("[{}].map(c, {}) == []", vec!["message.content"; 25].join(","), vec!["c"; 60].join("+")),
        format!("{} == ''", vec!["message.content"; 60].join("+")),
        format!("function.arguments.list.map(x, {}).size() > 0", vec!["x.text"; 60].join("+")),
        // Long lists, and searches in long texts.
        format!("function.arguments.list.all(x, {})", vec!["x.n == 1"; 60].join("&&")),
        format!("function.arguments.list.all(x, {})", ["!message.content.contains('b')"; 9].join("&&")),
        "function.arguments.list.all(x, x in function.arguments.list)".to_owned(),
        "function.arguments.list.all(x, function.arguments.list == function.arguments.list)".to_owned(),
        // Regular expressions with many states.
        "message.content.matches('(a?){30}(a{1,5}){1,5}b')".to_owned(),
        "function.arguments.list.exists(x, x.text.matches('.{60}b'))".to_owned(),
    ] {
        assert_eq!(outcome(&text, "message:sent", &long), "it takes too long", "{text}");
    }
    // Plausible filters stay within the limit.
    for (text, expected) in [
        ("function.arguments.list.exists(x, x.n == 2)", "false"),
        ("function.arguments.list.exists(x, x.text.contains('b'))", "false"),
        ("message.content.matches('(?i)(good ?bye|bye|see you|ciao)')", "false"),
    ] {
        let mut long = long.clone();
        long["message"]["content"] = json!("a".repeat(10_000));
        assert_eq!(outcome(text, "message:sent", &long), expected, "{text}");
    }
}

/// Words of the language in any order. Most of these texts are no filters.
pub(super) fn words() -> impl Strategy<Value = String> {
    let words = [
        "event",
        "metadata",
        "message",
        "x",
        ".content",
        ".a",
        "['a']",
        "[0]",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "1",
        "2.5",
        "'a'",
        "\"b\"",
        "'",
        "\"",
        "\\",
        "null",
        "true",
        "false",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "==",
        "!=",
        "<",
        ">=",
        " in ",
        "?",
        ":",
        ",",
        ".size()",
        ".contains('a')",
        ".matches('a+')",
        ".map(x, x)",
        ".exists(x, x == 1)",
        "has(",
        "int(",
        "//",
        "\n",
        " ",
        "\u{e9}",
        "`",
        "&",
        "r'",
        "'''",
        "@",
    ];
    proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..60)
        .prop_map(|words| words.concat())
}

proptest! {
    /// The fuzz target `filter` (`tests/fuzz`) does the same for longer.
    #[test]
    fn no_text_causes_a_panic(text in prop_oneof![words(), any::<String>()]) {
        match Filter::parse(&text) {
            Ok(filter) => {
                let data = json!({ "message": { "content": "a b", "role": "user" } });
                let _ = evaluate(&filter, "message:sent", &data);
                let _ = evaluate(&filter, "conversation:started", &Json::Null);
            }
            Err(error) => {
                let lines: Vec<_> = text.split('\n').collect();
                prop_assert!(error.position.line <= lines.len().max(1), "{}", error);
                prop_assert!(!error.message.is_empty());
            }
        }
    }
}
