mod differential;
mod hostile;

use serde_json::{Value as Json, json};

use super::*;

/// A conversation whose metadata has one field named like a macro.
fn conversation(event: &str) -> Json {
    json!({
        "id": "cnv_01JD9XQ4T0000000000000000A",
        "type": "outbound_phone_call",
        "status": if event == "phone_call:connection_requested" { "queued" } else { "started" },
        "agent_id": null,
        "phone_call": { "provider": "twilio", "to_number": "+14155550100", "from_number": "+4930901820" },
        "metadata": { "plan": "gold", "tries": "3", "with space": "yes", "map": "a map" },
    })
}

fn evaluate(filter: &Filter, event: &str, data: &Json) -> Result<bool, FilterFailure> {
    filter.matches(&Variables {
        event,
        duration: &data["duration"],
        speech: if event.starts_with("speech:") { data } else { &Json::Null },
        message: &data["message"],
        function: &data["function"],
        conversation: Lazy::new(|| conversation(event)),
    })
}

/// `true`, `false` or the error. The filter's syntax is compared with CEL's on the way.
fn outcome(text: &str, name: &str, data: &Json) -> String {
    differential::assert_same_syntax(text);
    match Filter::parse(text) {
        Ok(filter) => {
            evaluate(&filter, name, data).map_or_else(|error| error.to_string(), |is| is.to_string())
        }
        Err(error) => error.to_string(),
    }
}

/// Checks rows of (filter, outcome) against one event.
fn check(name: &str, data: &Json, rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        assert_eq!(outcome(text, name, data), *expected, "{text}");
    }
}

#[test]
fn a_variable_is_null_for_events_that_do_not_have_it() {
    check(
        "message:sent",
        &json!({ "message": { "role": "user", "content": "Well, Goodbye.", "interrupted": false } }),
        &[
            ("event == 'message:sent'", "true"),
            ("message.role == 'user' && message.content.contains('oodbye')", "true"),
            ("message.content.lowerAscii().contains('goodbye')", "true"),
            ("message.content.contains('goodbye')", "false"),
            ("message.content.matches('(?i)good ?bye')", "true"),
            ("message.interrupted", "false"),
            ("!message.interrupted", "true"),
            ("has(message.content) && !has(message.started_at)", "true"),
            ("duration == null && speech == null && function == null && phone_call != null", "true"),
            ("speech.role == 'user'", "false"),
            ("function.arguments.city == 'Paris'", "false"),
            ("conversation.type == 'outbound_phone_call' && conversation.status == 'started'", "true"),
            ("conversation.phone_call.to_number.startsWith('+1')", "true"),
            ("conversation.agent_id == null", "true"),
            ("conversation.id.startsWith('cnv_')", "true"),
            ("conversation.metadata == metadata", "true"),
            ("metadata.plan == 'gold'", "true"),
            ("metadata['with space'] == 'yes'", "true"),
            ("'plan' in metadata && !('x' in metadata)", "true"),
            ("metadata.exists(name, metadata[name] == 'gold')", "true"),
            ("metadata.map == 'a map'", "true"),
            ("int(metadata.tries) > 2", "true"),
            ("size(metadata) == 4", "true"),
        ],
    );
    check(
        "conversation:duration",
        &json!({ "duration": 300 }),
        &[
            ("duration == 300", "true"),
            ("duration == 300.0", "true"),
            ("duration > 299.5 && duration < 300.5", "true"),
            ("duration >= 300u", "true"),
            ("duration in [60, 300.0]", "true"),
            ("duration % 60 == 0", "true"),
            ("duration / 7 == 42", "true"),
            ("duration / 7.0 > 42.8", "true"),
            ("duration - 0.5 == 299.5", "true"),
            ("-duration == -300", "true"),
            ("duration == '300'", "false"),
            ("string(duration) == '300'", "true"),
            ("message == null", "true"),
        ],
    );
    check(
        "speech:started",
        &json!({ "role": "agent" }),
        &[("speech.role == 'agent'", "true"), ("message.role == null", "true")],
    );
    check(
        "phone_call:connection_requested",
        &json!({ "phone_call": { "to_number": "+14155550100" } }),
        &[
            ("phone_call.to_number == '+14155550100'", "true"),
            ("phone_call.provider == 'twilio'", "true"),
            ("phone_call.answered_by == null", "true"),
            ("conversation.status == 'queued'", "true"),
        ],
    );
    let call = json!({ "id": "c1", "name": "book", "arguments": { "city": "Paris", "guests": [
        { "name": "Ann", "age": 40 }, { "name": "Bob", "age": 7 }, {} ], "price": 10.5, "ok": true } });
    check(
        "function_call:triggered",
        &json!({ "function": call }),
        &[
            ("function.name == 'book' && function.arguments.city == 'Paris'", "true"),
            ("function['arguments']['city'] == 'Paris'", "true"),
            ("function.arguments.price * 2 == 21", "true"),
            ("function.arguments.ok", "true"),
            ("function.arguments.guests[1].age < 18", "true"),
            ("function.arguments.guests[2].age == null", "true"),
            ("function.arguments.guests.exists(guest, guest.age == 7)", "true"),
            ("function.arguments.guests.all(guest, has(guest.age))", "false"),
            ("function.arguments.guests.exists_one(guest, guest.name == 'Ann')", "true"),
            ("function.arguments.guests.filter(guest, has(guest.age)).size() == 2", "true"),
            ("function.arguments.guests.map(guest, guest.name) == ['Ann', 'Bob', null]", "true"),
            ("function.arguments.guests.map(guest, has(guest.age), guest.age)[1] == 7", "true"),
            ("function.arguments.guests[0] == function.arguments.guests[1]", "false"),
            ("function.arguments.tables.exists(table, true)", "'exists' does not take (null)"),
        ],
    );
    check(
        "function_call:triggered",
        &json!({ "function": { "id": "c1", "name": "book", "arguments": "{broken" } }),
        &[
            ("function.arguments.startsWith('{')", "true"),
            ("function.arguments.city == 'Paris'", "string has no fields"),
        ],
    );
}

#[test]
fn a_field_of_null_is_null_and_failures_show_no_values() {
    check(
        "conversation:started",
        &Json::Null,
        &[
            ("message.content.any.thing == null", "true"),
            ("message['content'][0] == null", "true"),
            ("metadata.x == 'y'", "false"),
            ("metadata.x != 'y'", "true"),
            ("metadata.x.y == null", "true"),
            ("has(metadata.x) || has(message.content)", "false"),
            ("message.content.contains('x')", "'contains' does not take (null, string)"),
            ("message.content.contains('x') || true", "true"),
            ("message.content.contains('x') && false", "false"),
            ("true || message.content.contains('x')", "true"),
            ("message.content.contains('x') || false", "'contains' does not take (null, string)"),
            ("message.content.contains('x') ? true : false", "'contains' does not take (null, string)"),
            ("[1, 2].exists(n, n == 2 || message.content.contains('x'))", "true"),
            ("[1, 2].all(n, n == 1 && message.content.contains('x'))", "false"),
            ("duration > 10", "'>' does not take (null, int)"),
            ("metadata.plan.x == 1", "string has no fields"),
            ("metadata.plan", "the result is string, neither true nor false"),
            ("!metadata.plan", "'!' does not take (string)"),
            ("metadata.plan && true", "'&&' does not take (string)"),
            ("1 / 0 == 1", "division by zero"),
            ("9223372036854775807 + 1 > 0", "a number is too large"),
            ("-9223372036854775808 < 0", "true"),
            ("-(-9223372036854775808) > 0", "a number is too large"),
            ("int(1e300) > 0", "a number is too large"),
            ("int(metadata.plan) == 1", "'int' cannot convert that text"),
            ("[1][1] == 1", "a list has no item at that place"),
            ("[1][-1] == 1", "a list has no item at that place"),
            ("{'a': 1}.a == 1", "line 1, column 1: objects cannot be written in a filter"),
            ("1 == 1.0 && 9223372036854775807 != 9223372036854775807.0", "true"),
            ("9007199254740993 > 9007199254740992.0", "true"),
            ("-3 == -3.0 && -3 > -3.5 && 3 < 3.5", "true"),
            ("0.0 / 0.0 == 0.0 / 0.0", "false"),
            ("null == null && !(null == false) && '' != null", "true"),
            ("'b' > 'a' && true > false && [1, 'a'] == [1.0, 'a']", "true"),
            ("[1] + [2] == [1, 2] && 'a' + 'b' == 'ab'", "true"),
            ("'é'.size() == 1 && 'A'.lowerAscii() == 'a' && 'a'.upperAscii() == 'A'", "true"),
            ("bool('true') && double('1.5') == 1.5 && double(2) == 2 && string(true) == 'true'", "true"),
            ("matches('abc', '^a.c$') && 'abc'.endsWith('c')", "true"),
            ("[3].exists(message, message == 3)", "true"),
        ],
    );
}

#[test]
fn an_error_points_at_the_mistake() {
    for (text, message) in [
        ("", "line 1, column 1: the expression is not complete"),
        ("metadata.plan ==", "line 1, column 17: the expression is not complete"),
        ("duration = 300", "line 1, column 10: unexpected '= '"),
        ("duration == 300)", "line 1, column 16: unexpected ')'"),
        ("message.content.contains('x'", "line 1, column 29: missing ')' at the end"),
        (
            "true &&\n  'é' == plan",
            "line 2, column 10: unknown variable 'plan'; there are event, \
          conversation, duration, message, speech, function, phone_call, metadata",
        ),
        ("metadata.plan == \"gold", "line 1, column 18: unexpected '\"gold'"),
        ("'é' == '€' && \u{1f600}", "line 1, column 15: unexpected '\u{1f600}'"),
        (
            "message.content.includes('x')",
            "line 1, column 17: unknown function 'includes'; there are size, \
          contains, startsWith, endsWith, lowerAscii, upperAscii, matches, int, double, string, bool, has, \
          all, exists, exists_one, filter and map",
        ),
        (
            "contains('x', 'y')",
            "line 1, column 1: 'contains' is called like message.content.contains('text')",
        ),
        ("message.content.size(1)", "line 1, column 17: 'size' is called like message.content.size()"),
        ("int(1, 2) == 1", "line 1, column 1: 'int' is called like int(metadata.count)"),
        ("has(metadata)", "line 1, column 1: 'has' takes a field, such as has(metadata.plan)"),
        (
            "metadata.all(name)",
            "line 1, column 10: 'all' is called like \
          function.arguments.guests.all(guest, guest.age < 18)",
        ),
        ("[1].all(1, true)", "line 1, column 9: should be a name for the item"),
        ("[1].all(x, [1].all(y, true))", "line 1, column 16: a macro cannot be inside another one"),
        (
            "['a'].map(x, x + x).map(x, x + x).size() > 1",
            "line 1, column 7: a macro cannot be inside another one",
        ),
        (
            "[1].all(x, true) && x == 1",
            "line 1, column 21: unknown variable 'x'; there are event, \
          conversation, duration, message, speech, function, phone_call, metadata",
        ),
        (
            "metadata.plan.matches(metadata.x)",
            "line 1, column 31: the pattern of 'matches' should be written \
          out, in quotes",
        ),
        ("duration == 99999999999999999999", "line 1, column 13: invalid int literal"),
        ("duration == 18446744073709551615u", "line 1, column 13: the number is too large"),
        ("b'a' == b'a'", "line 1, column 1: bytes cannot be written in a filter"),
        ("300", "line 1, column 1: a filter should be true or false, such as duration == 300"),
        (
            "metadata.plan + 'x'",
            "line 1, column 1: a filter should be true or false, such as duration == 300",
        ),
        ("event", "line 1, column 1: a filter should be true or false, such as duration == 300"),
        ("a.?b", "line 1, column 2: unsupported syntax '.?'"),
        (
            "Function.name == 'x'",
            "line 1, column 1: unknown variable 'Function'; there are event, \
          conversation, duration, message, speech, function, phone_call, metadata",
        ),
        ("duration == 1 function", "line 1, column 15: unexpected 'function'"),
        (
            "function(1) == 1",
            "line 1, column 1: unknown function 'function'; there are size, \
          contains, startsWith, endsWith, lowerAscii, upperAscii, matches, int, double, string, bool, has, \
          all, exists, exists_one, filter and map",
        ),
        ("if == 1", "line 1, column 1: reserved identifier: if"),
        ("duration ? true", "line 1, column 1: the condition is not complete"),
    ] {
        assert_eq!(Filter::parse(text).unwrap_err().to_string(), message, "{text}");
        differential::assert_same_syntax(text);
    }
    let error = Filter::parse("event.matches('(a')").unwrap_err().to_string();
    assert!(error.starts_with("line 1, column 15: the pattern is no regular expression"), "{error}");
    let error = Filter::parse("event.matches('(a{1,1000}){1,1000}')").unwrap_err().to_string();
    assert!(error.starts_with("line 1, column 15: the pattern is no regular expression"), "{error}");
}

#[test]
fn a_filter_is_stored_as_written_and_its_debug_output_is_redacted() {
    let filter = Filter::parse("  phone_call.to_number == '+14155550100'\n").unwrap();
    let stored = serde_json::to_string(&filter).unwrap();
    assert_eq!(stored, r#""  phone_call.to_number == '+14155550100'\n""#);
    let read: Filter = serde_json::from_str(&stored).unwrap();
    assert_eq!(read, filter);
    assert_eq!(format!("{read:?}"), "Filter([redacted])");
    assert_eq!(evaluate(&read, "phone_call:accepted", &Json::Null), Ok(true));
}

#[test]
fn clones_share_the_compiled_form() {
    let stored = Filter::stored("duration == 1".to_owned());
    let clone = stored.clone();
    assert_eq!(evaluate(&clone, "conversation:started", &Json::Null), Ok(false));
    assert!(stored.0.program.get().is_some());
}

#[test]
fn a_stored_text_that_is_no_filter_does_not_match() {
    let failure = evaluate(&Filter::stored("once(valid)".to_owned()), "conversation:started", &Json::Null);
    assert!(
        failure.unwrap_err().to_string().starts_with("it cannot be read: line 1, column 1: unknown function")
    );
}

#[test]
fn the_documented_examples_are_filters() {
    let page = include_str!("../../../docs/filters.md");
    let table = page.split("## Examples").nth(1).and_then(|rest| rest.split("##").next()).unwrap();
    let examples: Vec<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split("` | ").next())
        // A table escapes the bars in its cells.
        .map(|example| example.replace("\\|", "|"))
        .collect();
    assert_eq!(examples.len(), 17);
    for example in examples {
        assert_eq!(Filter::parse(&example).err(), None, "{example}");
        differential::assert_same_syntax(&example);
    }
}
