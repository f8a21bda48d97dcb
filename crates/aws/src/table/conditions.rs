//! Conditions of writes.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

/// The condition of an item whose key must be free.
pub(super) const NEW: &str = "attribute_not_exists(pk)";

/// A condition on the stored item, with at most one name and one value.
pub(super) struct Condition {
    pub(super) expression: &'static str,
    name: Option<(&'static str, &'static str)>,
    value: Option<(&'static str, AttributeValue)>,
}

impl Condition {
    pub(super) fn new(expression: &'static str) -> Self {
        Self { expression, name: None, value: None }
    }

    /// Lets `placeholder` stand for an attribute whose name is a reserved word of expressions.
    pub(super) fn name(self, placeholder: &'static str, attribute: &'static str) -> Self {
        Self { name: Some((placeholder, attribute)), ..self }
    }

    pub(super) fn number(self, placeholder: &'static str, value: &impl ToString) -> Self {
        self.value(placeholder, AttributeValue::N(value.to_string()))
    }

    pub(super) fn text(self, placeholder: &'static str, value: &impl ToString) -> Self {
        self.value(placeholder, AttributeValue::S(value.to_string()))
    }

    fn value(self, placeholder: &'static str, value: AttributeValue) -> Self {
        Self { value: Some((placeholder, value)), ..self }
    }

    pub(super) fn names(&self) -> Option<HashMap<String, String>> {
        self.name.map(|(name, attribute)| HashMap::from([(name.to_owned(), attribute.to_owned())]))
    }

    pub(super) fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        self.value.as_ref().map(|(name, value)| HashMap::from([((*name).to_owned(), value.clone())]))
    }
}

/// Sets the condition of a write. A macro, since the builders of the SDK have the same methods but share no trait.
macro_rules! conditional {
    ($builder:expr, $condition:expr) => {
        $builder
            .condition_expression($condition.expression)
            .set_expression_attribute_names($condition.names())
            .set_expression_attribute_values($condition.values())
    };
}
pub(super) use conditional;
