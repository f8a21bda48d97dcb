//! Which fields a filter reads, found without evaluating it.

use super::program::{Macro, Node, Operator, Program, Variable};

const PHONE_CALL: &str = "phone_call";
const ANSWERED_BY: &str = "answered_by";

impl Program {
    /// Whether the filter may read the call's `answered_by`. Yes where only an evaluation would tell.
    pub(super) fn mentions_answered_by(&self) -> bool {
        self.0.any(&|node| {
            node.field()
                .is_some_and(|(of, name)| name.is_none_or(|name| name == ANSWERED_BY) && of.may_be_call())
        })
    }
}

impl Node {
    /// For every notation of a field: the object and the field's name. The name is none if it is computed.
    fn field(&self) -> Option<(&Self, Option<&str>)> {
        match self {
            Self::Field(of, name) | Self::Has(of, name) => Some((of, Some(name))),
            Self::Index(pair) => match &**pair {
                [of, Self::String(name)] => Some((of, Some(name))),
                // An item of a list.
                [_, Self::Int(_)] => None,
                [of, _] => Some((of, None)),
            },
            Self::Binary(Operator::In, pair) => match &**pair {
                [Self::String(name), of] => Some((of, Some(name))),
                _ => None,
            },
            _ => None,
        }
    }

    fn may_be_call(&self) -> bool {
        match (self, self.field()) {
            (Self::Variable(Variable::PhoneCall) | Self::Item, _) => true,
            (_, Some((of, Some(name)))) => name == PHONE_CALL && of.may_be_conversation(),
            // A `?:`, or an item of a list, may be any part of its expression.
            _ => self.any(&|node| {
                matches!(node, Self::Variable(Variable::PhoneCall | Variable::Conversation) | Self::Item)
            }),
        }
    }

    fn may_be_conversation(&self) -> bool {
        match self.field() {
            Some((_, Some(_))) => false,
            _ => self.any(&|node| matches!(node, Self::Variable(Variable::Conversation) | Self::Item)),
        }
    }

    fn any(&self, is_wanted: &dyn Fn(&Self) -> bool) -> bool {
        let any = |nodes: &[Self]| nodes.iter().any(|node| node.any(is_wanted));
        is_wanted(self)
            || match self {
                Self::Null
                | Self::Bool(_)
                | Self::Int(_)
                | Self::Double(_)
                | Self::String(_)
                | Self::Variable(_)
                | Self::Item => false,
                Self::Field(node, _)
                | Self::Has(node, _)
                | Self::Not(node)
                | Self::Negate(node)
                | Self::Matches(node, _) => node.any(is_wanted),
                Self::Index(nodes) | Self::And(nodes) | Self::Or(nodes) | Self::Binary(_, nodes) => {
                    any(&**nodes)
                }
                Self::Conditional(nodes) => any(&**nodes),
                Self::List(nodes) | Self::Call(_, nodes) => any(nodes),
                Self::Macro(loops) => {
                    let Macro { range, predicate, transform, .. } = &**loops;
                    [Some(range), predicate.as_ref(), transform.as_ref()]
                        .into_iter()
                        .flatten()
                        .any(|node| node.any(is_wanted))
                }
            }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Filter;

    #[test]
    fn reading_answered_by_is_found_in_every_notation() {
        for (text, mentions) in [
            ("phone_call.answered_by == 'human'", true),
            ("conversation.phone_call.answered_by == 'human'", true),
            ("conversation['phone_call']['answered_by'] != null", true),
            ("has(phone_call.answered_by)", true),
            ("duration > 3 && !(phone_call.answered_by in ['human', 'unknown'])", true),
            ("message.content == phone_call.answered_by", true),
            ("phone_call.answered_by.startsWith('machine')", true),
            ("size(phone_call.answered_by) > 0 ? true : false", true),
            ("[phone_call].exists(call, call.answered_by == 'fax')", true),
            ("(duration > 1 ? phone_call : null).answered_by == 'fax'", true),
            ("['human'].exists(who, who == phone_call.answered_by)", true),
            ("phone_call.answered_by.matches('^machine')", true),
            ("[phone_call][0].answered_by == 'fax'", true),
            ("[conversation].exists(one, one.phone_call.answered_by == 'fax')", true),
            ("[conversation].map(one, one.phone_call)[0].answered_by == 'fax'", true),
            ("(duration > 1 ? conversation : null).phone_call.answered_by == 'fax'", true),
            ("phone_call['answered' + '_by'] == 'fax'", true),
            ("phone_call.exists(name, phone_call[name] == 'fax')", true),
            ("'answered_by' in phone_call", true),
            ("phone_call.to_number == 'answered_by'", false),
            ("message.content in [phone_call.to_number, phone_call.from_number]", false),
            ("[metadata][0].answered_by == 'Ada'", false),
            ("function.arguments.rows.exists(row, row[0] == 5)", false),
            ("metadata[function.name].answered_by == 'Ada'", false),
            ("message.content.contains('phone_call.answered_by')", false),
            ("metadata.answered_by == 'Ada'", false),
            ("conversation.metadata.answered_by == 'Ada'", false),
            ("function.arguments.phone_call.answered_by == 'Ada'", false),
            ("duration == 5", false),
        ] {
            assert_eq!(Filter::parse(text).unwrap().mentions_answered_by(), mentions, "{text}");
        }
    }
}
