//! The evaluator of compiled filters.
//!
//! It counts steps: one for each expression, more for long texts and lists. As in CEL, a failure on one side
//! of `&&` or `||` does not matter if the other side decides the result. Only a lack of steps always ends the
//! evaluation.

use std::{borrow::Cow, cell::Cell, cmp::Ordering, rc::Rc};

use serde_json::{Map, Value as Json};

use super::{
    FilterError,
    program::{Function, Macro, MacroKind, Node, Operator, Program},
    values::{Items, Value, integer},
    variables::Variables,
};

/// Maximum number of steps of an evaluation: some three milliseconds.
pub(super) const MAX_STEPS: usize = 100_000;
/// Bytes of a text that are read or copied in one step.
const BYTES_A_STEP: usize = 16;

/// The reason why a filter failed. It names types and shows parts of the filter, but no values of the event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterFailure {
    /// The stored text is no filter, for example because a later version refuses it.
    #[error("it cannot be read: {0}")]
    Unreadable(FilterError),
    /// An operator or function does not take values of these types.
    #[error("'{operation}' does not take ({types})")]
    NoOverload {
        /// The operator's or function's name.
        operation: &'static str,
        /// The types, separated by commas.
        types: String,
    },
    /// A field of a value that has no fields, with the value's type.
    #[error("{0} has no fields")]
    NoFields(&'static str),
    /// An index beyond the end of a list.
    #[error("a list has no item at that place")]
    OutOfBounds,
    /// Division by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// A result that does not fit into an integer.
    #[error("a number is too large")]
    Overflow,
    /// A text that the function, which is named, cannot convert.
    #[error("'{0}' cannot convert that text")]
    NotConvertible(&'static str),
    /// The evaluation took too many steps.
    #[error("it takes too long")]
    TooLong,
    /// A result that is neither true nor false, with its type.
    #[error("the result is {0}, neither true nor false")]
    NotBool(&'static str),
}

type Evaluated<T> = Result<T, FilterFailure>;

impl Program {
    /// Evaluates within `steps`; also how many were taken.
    pub(super) fn evaluate(&self, variables: &Variables<'_>, steps: usize) -> (Evaluated<bool>, usize) {
        let evaluation = Evaluation { variables, steps_left: Cell::new(steps) };
        let matches = match evaluation.value(&self.0, None) {
            Ok(Value::Bool(matches)) => Ok(matches),
            Ok(other) => Err(FilterFailure::NotBool(other.type_name())),
            Err(failure) => Err(failure),
        };
        (matches, steps - evaluation.steps_left.get())
    }
}

struct Evaluation<'a> {
    variables: &'a Variables<'a>,
    steps_left: Cell<usize>,
}

impl<'a> Evaluation<'a> {
    /// The value of a node. `item` is the current item of the macro around it.
    fn value(&self, node: &'a Node, item: Option<&Value<'a>>) -> Evaluated<Value<'a>> {
        self.take(1)?;
        match node {
            Node::Null => Ok(Value::Null),
            Node::Bool(value) => Ok(Value::Bool(*value)),
            Node::Int(value) => Ok(Value::Int(*value)),
            Node::Double(value) => Ok(Value::Double(*value)),
            Node::String(text) => Ok(Value::String(Cow::Borrowed(text))),
            Node::List(nodes) => Ok(Value::List(Rc::new(self.values(nodes, item)?))),
            Node::Variable(variable) => Ok(self.variables.get(*variable)),
            Node::Item => {
                let item = item.cloned().unwrap_or(Value::Null);
                self.take_bytes(&[&item])?;
                Ok(item)
            }
            Node::Field(object, name) => field(&self.value(object, item)?, name),
            Node::Has(object, name) => {
                Ok(Value::Bool(!matches!(field(&self.value(object, item)?, name)?, Value::Null)))
            }
            Node::Index(pair) => index(&self.value(&pair[0], item)?, &self.value(&pair[1], item)?),
            Node::Not(operand) => Ok(Value::Bool(!self.bool(operand, item, "!")?)),
            Node::Negate(operand) => negate(&self.value(operand, item)?),
            Node::And(pair) => self.decide(pair, item, ("&&", false)),
            Node::Or(pair) => self.decide(pair, item, ("||", true)),
            Node::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                self.value(if self.bool(condition, item, "?:")? { then } else { otherwise }, item)
            }
            Node::Binary(operator, pair) => {
                let (left, right) = (self.value(&pair[0], item)?, self.value(&pair[1], item)?);
                self.binary(*operator, &left, &right)
            }
            Node::Call(function, arguments) => self.call(*function, &self.values(arguments, item)?),
            Node::Matches(text, pattern) => {
                let text = self.value(text, item)?;
                let Value::String(text) = &text else { return Err(no_overload("matches", &[&text])) };
                self.take(text.len().saturating_mul(pattern.steps_per_byte))?;
                Ok(Value::Bool(pattern.regex.is_match(text)))
            }
            Node::Macro(looking) => self.look(looking, item),
        }
    }

    fn values(&self, nodes: &'a [Node], item: Option<&Value<'a>>) -> Evaluated<Vec<Value<'a>>> {
        nodes.iter().map(|node| self.value(node, item)).collect()
    }

    fn bool(&self, node: &'a Node, item: Option<&Value<'a>>, operation: &'static str) -> Evaluated<bool> {
        match self.value(node, item)? {
            Value::Bool(value) => Ok(value),
            other => Err(no_overload(operation, &[&other])),
        }
    }

    /// `&&`, which is decided by false, and `||`, which is decided by true.
    fn decide(
        &self,
        [left, right]: &'a [Node; 2],
        item: Option<&Value<'a>>,
        (operation, deciding): (&'static str, bool),
    ) -> Evaluated<Value<'a>> {
        let left = self.bool(left, item, operation);
        if matches!(left, Err(FilterFailure::TooLong)) || left == Ok(deciding) {
            return left.map(Value::Bool);
        }
        let right = self.bool(right, item, operation)?;
        if right == deciding { Ok(Value::Bool(right)) } else { left.map(Value::Bool) }
    }

    fn binary(&self, operator: Operator, left: &Value<'a>, right: &Value<'a>) -> Evaluated<Value<'a>> {
        let refused = || no_overload(operator.symbol(), &[left, right]);
        let compared = |holds: fn(Ordering) -> bool| match left.order(right) {
            Some(order) => Ok(Value::Bool(order.is_some_and(holds))),
            None => Err(refused()),
        };
        match operator {
            Operator::Equal => Ok(Value::Bool(self.equal(left, right)?)),
            Operator::NotEqual => Ok(Value::Bool(!self.equal(left, right)?)),
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
                self.take_bytes(&[left, right])?;
                compared(match operator {
                    Operator::Less => Ordering::is_lt,
                    Operator::LessOrEqual => Ordering::is_le,
                    Operator::Greater => Ordering::is_gt,
                    _ => Ordering::is_ge,
                })
            }
            Operator::In => match (left, right) {
                (Value::String(name), Value::Object(members)) => {
                    Ok(Value::Bool(members.contains_key(&**name)))
                }
                (_, Value::Object(_)) => Ok(Value::Bool(false)),
                _ => {
                    let items = right.items().ok_or_else(refused)?;
                    for place in 0..items.len() {
                        if items.get(place).is_some_and(|item| self.equal(left, &item) == Ok(true)) {
                            return Ok(Value::Bool(true));
                        }
                    }
                    self.take(0)?;
                    Ok(Value::Bool(false))
                }
            },
            Operator::Add => match (left, right) {
                (Value::String(a), Value::String(b)) => {
                    self.take_bytes(&[left, right])?;
                    Ok(Value::String(Cow::Owned([&**a, &**b].concat())))
                }
                (Value::Array(_) | Value::List(_), Value::Array(_) | Value::List(_)) => {
                    self.take(left.size() + right.size())?;
                    let items = [left, right].into_iter().filter_map(Value::items);
                    let items = items.flat_map(|items| (0..items.len()).filter_map(move |at| items.get(at)));
                    Ok(Value::List(Rc::new(items.collect())))
                }
                _ => arithmetic(operator, left, right),
            },
            _ => arithmetic(operator, left, right),
        }
    }

    /// CEL's equality: numbers compare across their types; other values of different types are not equal.
    fn equal(&self, left: &Value<'a>, right: &Value<'a>) -> Evaluated<bool> {
        self.take(1)?;
        if let Some(order) = left.order(right) {
            self.take_bytes(&[left, right])?;
            return Ok(order == Some(Ordering::Equal));
        }
        match (left, right) {
            (Value::Null, Value::Null) => Ok(true),
            (Value::Object(a), Value::Object(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (name, value) in *a {
                    let Some(other) = b.get(name) else { return Ok(false) };
                    if !self.equal(&value.into(), &other.into())? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => {
                let (Some(a), Some(b)) = (left.items(), right.items()) else { return Ok(false) };
                if a.len() != b.len() {
                    return Ok(false);
                }
                for place in 0..a.len() {
                    let (Some(a), Some(b)) = (a.get(place), b.get(place)) else { return Ok(false) };
                    if !self.equal(&a, &b)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    fn call(&self, function: Function, arguments: &[Value<'a>]) -> Evaluated<Value<'a>> {
        let all: Vec<_> = arguments.iter().collect();
        self.take_bytes(&all)?;
        let refused = || Err(no_overload(function.name(), &all));
        let failed = || FilterFailure::NotConvertible(function.name());
        Ok(match (function, arguments) {
            (Function::Size, [Value::String(text)]) => length(text.chars().count()),
            (Function::Size, [list @ (Value::Array(_) | Value::List(_) | Value::Object(_))]) => {
                length(list.size())
            }
            (Function::Contains, [Value::String(text), Value::String(part)]) => {
                Value::Bool(text.contains(&**part))
            }
            (Function::StartsWith, [Value::String(text), Value::String(part)]) => {
                Value::Bool(text.starts_with(&**part))
            }
            (Function::EndsWith, [Value::String(text), Value::String(part)]) => {
                Value::Bool(text.ends_with(&**part))
            }
            (Function::LowerAscii, [Value::String(text)]) => {
                Value::String(Cow::Owned(text.to_ascii_lowercase()))
            }
            (Function::UpperAscii, [Value::String(text)]) => {
                Value::String(Cow::Owned(text.to_ascii_uppercase()))
            }
            (Function::Int, [value @ Value::Int(_)])
            | (Function::Double, [value @ Value::Double(_)])
            | (Function::String, [value @ Value::String(_)])
            | (Function::Bool, [value @ Value::Bool(_)]) => value.clone(),
            (Function::Int, [Value::Double(value)]) => {
                Value::Int(integer(value.trunc()).ok_or(FilterFailure::Overflow)?)
            }
            (Function::Int, [Value::String(text)]) => Value::Int(text.parse().map_err(|_| failed())?),
            (Function::Double, [Value::Int(value)]) => Value::Double(double(*value)),
            (Function::Double, [Value::String(text)]) => Value::Double(text.parse().map_err(|_| failed())?),
            (Function::String, [Value::Int(value)]) => Value::String(Cow::Owned(value.to_string())),
            (Function::String, [Value::Double(value)]) => Value::String(Cow::Owned(value.to_string())),
            (Function::String, [Value::Bool(value)]) => Value::String(Cow::Owned(value.to_string())),
            (Function::Bool, [Value::String(text)]) => Value::Bool(text.parse().map_err(|_| failed())?),
            _ => return refused(),
        })
    }

    fn look(&self, looking: &'a Macro, outer: Option<&Value<'a>>) -> Evaluated<Value<'a>> {
        let range = self.value(&looking.range, outer)?;
        let items = match range {
            Value::Object(members) => names(members),
            _ => match range.items() {
                Some(items) => items,
                None => return Err(no_overload(looking.name(), &[&range])),
            },
        };
        let mut list = vec![];
        let (mut found, mut failure) = (0_usize, None);
        for place in 0..items.len() {
            let item = items.get(place);
            let predicate = match &looking.predicate {
                Some(predicate) => self.bool(predicate, item.as_ref(), looking.name()),
                None => Ok(true),
            };
            match (looking.kind, predicate) {
                (_, Err(FilterFailure::TooLong)) => return Err(FilterFailure::TooLong),
                (MacroKind::All, Ok(false)) => return Ok(Value::Bool(false)),
                (MacroKind::Exists, Ok(true)) => return Ok(Value::Bool(true)),
                // A later item may still decide the result.
                (MacroKind::All | MacroKind::Exists, Err(error)) => failure = Some(error),
                (_, Err(error)) => return Err(error),
                (MacroKind::List, Ok(true)) => list.extend(match &looking.transform {
                    Some(transform) => Some(self.value(transform, item.as_ref())?),
                    None => item,
                }),
                (_, Ok(holds)) => found += usize::from(holds),
            }
        }
        match (looking.kind, failure) {
            (_, Some(failure)) => Err(failure),
            (MacroKind::All, None) => Ok(Value::Bool(true)),
            (MacroKind::Exists, None) => Ok(Value::Bool(false)),
            (MacroKind::ExistsOne, None) => Ok(Value::Bool(found == 1)),
            (MacroKind::List, None) => Ok(Value::List(Rc::new(list))),
        }
    }

    fn take(&self, steps: usize) -> Evaluated<()> {
        let left = self.steps_left.get().checked_sub(steps);
        self.steps_left.set(left.unwrap_or(0));
        left.filter(|left| *left > 0).map(|_| ()).ok_or(FilterFailure::TooLong)
    }

    /// Takes the steps for reading all of some values.
    fn take_bytes(&self, values: &[&Value<'a>]) -> Evaluated<()> {
        self.take(values.iter().map(|value| value.size() / BYTES_A_STEP).sum())
    }
}

impl Macro {
    fn name(&self) -> &'static str {
        match (self.kind, &self.transform) {
            (MacroKind::All, _) => "all",
            (MacroKind::Exists, _) => "exists",
            (MacroKind::ExistsOne, _) => "exists_one",
            (MacroKind::List, Some(_)) => "map",
            (MacroKind::List, None) => "filter",
        }
    }
}

fn field<'a>(object: &Value<'a>, name: &str) -> Evaluated<Value<'a>> {
    match object {
        Value::Null => Ok(Value::Null),
        Value::Object(members) => Ok(members.get(name).map_or(Value::Null, Value::from)),
        other => Err(FilterFailure::NoFields(other.type_name())),
    }
}

fn index<'a>(container: &Value<'a>, index: &Value<'a>) -> Evaluated<Value<'a>> {
    match (container, index) {
        (Value::Null | Value::Object(_), Value::String(name)) => field(container, name),
        (Value::Null, Value::Int(_)) => Ok(Value::Null),
        (Value::Array(_) | Value::List(_), Value::Int(place)) => {
            let place = usize::try_from(*place).ok();
            let item = place.zip(container.items()).and_then(|(place, items)| items.get(place));
            item.ok_or(FilterFailure::OutOfBounds)
        }
        _ => Err(no_overload("[]", &[container, index])),
    }
}

fn negate<'a>(operand: &Value<'a>) -> Evaluated<Value<'a>> {
    match operand {
        Value::Int(value) => value.checked_neg().map(Value::Int).ok_or(FilterFailure::Overflow),
        Value::Double(value) => Ok(Value::Double(-value)),
        other => Err(no_overload("-", &[other])),
    }
}

/// Two integers give an integer; if one operand is a double, so is the result. CEL does not mix them, but the
/// author of a filter cannot know whether a number of the event's JSON is whole.
fn arithmetic<'a>(operator: Operator, left: &Value<'a>, right: &Value<'a>) -> Evaluated<Value<'a>> {
    let (a, b) = match (left, right) {
        (Value::Int(a), Value::Int(b)) => return integers(operator, *a, *b),
        (Value::Double(a), Value::Double(b)) => (*a, *b),
        (Value::Int(a), Value::Double(b)) => (double(*a), *b),
        (Value::Double(a), Value::Int(b)) => (*a, double(*b)),
        _ => return Err(no_overload(operator.symbol(), &[left, right])),
    };
    match operator {
        Operator::Add => Ok(Value::Double(a + b)),
        Operator::Subtract => Ok(Value::Double(a - b)),
        Operator::Multiply => Ok(Value::Double(a * b)),
        Operator::Divide => Ok(Value::Double(a / b)),
        _ => Err(no_overload(operator.symbol(), &[left, right])),
    }
}

fn integers<'a>(operator: Operator, a: i64, b: i64) -> Evaluated<Value<'a>> {
    let result = match operator {
        Operator::Divide | Operator::Remainder if b == 0 => return Err(FilterFailure::DivisionByZero),
        Operator::Add => a.checked_add(b),
        Operator::Subtract => a.checked_sub(b),
        Operator::Multiply => a.checked_mul(b),
        Operator::Divide => a.checked_div(b),
        _ => a.checked_rem(b),
    };
    result.map(Value::Int).ok_or(FilterFailure::Overflow)
}

fn names(members: &Map<String, Json>) -> Items<'_> {
    Items::List(Rc::new(members.keys().map(|name| Value::String(Cow::Borrowed(name))).collect()))
}

fn length<'a>(count: usize) -> Value<'a> {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "CEL converts to the nearest double")]
fn double(int: i64) -> f64 {
    int as f64
}

fn no_overload(operation: &'static str, values: &[&Value<'_>]) -> FilterFailure {
    let types: Vec<_> = values.iter().map(|value| value.type_name()).collect();
    FilterFailure::NoOverload { operation, types: types.join(", ") }
}
