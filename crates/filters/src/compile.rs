//! The compiler: from a filter's syntax tree to its [`Program`]. It looks up names and checks calls, so that
//! the author of a filter hears of a mistake when the filter is stored.

use regex_lite::RegexBuilder;

use super::{
    FilterError,
    parser::parse,
    program::{Function, Macro, MacroKind, Node, Operator, Pattern, Program, Variable},
    syntax::{Call, Syntax, Tree},
};

/// The largest regular expression, compiled, in bytes: some six hundred states.
const MAX_PATTERN_BYTES: usize = 16 * 1024;
/// The deepest nesting of groups in a regular expression.
const MAX_PATTERN_DEPTH: u32 = 32;
/// A pattern of this size takes a step for every byte of the text; one twice as large takes two.
const PATTERN_BYTES_A_STEP: usize = 256;

/// Methods: name, function, number of arguments.
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

/// Parses and checks a filter.
pub(super) fn compile(text: &str) -> Result<Program, FilterError> {
    let tree = parse(text)?;
    let node = Compiler { text, in_macro: false, item: None }.node(&tree)?;
    if node.is_never_a_bool() {
        return Err(FilterError::new(text, 0, "a filter should be true or false, such as duration == 300"));
    }
    Ok(Program(node))
}

struct Compiler<'t> {
    text: &'t str,
    /// Somewhere in a macro, its range included.
    in_macro: bool,
    /// The name that the macro around the current expression gives to an item.
    item: Option<&'t str>,
}

type Compiled<T = Node> = Result<T, FilterError>;

/// Recursion goes as deep as the tree is high, so the parser bounds it.
impl<'t> Compiler<'t> {
    fn node(&mut self, tree: &Tree<'t>) -> Compiled {
        Ok(match &tree.syntax {
            Syntax::Null => Node::Null,
            Syntax::Bool(value) => Node::Bool(*value),
            Syntax::Int(value) => Node::Int(*value),
            Syntax::Double(value) => Node::Double(*value),
            Syntax::String(text) => Node::String(text.clone()),
            Syntax::List(items) => Node::List(self.nodes(items)?),
            Syntax::Name(name) => self.name(tree, name)?,
            Syntax::Field(object, name) => Node::Field(self.boxed(object)?, (*name).to_owned()),
            Syntax::Index(pair) => Node::Index(self.pair(pair)?),
            Syntax::Not(operand) => Node::Not(self.boxed(operand)?),
            Syntax::Negate(operand) => Node::Negate(self.boxed(operand)?),
            Syntax::And(pair) => Node::And(self.pair(pair)?),
            Syntax::Or(pair) => Node::Or(self.pair(pair)?),
            Syntax::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                Node::Conditional(Box::new([self.node(condition)?, self.node(then)?, self.node(otherwise)?]))
            }
            Syntax::Binary(operator, pair) => Node::Binary(*operator, self.pair(pair)?),
            Syntax::Call(call) => self.call(tree, call)?,
        })
    }

    fn boxed(&mut self, tree: &Tree<'t>) -> Compiled<Box<Node>> {
        self.node(tree).map(Box::new)
    }

    fn nodes(&mut self, trees: &[Tree<'t>]) -> Compiled<Vec<Node>> {
        trees.iter().map(|tree| self.node(tree)).collect()
    }

    fn pair(&mut self, [left, right]: &[Tree<'t>; 2]) -> Compiled<Box<[Node; 2]>> {
        Ok(Box::new([self.node(left)?, self.node(right)?]))
    }

    fn name(&self, tree: &Tree<'t>, name: &str) -> Compiled {
        if self.item == Some(name) {
            return Ok(Node::Item);
        }
        if let Some((_, variable)) = Variable::ALL.iter().find(|(known, _)| *known == name) {
            return Ok(Node::Variable(*variable));
        }
        let known = Variable::ALL.map(|(known, _)| known).join(", ");
        self.refuse(tree, format!("unknown variable '{name}'; there are {known}"))
    }

    fn call(&mut self, tree: &Tree<'t>, call: &Call<'t>) -> Compiled {
        match (call.name, call.target.as_deref(), call.arguments.as_slice()) {
            ("has", None, [field]) => match self.node(field)? {
                Node::Field(object, name) => Ok(Node::Has(object, name)),
                _ => self.refuse(tree, usage("has")),
            },
            ("matches", Some(text), [pattern]) | ("matches", None, [text, pattern]) => {
                let pattern = self.pattern(pattern)?;
                Ok(Node::Matches(self.boxed(text)?, pattern))
            }
            (name, Some(range), [item, bodies @ ..]) if let Some(kind) = macro_kind(name, bodies.len()) => {
                self.macro_call(tree, (kind, name), [range, item], bodies)
            }
            (name, None, [argument])
                if let Some((_, function)) = FUNCTIONS.iter().find(|(known, _)| *known == name) =>
            {
                Ok(Node::Call(*function, vec![self.node(argument)?]))
            }
            (name, Some(target), arguments)
                if let Some((_, function, _)) =
                    METHODS.iter().find(|(known, _, count)| *known == name && *count == arguments.len()) =>
            {
                let mut all = vec![self.node(target)?];
                all.extend(self.nodes(arguments)?);
                Ok(Node::Call(*function, all))
            }
            (name, _, _) => self.refuse(tree, usage(name)),
        }
    }

    fn macro_call(
        &mut self,
        tree: &Tree<'t>,
        (kind, name): (MacroKind, &str),
        [range, item]: [&Tree<'t>; 2],
        bodies: &[Tree<'t>],
    ) -> Compiled {
        // A macro is not allowed in another one's list either: in a chain of `map`s, each could double a text.
        if self.in_macro {
            return self.refuse(tree, "a macro cannot be inside another one");
        }
        let Syntax::Name(item) = item.syntax else {
            return self.refuse(item, "should be a name for the item");
        };
        self.in_macro = true;
        let range = self.node(range)?;
        self.item = Some(item);
        let mut bodies = self.nodes(bodies)?.into_iter();
        self.item = None;
        self.in_macro = false;
        let transform = if name == "map" { bodies.next_back() } else { None };
        Ok(Node::Macro(Box::new(Macro { kind, range, predicate: bodies.next(), transform })))
    }

    /// Compiles a pattern once, instead of once for each event.
    fn pattern(&self, tree: &Tree<'t>) -> Compiled<Pattern> {
        let Syntax::String(pattern) = &tree.syntax else {
            return self.refuse(tree, "the pattern of 'matches' should be written out, in quotes");
        };
        let mut bytes = PATTERN_BYTES_A_STEP;
        loop {
            match RegexBuilder::new(pattern).size_limit(bytes).nest_limit(MAX_PATTERN_DEPTH).build() {
                Ok(regex) => return Ok(Pattern { regex, steps_per_byte: bytes / PATTERN_BYTES_A_STEP }),
                Err(_) if bytes < MAX_PATTERN_BYTES => bytes *= 2,
                Err(error) => {
                    return self.refuse(tree, format!("the pattern is no regular expression: {error}"));
                }
            }
        }
    }

    fn refuse<T>(&self, tree: &Tree<'t>, message: impl Into<String>) -> Compiled<T> {
        Err(FilterError::new(self.text, tree.offset, message))
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
        (.., "map") => "'map' is called like function.arguments.guests.map(guest, guest.age)".into(),
        (.., "all" | "exists" | "exists_one" | "filter") => {
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
        ("all", 1) => Some(MacroKind::All),
        ("exists", 1) => Some(MacroKind::Exists),
        ("exists_one", 1) => Some(MacroKind::ExistsOne),
        ("filter", 1) | ("map", 1 | 2) => Some(MacroKind::List),
        _ => None,
    }
}

impl Node {
    /// Whether the result is neither true nor false for every event.
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
