//! Syntax trees and results, compared with those of the `cel` crate.

use std::{panic::resume_unwind, thread};

use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};
use proptest::{prelude::*, sample::select};

use super::{hostile::words, *};
use crate::{
    parser::parse,
    program::Operator,
    syntax::{Syntax, Tree},
};

/// The `cel` crate's parser recurses deeply, in large frames.
const STACK_BYTES: usize = 64 * 1024 * 1024;
/// Errors about CEL that is no part of the subset, and about limits.
const NOT_IN_THE_SUBSET: [&str; 6] = [
    "objects cannot be written in a filter",
    "bytes cannot be written in a filter",
    "the number is too large",
    "brackets are nested at most 16 deep",
    "expressions are nested at most 64 deep",
    "a filter is at most 1000 bytes long",
];

/// Both parsers build the same tree, or both refuse the text. The only exceptions are [`NOT_IN_THE_SUBSET`].
pub(super) fn assert_same_syntax(text: &str) {
    // The one word that only CEL reserves: `function_is_a_variable_that_cel_reserves`.
    let text = &text.replace("function", "Function");
    match (parse(text).map(|tree| print(&tree)), parse_with_cel(text)) {
        (Ok(ours), Ok(theirs)) => assert_eq!(ours, theirs, "{text}"),
        (Err(_), Err(_)) => {}
        (Ok(ours), Err(theirs)) => panic!("only the cel crate refuses {text:?} ({ours}): {theirs}"),
        (Err(ours), Ok(theirs)) => assert!(
            NOT_IN_THE_SUBSET.contains(&ours.message.as_str()),
            "only we refuse {text:?} ({theirs}): {ours}"
        ),
    }
}

fn parse_with_cel(text: &str) -> Result<String, String> {
    on_large_stack(|| {
        // Without macros, their calls stay as written.
        let environment = cel::Env::default().with_optional_support(false);
        let parser = environment.parser().max_recursion_depth(200);
        parser.parse(text).map(|tree| print_cel(&tree)).map_err(|errors| errors.to_string())
    })
}

fn on_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work).unwrap();
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// A tree in the notation of [`print_cel`].
fn print(tree: &Tree<'_>) -> String {
    let call = |name: &str, arguments: &[Tree<'_>]| {
        format!("{name}({})", arguments.iter().map(print).collect::<Vec<_>>().join(", "))
    };
    match &tree.syntax {
        Syntax::Null => "null".into(),
        Syntax::Bool(value) => value.to_string(),
        Syntax::Int(value) => value.to_string(),
        Syntax::Double(value) => format!("{value:?}"),
        Syntax::String(value) => format!("{value:?}"),
        Syntax::List(items) => call("list", items),
        Syntax::Name(name) => without_blanks(name),
        Syntax::Field(object, name) => format!("{}.{name}", print(object)),
        Syntax::Index(pair) => call(operators::INDEX, &**pair),
        Syntax::Not(operand) => format!("{}({})", operators::LOGICAL_NOT, print(operand)),
        Syntax::Negate(operand) => format!("{}({})", operators::NEGATE, print(operand)),
        Syntax::And(pair) => call(operators::LOGICAL_AND, &**pair),
        Syntax::Or(pair) => call(operators::LOGICAL_OR, &**pair),
        Syntax::Conditional(parts) => call(operators::CONDITIONAL, &**parts),
        Syntax::Binary(Operator::In, pair) => call(operators::IN, &**pair),
        Syntax::Binary(operator, pair) => call(&format!("_{}_", operator.symbol()), &**pair),
        Syntax::Call(written) => {
            let target = written.target.as_ref().map_or_else(String::new, |target| print(target) + "->");
            target + &call(&without_blanks(written.name), &written.arguments)
        }
    }
}

fn print_cel(tree: &IdedExpr) -> String {
    let call = |name: &str, arguments: &[IdedExpr]| {
        format!("{name}({})", arguments.iter().map(print_cel).collect::<Vec<_>>().join(", "))
    };
    match &tree.expr {
        Expr::Literal(LiteralValue::Null) => "null".into(),
        Expr::Literal(LiteralValue::Boolean(value)) => value.inner().to_string(),
        Expr::Literal(LiteralValue::Int(value)) => value.inner().to_string(),
        // Filters have one kind of integer.
        Expr::Literal(LiteralValue::UInt(value)) => value.inner().to_string(),
        Expr::Literal(LiteralValue::Double(value)) => format!("{:?}", value.inner()),
        Expr::Literal(LiteralValue::String(value)) => format!("{:?}", value.inner()),
        Expr::List(list) => call("list", &list.elements),
        Expr::Ident(name) => name.clone(),
        Expr::Select(select) => format!("{}.{}", print_cel(&select.operand), select.field),
        Expr::Call(written) => {
            let target = written.target.as_ref().map_or_else(String::new, |target| print_cel(target) + "->");
            target + &call(&written.func_name, &written.args)
        }
        other => format!("not in the subset: {other:?}"),
    }
}

/// A name without the blanks between it and the dot before it.
fn without_blanks(name: &str) -> String {
    let word =
        name.rfind(|char: char| !char.is_ascii_alphanumeric() && char != '_').map_or(0, |before| before + 1);
    if name.starts_with('.') { format!(".{}", &name[word..]) } else { name.to_owned() }
}

#[test]
fn function_is_a_variable_that_cel_reserves() {
    assert!(parse("function.name").is_ok());
    assert!(parse_with_cel("function.name").unwrap_err().contains("reserved identifier: function"));
}

#[test]
fn the_fuzz_corpus_has_the_same_syntax_in_both_parsers() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/filter");
    let files: Vec<_> = std::fs::read_dir(corpus).unwrap().collect();
    assert!(!files.is_empty());
    for file in files {
        assert_same_syntax(&std::fs::read_to_string(file.unwrap().path()).unwrap());
    }
}

#[test]
fn corners_of_the_grammar_have_the_same_syntax_in_both_parsers() {
    for text in [
        "a + b - c * d / e % f < g == h in i != j && k || l ? m : n",
        "a ? b : c ? d : e",
        "a ? b ? c : d : e",
        "a ? (b ? c : d) : e",
        "a || b || c || d || e && f && g && h",
        "-1 + -x - -2 - --3 - ---4 - - 5",
        "-9223372036854775808",
        "--9223372036854775808",
        "-0x8000000000000000",
        "-7u",
        "18446744073709551616u",
        "1e400",
        "!-1",
        "!-x",
        "-!x",
        "!!!x",
        "! ! x",
        "-1.a",
        "-1[0].b()",
        "1.a",
        "[] + [,] + [1,] + [1, 2,]",
        "[,1]",
        "[1,,]",
        "f()",
        "f(,)",
        "f(1,)",
        ".a . // comment\n b",
        ". a(1)",
        "a.true",
        "a.if.b()",
        "a.if()",
        "if()",
        ".if",
        "existsOne",
        "[?a]",
        "a[?0]",
        "a.?b",
        "a.`b`",
        "a.b.c{d: e}",
        "{'a': [1, {}]}",
        "b'a' + br'\\'",
        "''''''",
        "'''a\r\n'''",
        "'\\ud800'",
        "'\\377\\xff'",
        "'\\400'",
        "\u{feff}a",
        "a\u{a0}",
        "a\u{c}\t\r\n",
        "a // comment",
        "a / / b",
        "inx in in_x",
        "trueish",
    ] {
        assert_same_syntax(text);
    }
}

/// An expression whose only variable is `x`, without macros.
fn constant() -> impl Strategy<Value = String> {
    let leaves = [
        "1",
        "2",
        "0",
        "-7",
        "2.5",
        "-0.5",
        "1e300",
        "9223372036854775807",
        "'a'",
        "'ab'",
        "''",
        "true",
        "false",
        "null",
        "[1, 2]",
        "['a']",
        "[]",
        "x",
    ];
    let leaf = proptest::sample::select(leaves.to_vec()).prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let operators = ["&&", "||", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", " in "];
        let methods = ["contains", "startsWith", "endsWith"];
        let pair = (inner.clone(), proptest::sample::select(operators.to_vec()), inner.clone());
        prop_oneof![
            4 => pair.prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
            1 => inner.clone().prop_map(|a| format!("(!{a})")),
            1 => inner.clone().prop_map(|a| format!("(-({a}))")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            1 => (inner.clone(), proptest::sample::select(methods.to_vec()), inner.clone())
                .prop_map(|(a, method, b)| format!("{a}.{method}({b})")),
            1 => inner.clone().prop_map(|a| format!("size({a})")),
            1 => (inner.clone(), inner).prop_map(|(a, b)| format!("[{a}, {b}]")),
        ]
    })
}

/// An expression with few brackets, so that precedence decides. Most are correct.
fn expression() -> impl Strategy<Value = String> {
    const LEAVES: &str = r#"event x in_ _a1 .x true false null 0 7 -7 0x1F 00 9223372036854775807 1u 0x1U 1.5 .5 1e3
        1.5E-7 'a' "b" '' '\'' '\n\x41\u00e9\U0001F600\101' r'\' R"\n" '''a'b''' """a""" r'''\''' b r [] [,] 'é'"#;
    let leaves: Vec<_> = LEAVES.split_whitespace().collect();
    let blanks = select(vec!["", "", "", " ", " ", "\n", "\t", "\u{c}", " // é\n"]);
    let symbols =
        ["&&", "||", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", " in ", "&&", "||", "+", "*"];
    let prefixes = ["!", "-", "!!", "--", "---", "! ", "- "];
    let suffixes = [".b", ".if", ".b()", " . b ( )"];
    select(leaves).prop_map(str::to_owned).prop_recursive(5, 24, 3, move |inner| {
        let one = inner.clone();
        let two = (inner.clone(), inner.clone());
        let three = (inner.clone(), inner.clone(), inner.clone());
        prop_oneof![
            8 => (inner.clone(), blanks.clone(), select(symbols.to_vec()), blanks.clone(), inner)
                .prop_map(|(a, before, symbol, after, b)| [&a, before, symbol, after, &b].concat()),
            1 => (select(prefixes.to_vec()), one.clone()).prop_map(|(prefix, a)| format!("{prefix}{a}")),
            2 => one.clone().prop_map(|a| format!("({a})")),
            2 => (one.clone(), select(suffixes.to_vec())).prop_map(|(a, suffix)| format!("{a}{suffix}")),
            1 => two.clone().prop_map(|(a, b)| format!("{a}[{b}]")),
            1 => two.clone().prop_map(|(a, b)| format!("[{a}, {b}]")),
            1 => one.prop_map(|a| format!("[{a},]")),
            1 => two.clone().prop_map(|(a, b)| format!("f({a}, {b})")),
            1 => two.prop_map(|(a, b)| format!("{a}.all(x, {b})")),
            2 => three.prop_map(|(a, b, c)| format!("{a} ? {b} : {c}")),
        ]
    })
}

/// An expression with a few characters removed and a few fragments inserted.
fn mutation() -> impl Strategy<Value = String> {
    let fragments = [
        "'",
        "\"",
        "\\",
        "r",
        "b",
        "R",
        "B",
        "0",
        "1",
        "8",
        "9",
        "x",
        "X",
        "u",
        "U",
        "e",
        "E",
        ".",
        ",",
        ":",
        "?",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "=",
        "&",
        "|",
        "<",
        ">",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "`",
        "#",
        " ",
        "\r",
        "\n",
        "é",
        "_",
        "in",
        "if",
        "1.",
        "1e",
        "'\\q'",
        "'\\x4'",
        "b'a'",
        "{}",
        "`a`",
        "9223372036854775808",
        ".?",
        "[?",
        "{a: 1}",
        "// ",
        "'''",
        "+ -",
        "function",
    ];
    let inserted = prop_oneof![Just(""), select(fragments.to_vec())];
    let change = (any::<prop::sample::Index>(), 0..2_usize, inserted);
    (expression(), prop::collection::vec(change, 1..3)).prop_map(|(text, changes)| {
        let mut text: Vec<char> = text.chars().collect();
        for (place, removed, inserted) in changes {
            let place = place.index(text.len() + 1);
            text.splice(place..(place + removed).min(text.len()), inserted.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn every_text_has_the_same_syntax_in_both_parsers(
        text in prop_oneof![4 => expression(), 4 => mutation(), 1 => words(), 1 => any::<String>()],
    ) {
        assert_same_syntax(&text);
    }

    #[test]
    fn results_equal_those_of_the_cel_crate(
        body in constant(),
        test in select(vec!["exists", "all", "exists_one"]),
    ) {
        let text = format!("[1, 2.5, 'a'].{test}(x, {body})");
        let theirs = cel::Env::stdlib().compile(&text).unwrap().execute(&cel::Context::default());
        let ours = Filter::parse(&text).map(|filter| evaluate(&filter, "conversation:started", &Json::Null));
        match (theirs, ours) {
            (Ok(cel::Value::Bool(theirs)), Ok(Ok(ours))) => prop_assert_eq!(ours, theirs, "{}", text),
            (Ok(theirs), ours) => prop_assert!(false, "{}: {:?}, not {:?}", text, ours, theirs),
            // Filters calculate with numbers of both kinds, and CEL does not.
            (Err(_), _) => {}
        }
    }
}
