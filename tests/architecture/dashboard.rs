//! The dashboard of `template.yaml`: valid JSON that shows metrics which the code writes.

use std::collections::BTreeSet;

use serde_json::Value;

/// The text of a literal block, without the references of `!Sub`.
fn body(template: &str) -> String {
    let lines = template.lines().skip_while(|line| !line.trim_start().starts_with("DashboardBody: !Sub |"));
    let lines = lines.skip(1).take_while(|line| line.is_empty() || line.starts_with("        "));
    let text: String = lines.collect();
    let mut parts = text.split("${");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "x" + part.split_once('}').map_or("", |(_, rest)| rest))
}

/// The names of our own metrics in the widgets, with the shorthands of the format: `.` repeats the field above it, `...` all fields
/// but the last ones.
pub(crate) fn metrics(template: &str) -> BTreeSet<String> {
    let board: Value = serde_json::from_str(&body(template)).unwrap_or_else(|error| panic!("{error}"));
    let widgets = board["widgets"].as_array().expect("widgets").iter();
    let mut found = BTreeSet::new();
    for widget in widgets {
        let mut above: Vec<String> = vec![];
        for row in widget["properties"]["metrics"].as_array().expect("metrics") {
            let fields: Vec<&str> = row.as_array().expect("a row").iter().filter_map(Value::as_str).collect();
            if fields.first() == Some(&"...") {
                continue;
            }
            let full = |(at, field): (usize, &&str)| match *field {
                "." => above.get(at).cloned().unwrap_or_default(),
                other => other.to_owned(),
            };
            let fields: Vec<String> = fields.iter().enumerate().map(full).collect();
            if fields.first().is_some_and(|namespace| namespace == "Switchboard") {
                found.extend(fields.get(1).cloned());
            }
            if !fields.is_empty() {
                above = fields;
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorthands_of_the_format_are_resolved() {
        let template = "
      DashboardBody: !Sub |
        { \"widgets\": [{ \"properties\": { \"metrics\": [
          [\"Switchboard\", \"A\", \"Stack\", \"${AWS::StackName}\"], [\".\", \"B\", \".\", \".\"], [\"...\", \"x\"],
          [\"AWS/SQS\", \"C\", \"QueueName\", \"${Calls.QueueName}\"] ] } }] }
  Next:
";
        assert_eq!(metrics(template), ["A", "B"].map(str::to_owned).into());
    }
}
