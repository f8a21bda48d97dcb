//! The compiled form of a filter: the syntax tree, with every name looked up.

use regex_lite::Regex;

/// A compiled filter. [`super::compile()`] builds it and [`super::evaluate`] reads it. Like the syntax tree,
/// it is at most [`super::MAX_DEPTH`] high.
#[derive(Debug)]
pub(super) struct Program(pub(super) Node);

#[derive(Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    String(String),
    List(Vec<Node>),
    Variable(Variable),
    /// The item that the macro around this expression looks at.
    Item,
    Field(Box<Node>, String),
    Has(Box<Node>, String),
    Index(Box<[Node; 2]>),
    Not(Box<Node>),
    Negate(Box<Node>),
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    Conditional(Box<[Node; 3]>),
    Binary(Operator, Box<[Node; 2]>),
    Call(Function, Vec<Node>),
    Matches(Box<Node>, Pattern),
    Macro(Box<Macro>),
}

/// The variables of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variable {
    Event,
    Conversation,
    Duration,
    Message,
    Speech,
    Function,
    PhoneCall,
    Metadata,
}

impl Variable {
    pub(super) const ALL: [(&'static str, Self); 8] = [
        ("event", Self::Event),
        ("conversation", Self::Conversation),
        ("duration", Self::Duration),
        ("message", Self::Message),
        ("speech", Self::Speech),
        ("function", Self::Function),
        ("phone_call", Self::PhoneCall),
        ("metadata", Self::Metadata),
    ];
}

/// Operators that always evaluate both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::In => "in",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

/// Functions and methods. A method's target is its first argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    LowerAscii,
    UpperAscii,
    Int,
    Double,
    String,
    Bool,
}

impl Function {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Contains => "contains",
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
            Self::LowerAscii => "lowerAscii",
            Self::UpperAscii => "upperAscii",
            Self::Int => "int",
            Self::Double => "double",
            Self::String => "string",
            Self::Bool => "bool",
        }
    }
}

/// A regular expression and its cost.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) regex: Regex,
    /// Steps for each byte of the text that it is matched with.
    pub(super) steps_per_byte: usize,
}

/// A macro over a list's items or an object's names.
#[derive(Debug)]
pub(super) struct Macro {
    pub(super) kind: MacroKind,
    pub(super) range: Node,
    /// The condition on an item; none for a `map` of all items.
    pub(super) predicate: Option<Node>,
    /// The result of a `map` for an item.
    pub(super) transform: Option<Node>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MacroKind {
    All,
    Exists,
    ExistsOne,
    /// `filter` and `map`.
    List,
}
