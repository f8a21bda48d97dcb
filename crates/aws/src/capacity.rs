//! The write units that DynamoDB charges for a write, and the partition keys that it goes to, by its rules: one unit per
//! KB of the larger of the item before and after, twice in a transaction; and for each index whose entry changes, one unit
//! per KB of the entry, or of both if its key changes.
//!
//! Items are JSON as in DynamoDB's wire protocol. This module knows the keys and the indexes of our table; it sends
//! nothing. `switchboard load` and the tests of the write budget count with it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// An item as in DynamoDB's wire protocol: `{"pk": {"S": ".."}}`.
pub type WireItem = Map<String, Value>;

/// The indexes: name, partition key and sort key. Both hold keys only.
const INDEXES: [(&str, &str, &str); 2] =
    [("account", "account_pk", "account_sk"), ("due", "due_pk", "due_at")];

/// The bytes of a unit.
const UNIT: usize = 1_024;

/// The writes and units that one request takes of one partition key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// `table`, or the name of the index.
    pub place: &'static str,
    /// The partition key.
    pub key: String,
    /// Writes: one, or two if the key of an index's entry changes.
    pub writes: u64,
    /// Write units.
    pub units: u64,
}

/// The charges of a write that turned the item `before` into `after`; both are none for a condition that was checked.
#[must_use]
pub fn charges(
    key: &WireItem,
    before: Option<&WireItem>,
    after: Option<&WireItem>,
    in_transaction: bool,
) -> Vec<Charge> {
    let factor = if in_transaction { 2 } else { 1 };
    let size = before.map(item_size).unwrap_or_default().max(after.map(item_size).unwrap_or_default());
    let pk = text(key, "pk").unwrap_or_default().to_owned();
    let mut charges = vec![Charge { place: "table", key: pk, writes: 1, units: units(size) * factor }];
    for (place, partition, sort) in INDEXES {
        let entry = |item: Option<&WireItem>| {
            let item = item?;
            let (pk, at) = (item.get(partition)?, item.get(sort)?);
            let names = ["pk", "sk", partition, sort];
            let size = names.iter().filter_map(|name| item.get_key_value(*name)).map(attribute_size).sum();
            Some((text(item, partition)?.to_owned(), (pk.clone(), at.clone()), size))
        };
        let mut charge =
            |key: String, size: usize| charges.push(Charge { place, key, writes: 1, units: units(size) });
        match (entry(before), entry(after)) {
            (Some((_, old, _)), Some((_, new, _))) if old == new => {}
            (old, new) => {
                for (key, _, size) in [old, new].into_iter().flatten() {
                    charge(key, size);
                }
            }
        }
    }
    charges
}

fn units(size: usize) -> u64 {
    u64::try_from(size.div_ceil(UNIT).max(1)).unwrap_or(u64::MAX)
}

/// Bytes of an item: the names and values of its attributes.
#[must_use]
pub fn item_size(item: &WireItem) -> usize {
    item.iter().map(attribute_size).sum()
}

fn attribute_size((name, value): (&String, &Value)) -> usize {
    name.len() + value_size(value)
}

/// Bytes of a value, as the Developer Guide describes them ("DynamoDB Item sizes and formats").
fn value_size(value: &Value) -> usize {
    let Some((kind, value)) = value.as_object().and_then(|value| value.iter().next()) else { return 0 };
    let number = |text: &str| {
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        digits.div_ceil(2) + 1 + usize::from(text.starts_with('-'))
    };
    let members = |size: fn(&Value) -> usize| {
        value.as_array().into_iter().flatten().map(|member| size(member) + 1).sum::<usize>()
    };
    match kind.as_str() {
        "S" => value.as_str().map_or(0, str::len),
        "N" => value.as_str().map_or(0, number),
        "B" => value.as_str().map_or(0, |text| text.len() * 3 / 4),
        "BOOL" | "NULL" => 1,
        "L" => 3 + members(value_size),
        "M" => {
            3 + value
                .as_object()
                .into_iter()
                .flatten()
                .map(|member| attribute_size(member) + 1)
                .sum::<usize>()
        }
        _ => members(|member| member.as_str().map_or(0, str::len)),
    }
}

/// A text attribute.
#[must_use]
pub fn text<'a>(item: &'a WireItem, name: &str) -> Option<&'a str> {
    item.get(name)?.get("S")?.as_str()
}

/// A sum of charges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Writes.
    pub writes: u64,
    /// Write units.
    pub units: u64,
}

/// The charges of many writes.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// By the kind of item, the place and whether it is a part of a transaction.
    kinds: BTreeMap<String, Sum>,
    /// By the place and the partition key.
    keys: BTreeMap<(&'static str, String), Sum>,
}

impl Tally {
    /// Adds a write of the item with this key.
    pub fn add(
        &mut self,
        key: &WireItem,
        before: Option<&WireItem>,
        after: Option<&WireItem>,
        in_transaction: bool,
    ) {
        let sk = text(key, "sk").unwrap_or_default();
        let kind = sk.split('#').next().unwrap_or_default();
        for Charge { place, key, writes, units } in charges(key, before, after, in_transaction) {
            let kind = match (place, in_transaction) {
                ("table", true) => format!("{kind}, in a transaction"),
                ("table", false) => kind.to_owned(),
                (index, _) => format!("{kind}, index {index}"),
            };
            for sum in [self.kinds.entry(kind).or_default(), self.keys.entry((place, key)).or_default()] {
                sum.writes += writes;
                sum.units += units;
            }
        }
    }

    /// All write units.
    #[must_use]
    pub fn units(&self) -> u64 {
        self.kinds.values().map(|sum| sum.units).sum()
    }

    /// The sums by the kind of item and the place, the most units first.
    #[must_use]
    pub fn kinds(&self) -> Vec<(&str, Sum)> {
        let mut kinds: Vec<_> = self.kinds.iter().map(|(kind, sum)| (kind.as_str(), *sum)).collect();
        kinds.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.units));
        kinds
    }

    /// The sums by place and partition key, the most writes first.
    #[must_use]
    pub fn keys(&self) -> Vec<(&'static str, &str, Sum)> {
        let mut keys: Vec<_> =
            self.keys.iter().map(|((place, key), sum)| (*place, key.as_str(), *sum)).collect();
        keys.sort_by_key(|(_, _, sum)| std::cmp::Reverse(sum.writes));
        keys
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(value: &Value) -> WireItem {
        value.as_object().unwrap().clone()
    }

    fn of(
        before: Option<&WireItem>,
        after: Option<&WireItem>,
        in_transaction: bool,
    ) -> Vec<(&'static str, u64)> {
        let key = before.or(after).unwrap();
        charges(key, before, after, in_transaction)
            .iter()
            .map(|charge| (charge.place, charge.units))
            .collect()
    }

    #[test]
    fn a_write_costs_its_larger_item_and_the_entries_that_change() {
        let due = |at: &str, text: usize| {
            item(&json!({
                "pk": { "S": "a" }, "sk": { "S": "LEASE" }, "due_pk": { "S": "DUE#001" },
                "due_at": { "N": at }, "text": { "S": "x".repeat(text) },
            }))
        };
        let (first, second, long) = (due("1", 10), due("2", 10), due("2", 1_500));
        assert_eq!(of(None, Some(&first), false), [("table", 1), ("due", 1)]);
        assert_eq!(of(Some(&first), Some(&second), false), [("table", 1), ("due", 1), ("due", 1)]);
        assert_eq!(of(Some(&second), Some(&long), false), [("table", 2)]);
        assert_eq!(of(Some(&long), Some(&second), true), [("table", 4)]);
        assert_eq!(of(Some(&long), None, true), [("table", 4), ("due", 1)]);
        assert_eq!(charges(&first, None, None, true)[0].units, 2, "a condition");
    }

    #[test]
    fn sizes_are_those_of_the_developer_guide() {
        let nested = item(&json!({
            "pk": { "S": "é" }, "n": { "N": "-123" }, "b": { "BOOL": true }, "0": { "NULL": true },
            "l": { "L": [{ "N": "7" }, { "S": "ab" }] }, "m": { "M": { "k": { "S": "v" } } }, "s": { "NS": ["1"] },
        }));
        assert_eq!(item_size(&nested), 4 + 5 + 2 + 2 + (1 + 3 + 3 + 3) + (1 + 3 + 3) + (1 + 2));
    }

    #[test]
    fn a_tally_names_the_busiest_keys() {
        let state = item(&json!({ "pk": { "S": "a#b" }, "sk": { "S": "EVT#000001" } }));
        let mut tally = Tally::default();
        tally.add(&state, None, Some(&state), false);
        tally.add(&state, None, Some(&state), true);
        assert_eq!(tally.units(), 3);
        assert_eq!(tally.keys(), [("table", "a#b", Sum { writes: 2, units: 3 })]);
        let kinds: Vec<_> = tally.kinds().iter().map(|(kind, sum)| (kind.to_string(), sum.units)).collect();
        assert_eq!(kinds, [("EVT, in a transaction".to_owned(), 2), ("EVT".to_owned(), 1)]);
    }
}
