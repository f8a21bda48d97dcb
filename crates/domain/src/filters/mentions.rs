//! What a filter looks at, without evaluating it.

use super::program::{Macro, Node, Program, Variable};

const PHONE_CALL: &str = "phone_call";
const ANSWERED_BY: &str = "answered_by";

impl Program {
    /// Whether it may look at who answered the call. A field of that name of what a macro goes through counts:
    /// it might be the call.
    pub(super) fn mentions_answered_by(&self) -> bool {
        self.0.any(&|node| node.field().is_some_and(|(of, name)| name == ANSWERED_BY && of.is_call()))
    }
}

impl Node {
    /// Of which object this is which field, however it is written.
    fn field(&self) -> Option<(&Self, &str)> {
        match self {
            Self::Field(of, name) | Self::Has(of, name) => Some((of, name)),
            Self::Index(pair) => match &**pair {
                [of, Self::String(name)] => Some((of, name)),
                _ => None,
            },
            _ => None,
        }
    }

    fn is_call(&self) -> bool {
        match self {
            Self::Variable(Variable::PhoneCall) | Self::Item => true,
            Self::Conditional(branches) => branches[1].is_call() || branches[2].is_call(),
            node => node.field().is_some_and(|(of, name)| {
                name == PHONE_CALL && matches!(of, Self::Variable(Variable::Conversation))
            }),
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
    fn a_filter_mentions_who_answered_where_it_looks_at_it() {
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
            ("phone_call.to_number == 'answered_by'", false),
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
