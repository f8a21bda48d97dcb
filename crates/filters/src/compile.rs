//! From a filter's text to its [`Program`]. The parser is the `cel` crate's; names are looked up here,
//! so that whoever writes a filter hears of a wrong one at once.

use cel::{
    Env, ParseError,
    common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators},
};
use regex_lite::RegexBuilder;

use super::{
    FilterError, MAX_BRACKETS, MAX_DEPTH, Position,
    program::{Function, Macro, MacroKind, Node, Operator, Pattern, Program, Variable},
    reserved::{self, READ_AS, RESERVED},
};

/// How deep the parser lets brackets and conditions nest before it stops.
const PARSER_DEPTH: u16 = 2 * 16;
const _: () = assert!(PARSER_DEPTH as usize >= 2 * MAX_BRACKETS);
/// The largest regular expression, compiled, in bytes: some six hundred states.
const MAX_PATTERN_BYTES: usize = 16 * 1024;
/// A pattern of this size takes a step for every byte of the text; one twice as large, two.
const PATTERN_BYTES_A_STEP: usize = 256;

const COMPARISONS_AND_ARITHMETIC: [(&str, Operator); 12] = [
    (operators::EQUALS, Operator::Equal),
    (operators::NOT_EQUALS, Operator::NotEqual),
    (operators::LESS, Operator::Less),
    (operators::LESS_EQUALS, Operator::LessOrEqual),
    (operators::GREATER, Operator::Greater),
    (operators::GREATER_EQUALS, Operator::GreaterOrEqual),
    (operators::IN, Operator::In),
    (operators::ADD, Operator::Add),
    (operators::SUBSTRACT, Operator::Subtract),
    (operators::MULTIPLY, Operator::Multiply),
    (operators::DIVIDE, Operator::Divide),
    (operators::MODULO, Operator::Remainder),
];

/// Functions that are called on their first argument: name, function, other arguments.
const METHODS: [(&str, Function, usize); 6] = [
    ("size", Function::Size, 0),
    ("contains", Function::Contains, 1),
    ("startsWith", Function::StartsWith, 1),
    ("endsWith", Function::EndsWith, 1),
    ("lowerAscii", Function::LowerAscii, 0),
    ("upperAscii", Function::UpperAscii, 0),
];

/// Functions of one argument.
const FUNCTIONS: [(&str, Function); 5] = [
    ("size", Function::Size),
    ("int", Function::Int),
    ("double", Function::Double),
    ("string", Function::String),
    ("bool", Function::Bool),
];

/// Compiles a text that was found short and flat. Needs a large stack: the parser recurses, and so does
/// dropping what it returns.
pub(super) fn compile(text: &str) -> Result<Program, FilterError> {
    // Without macros the calls stay as they were written.
    let environment = Env::default().with_optional_support(false);
    let parser = environment.parser().max_recursion_depth(PARSER_DEPTH);
    let (tree, source) = parser.parse_with_source_info(&reserved::readable(text)).map_err(|errors| {
        errors.errors.first().map_or_else(
            || FilterError { message: "not a CEL expression".into(), position: Position::of(text, 0) },
            |error| syntax_error(text, error),
        )
    })?;
    let node = Compiler { text, source, in_macro: false, item: None }.node(&tree, 1)?;
    if node.is_never_a_bool() {
        let message = "a filter should be true or false, such as duration == 300".into();
        return Err(FilterError { message, position: Position::of(text, 0) });
    }
    Ok(Program(node))
}

/// The parser's words, without its list of everything that it would have liked better.
fn syntax_error(text: &str, error: &ParseError) -> FilterError {
    let message = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
    let message = message.split(" expecting ").next().unwrap_or(message);
    let unexpected = [
        "mismatched input ",
        "extraneous input ",
        "token recognition error at: ",
        "no viable alternative at input ",
    ];
    let unexpected = unexpected.iter().find_map(|prefix| message.strip_prefix(prefix));
    let message = match unexpected {
        Some("'<EOF>'") => "the expression is not complete".into(),
        Some(token) => format!("unexpected {token}"),
        None if message.contains("Recursion limit") => "nested too deeply".into(),
        None if message.contains("Incomplete") => "the condition is not complete".into(),
        None => message.replace("'<EOF>'", "the end"),
    };
    let message = if text.contains(READ_AS) { message } else { message.replace(READ_AS, RESERVED) };
    let positive = |number: isize| usize::try_from(number).unwrap_or(0).max(1);
    let (line, column) = error.pos;
    let position = Position { line: positive(line), column: positive(column) };
    // A position beyond the text is the parser's word for a failure of its own.
    let known = position.line <= text.lines().count().max(1);
    FilterError { message, position: if known { position } else { Position::of(text, 0) } }
}

struct Compiler<'t> {
    text: &'t str,
    source: SourceInfo,
    /// Somewhere in a macro, its range included.
    in_macro: bool,
    /// What the macro around this calls its item.
    item: Option<String>,
}

type Compiled<T = Node> = Result<T, FilterError>;

impl Compiler<'_> {
    fn node(&mut self, tree: &IdedExpr, depth: usize) -> Compiled {
        if depth > MAX_DEPTH {
            return self.refuse(tree, format!("expressions are nested at most {MAX_DEPTH} deep"));
        }
        let deeper = depth + 1;
        match &tree.expr {
            Expr::Literal(literal) => self.literal(tree, literal),
            Expr::Ident(name) if self.item.as_ref() == Some(name) => Ok(Node::Item),
            Expr::Ident(name) if name == READ_AS && self.written(tree).starts_with(RESERVED) => {
                Ok(Node::Variable(Variable::Function))
            }
            Expr::Ident(name) => {
                if let Some((_, variable)) = Variable::ALL.iter().find(|(known, _)| known == name) {
                    return Ok(Node::Variable(*variable));
                }
                let known = Variable::ALL.map(|(known, _)| known).join(", ");
                self.refuse(tree, format!("unknown variable '{name}'; there are {known}"))
            }
            Expr::Select(select) => {
                Ok(Node::Field(Box::new(self.node(&select.operand, deeper)?), select.field.clone()))
            }
            Expr::List(list) => Ok(Node::List(self.nodes(&list.elements, deeper)?)),
            Expr::Call(call) => self.call(tree, call, deeper),
            Expr::Map(_) | Expr::Struct(_) => self.refuse(tree, "objects cannot be written in a filter"),
            Expr::Comprehension(_) | Expr::Unspecified => self.refuse(tree, "not a CEL expression"),
        }
    }

    fn nodes(&mut self, trees: &[IdedExpr], depth: usize) -> Compiled<Vec<Node>> {
        trees.iter().map(|tree| self.node(tree, depth)).collect()
    }

    fn pair(&mut self, [left, right]: [&IdedExpr; 2], depth: usize) -> Compiled<Box<[Node; 2]>> {
        Ok(Box::new([self.node(left, depth)?, self.node(right, depth)?]))
    }

    fn literal(&self, tree: &IdedExpr, literal: &LiteralValue) -> Compiled {
        Ok(match literal {
            LiteralValue::Null => Node::Null,
            LiteralValue::Boolean(value) => Node::Bool(*value.inner()),
            LiteralValue::Int(value) => Node::Int(*value.inner()),
            LiteralValue::Double(value) => Node::Double(*value.inner()),
            LiteralValue::String(text) => Node::String(text.inner().to_owned()),
            LiteralValue::UInt(value) => match i64::try_from(*value.inner()) {
                Ok(value) => Node::Int(value),
                Err(_) => return self.refuse(tree, "the number is too large"),
            },
            LiteralValue::Bytes(_) => return self.refuse(tree, "bytes cannot be written in a filter"),
        })
    }

    fn call(&mut self, tree: &IdedExpr, call: &CallExpr, depth: usize) -> Compiled {
        match (call.func_name.as_str(), call.target.as_deref(), call.args.as_slice()) {
            (operators::LOGICAL_AND, None, [a, b]) => Ok(Node::And(self.pair([a, b], depth)?)),
            (operators::LOGICAL_OR, None, [a, b]) => Ok(Node::Or(self.pair([a, b], depth)?)),
            (operators::INDEX, None, [a, b]) => Ok(Node::Index(self.pair([a, b], depth)?)),
            (operators::LOGICAL_NOT, None, [a]) => Ok(Node::Not(Box::new(self.node(a, depth)?))),
            (operators::NEGATE, None, [a]) => Ok(Node::Negate(Box::new(self.node(a, depth)?))),
            (operators::CONDITIONAL, None, [condition, a, b]) => {
                let [a, b] = *self.pair([a, b], depth)?;
                Ok(Node::Conditional(Box::new([self.node(condition, depth)?, a, b])))
            }
            (name, None, [a, b])
                if let Some((_, operator)) =
                    COMPARISONS_AND_ARITHMETIC.iter().find(|(known, _)| *known == name) =>
            {
                Ok(Node::Binary(*operator, self.pair([a, b], depth)?))
            }
            (operators::HAS, None, [field]) => match self.node(field, depth)? {
                Node::Field(object, name) => Ok(Node::Has(object, name)),
                _ => self.refuse_call(tree, call, "'has' takes a field, such as has(metadata.plan)"),
            },
            ("matches", Some(text), [pattern]) | ("matches", None, [text, pattern]) => {
                let pattern = self.pattern(pattern)?;
                Ok(Node::Matches(Box::new(self.node(text, depth)?), pattern))
            }
            (name, Some(range), [item, rest @ ..]) if let Some(kind) = macro_kind(name, rest.len()) => {
                self.macro_call(tree, call, kind, [range, item], rest, depth)
            }
            (name, None, [argument])
                if let Some((_, function)) = FUNCTIONS.iter().find(|(known, _)| *known == name) =>
            {
                Ok(Node::Call(*function, vec![self.node(argument, depth)?]))
            }
            (name, Some(target), arguments)
                if let Some((_, function, _)) =
                    METHODS.iter().find(|(known, _, count)| *known == name && *count == arguments.len()) =>
            {
                let mut all = vec![self.node(target, depth)?];
                all.extend(self.nodes(arguments, depth)?);
                Ok(Node::Call(*function, all))
            }
            (READ_AS, _, _) => self.refuse_call(tree, call, usage(RESERVED)),
            (name, _, _) => self.refuse_call(tree, call, usage(name)),
        }
    }

    fn macro_call(
        &mut self,
        tree: &IdedExpr,
        call: &CallExpr,
        kind: MacroKind,
        [range, item]: [&IdedExpr; 2],
        rest: &[IdedExpr],
        depth: usize,
    ) -> Compiled {
        // Also where the other one only makes the list: a chain of `map`s could double a text each time.
        if self.in_macro {
            return self.refuse_call(tree, call, "a macro cannot be inside another one");
        }
        let Expr::Ident(name) = &item.expr else {
            return self.refuse(item, "should be a name for the item");
        };
        self.in_macro = true;
        let range = self.node(range, depth)?;
        self.item = Some(name.clone());
        let mut rest = self.nodes(rest, depth)?.into_iter();
        self.item = None;
        self.in_macro = false;
        let transform = if call.func_name == operators::MAP { rest.next_back() } else { None };
        Ok(Node::Macro(Box::new(Macro { kind, range, predicate: rest.next(), transform })))
    }

    /// Compiled now, or it would be compiled again for every event.
    fn pattern(&self, tree: &IdedExpr) -> Compiled<Pattern> {
        let Expr::Literal(LiteralValue::String(pattern)) = &tree.expr else {
            return self.refuse(tree, "the pattern of 'matches' should be written out, in quotes");
        };
        let mut bytes = PATTERN_BYTES_A_STEP;
        loop {
            let built =
                RegexBuilder::new(pattern.inner()).size_limit(bytes).nest_limit(PARSER_DEPTH.into()).build();
            match built {
                Ok(regex) => return Ok(Pattern { regex, steps_per_byte: bytes / PATTERN_BYTES_A_STEP }),
                Err(_) if bytes < MAX_PATTERN_BYTES => bytes *= 2,
                Err(error) => {
                    return self.refuse(tree, format!("the pattern is no regular expression: {error}"));
                }
            }
        }
    }

    /// Where it begins, in bytes.
    fn offset(&self, tree: &IdedExpr) -> usize {
        let offset = self.source.offset_for(tree.id).map_or(0, |(start, _)| start as usize);
        self.text.floor_char_boundary(offset)
    }

    /// The text from there on.
    fn written(&self, tree: &IdedExpr) -> &str {
        &self.text[self.offset(tree)..]
    }

    fn refuse<T>(&self, tree: &IdedExpr, message: impl Into<String>) -> Compiled<T> {
        let position = Position::of(self.text, self.offset(tree));
        Err(FilterError { message: message.into(), position })
    }

    /// Where the function's name stands: a call's own place is its bracket.
    fn refuse_call<T>(&self, tree: &IdedExpr, call: &CallExpr, message: impl Into<String>) -> Compiled<T> {
        let bracket = self.offset(tree);
        let before = &self.text[..self.text.floor_char_boundary(bracket + 1)];
        let name = if call.func_name == READ_AS { RESERVED } else { &call.func_name };
        let offset = before.rfind(name).unwrap_or(bracket);
        Err(FilterError { message: message.into(), position: Position::of(self.text, offset) })
    }
}

/// The correct way to call the function `name`, for the error about a wrong call.
fn usage(name: &str) -> String {
    let method = METHODS.iter().find(|(known, ..)| *known == name);
    let conversion = FUNCTIONS.iter().find(|(known, _)| *known == name);
    match (method, conversion, name) {
        (Some((_, _, 0)), ..) => format!("'{name}' is called like message.content.{name}()"),
        (Some(_), ..) => format!("'{name}' is called like message.content.{name}('text')"),
        (_, Some(_), _) => format!("'{name}' is called like {name}(metadata.count)"),
        (.., "matches") => "'matches' is called like message.content.matches('good ?bye')".into(),
        (.., "has") => "'has' takes a field, such as has(metadata.plan)".into(),
        (.., operators::MAP) => "'map' is called like function.arguments.guests.map(guest, guest.age)".into(),
        (.., operators::ALL | operators::EXISTS | operators::EXISTS_ONE | operators::FILTER) => {
            format!("'{name}' is called like function.arguments.guests.{name}(guest, guest.age < 18)")
        }
        _ => {
            let methods = METHODS.map(|(known, ..)| known).join(", ");
            format!(
                "unknown function '{name}'; there are {methods}, matches, int, double, string, bool, has, all, \
                 exists, exists_one, filter and map"
            )
        }
    }
}

fn macro_kind(name: &str, bodies: usize) -> Option<MacroKind> {
    match (name, bodies) {
        (operators::ALL, 1) => Some(MacroKind::All),
        (operators::EXISTS, 1) => Some(MacroKind::Exists),
        (operators::EXISTS_ONE, 1) => Some(MacroKind::ExistsOne),
        (operators::FILTER, 1) | (operators::MAP, 1 | 2) => Some(MacroKind::List),
        _ => None,
    }
}

impl Node {
    /// Whether it can be told without an event that this is neither true nor false.
    fn is_never_a_bool(&self) -> bool {
        match self {
            Self::Null
            | Self::Int(_)
            | Self::Double(_)
            | Self::String(_)
            | Self::List(_)
            | Self::Variable(_)
            | Self::Negate(_) => true,
            Self::Binary(operator, _) => matches!(
                operator,
                Operator::Add
                    | Operator::Subtract
                    | Operator::Multiply
                    | Operator::Divide
                    | Operator::Remainder
            ),
            Self::Call(function, _) => matches!(
                function,
                Function::Size
                    | Function::LowerAscii
                    | Function::UpperAscii
                    | Function::Int
                    | Function::Double
                    | Function::String
            ),
            Self::Macro(loops) => loops.kind == MacroKind::List,
            _ => false,
        }
    }
}
