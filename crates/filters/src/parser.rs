//! The parser: from tokens to a syntax tree, by precedence climbing over CEL's grammar.
//!
//! Its work and its stack are bounded. A text has at most [`MAX_BYTES`] bytes, and each node of the tree
//! takes at least one of them. The parser recurses at most [`MAX_BRACKETS`] times for brackets, and within
//! brackets once for each level of precedence. A tree is at most [`MAX_DEPTH`] high.
//!
//! Objects and bytes are refused here, as no filter may contain them.

use super::{
    FilterError, MAX_BRACKETS, MAX_BYTES, MAX_DEPTH,
    lexer::{Lexer, Token, TokenKind},
    program::Operator,
    syntax::{Call, Syntax, Tree},
};

/// Words that CEL reserves: they cannot be variables or functions. CEL reserves `function` too, but filters
/// have a variable of that name.
const RESERVED: [&str; 16] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The loosest level of precedence. Only `?:` binds more loosely.
const LOOSEST: u8 = 1;

type Parsed<T> = Result<T, FilterError>;

/// Reads a whole text as one expression.
pub(super) fn parse(text: &str) -> Parsed<Tree<'_>> {
    if text.len() > MAX_BYTES {
        return Err(FilterError::new(text, MAX_BYTES, format!("a filter is at most {MAX_BYTES} bytes long")));
    }
    let mut lexer = Lexer::new(text);
    let token = lexer.next_token()?;
    let mut parser = Parser { text, lexer, token, brackets: 0 };
    let tree = parser.expression()?;
    if parser.token.kind == TokenKind::End { Ok(tree) } else { Err(parser.unexpected()) }
}

struct Parser<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
    /// The next token to read.
    token: Token<'t>,
    /// How many brackets are open.
    brackets: usize,
}

impl<'t> Parser<'t> {
    /// An expression that may be a `?:`, which groups to the right.
    fn expression(&mut self) -> Parsed<Tree<'t>> {
        let mut branches = vec![];
        let mut tree = loop {
            let start = self.token.offset;
            let condition = self.operation(LOOSEST)?;
            if !self.is("?") {
                break condition;
            }
            let offset = self.advance()?.offset;
            // Between `?` and `:`, CEL allows another `?:` only in brackets.
            let then = self.operation(LOOSEST)?;
            if self.token.kind == TokenKind::End {
                return Err(self.error(start, "the condition is not complete"));
            }
            self.expect(":")?;
            branches.push((offset, condition, then));
        };
        while let Some((offset, condition, then)) = branches.pop() {
            tree = self.tree(offset, Syntax::Conditional(Box::new([condition, then, tree])))?;
        }
        Ok(tree)
    }

    /// Operands joined by operators of the level `loosest` or of tighter ones.
    fn operation(&mut self, loosest: u8) -> Parsed<Tree<'t>> {
        let mut left = self.unary()?;
        while let Some((level, infix)) = infix(&self.token).filter(|(level, _)| *level >= loosest) {
            let offset = self.advance()?.offset;
            let right = self.operation(level + 1)?;
            left = match infix {
                Infix::Binary(operator) => {
                    self.tree(offset, Syntax::Binary(operator, Box::new([left, right])))?
                }
                Infix::Logic(symbol, join) => {
                    // The offset is that of the operator before the term; the first one is never used.
                    let mut terms = vec![(offset, left), (offset, right)];
                    while self.is(symbol) {
                        let offset = self.advance()?.offset;
                        terms.push((offset, self.operation(level + 1)?));
                    }
                    self.balanced(join, terms)?.1
                }
            };
        }
        Ok(left)
    }

    /// Joins the terms of a chain of `&&` or `||` into a balanced tree, whose height grows with the
    /// logarithm of the chain's length. Both operators are associative.
    fn balanced(&self, join: Join<'t>, mut terms: Vec<Term<'t>>) -> Parsed<Term<'t>> {
        if terms.len() == 1 {
            return Ok(terms.swap_remove(0));
        }
        let right = terms.split_off(terms.len().div_ceil(2));
        let (before, left) = self.balanced(join, terms)?;
        let (offset, right) = self.balanced(join, right)?;
        Ok((before, self.tree(offset, join(Box::new([left, right])))?))
    }

    /// An operand with `!` or `-` before it.
    fn unary(&mut self) -> Parsed<Tree<'t>> {
        let (symbol, apply): (_, fn(Box<Tree<'t>>) -> Syntax<'t>) = match self.token.text {
            "!" => ("!", Syntax::Not),
            "-" => ("-", Syntax::Negate),
            _ => return self.member(),
        };
        let offset = self.token.offset;
        let mut count = 0;
        while self.is(symbol) {
            self.advance()?;
            count += 1;
        }
        if symbol == "-" && count == 1 && matches!(self.token.kind, TokenKind::Int | TokenKind::Double) {
            // The sign is a part of the literal: the smallest integer has no positive counterpart.
            let number = self.number("-")?;
            return self.suffixes(number);
        }
        let operand = self.member()?;
        // Two of them cancel each other out.
        if count % 2 == 0 { Ok(operand) } else { self.tree(offset, apply(Box::new(operand))) }
    }

    /// An operand with its fields, indexes and method calls.
    fn member(&mut self) -> Parsed<Tree<'t>> {
        let primary = self.primary()?;
        self.suffixes(primary)
    }

    fn suffixes(&mut self, mut tree: Tree<'t>) -> Parsed<Tree<'t>> {
        loop {
            let offset = self.token.offset;
            if self.is(".") {
                self.advance()?;
                if self.is("?") {
                    return Err(self.error(offset, "unsupported syntax '.?'"));
                }
                let name = self.name()?;
                tree = if self.is("(") {
                    let arguments = self.arguments()?;
                    let call = Call { target: Some(Box::new(tree)), name: name.text, arguments };
                    self.tree(name.offset, Syntax::Call(call))?
                } else {
                    self.tree(offset, Syntax::Field(Box::new(tree), name.text))?
                };
            } else if self.is("[") {
                self.open()?;
                if self.is("?") {
                    return Err(self.error(offset, "unsupported syntax '[?'"));
                }
                let index = self.expression()?;
                self.close("]")?;
                tree = self.tree(offset, Syntax::Index(Box::new([tree, index])))?;
            } else {
                return Ok(tree);
            }
        }
    }

    fn primary(&mut self) -> Parsed<Tree<'t>> {
        let Token { kind, text, offset } = self.token.clone();
        match kind {
            TokenKind::Int | TokenKind::Uint | TokenKind::Double => self.number(""),
            TokenKind::String(value) => self.literal(Syntax::String(value)),
            TokenKind::Bytes => Err(self.error(offset, "bytes cannot be written in a filter")),
            TokenKind::Name => self.named(offset),
            TokenKind::End => Err(self.error(offset, "the expression is not complete")),
            TokenKind::Symbol => match text {
                "null" => self.literal(Syntax::Null),
                "true" => self.literal(Syntax::Bool(true)),
                "false" => self.literal(Syntax::Bool(false)),
                // Reached after `!` only.
                "-" => {
                    self.advance()?;
                    match self.token.kind {
                        TokenKind::Int | TokenKind::Double => self.number("-"),
                        _ => Err(self.unexpected()),
                    }
                }
                "." => {
                    self.advance()?;
                    self.named(offset)
                }
                "(" => {
                    self.open()?;
                    let tree = self.expression()?;
                    self.close(")")?;
                    Ok(tree)
                }
                "[" => self.list(),
                "{" => Err(self.error(offset, "objects cannot be written in a filter")),
                _ => Err(self.unexpected()),
            },
        }
    }

    /// A variable or a function call. `start` is the offset of the name, or of a dot before it.
    fn named(&mut self, start: usize) -> Parsed<Tree<'t>> {
        let word = self.token.clone();
        let name = &self.text[start..word.offset + word.text.len()];
        if RESERVED.contains(&word.text) {
            return Err(self.error(word.offset, format!("reserved identifier: {name}")));
        }
        self.name()?;
        if self.is("(") {
            let arguments = self.arguments()?;
            return self.tree(word.offset, Syntax::Call(Call { target: None, name, arguments }));
        }
        self.tree(word.offset, Syntax::Name(name))
    }

    /// The name of a variable, function or field. What follows it is not the `{` of an object.
    fn name(&mut self) -> Parsed<Token<'t>> {
        if self.token.kind != TokenKind::Name {
            return Err(self.unexpected());
        }
        let name = self.advance()?;
        if self.is("{") {
            return Err(self.error(self.token.offset, "objects cannot be written in a filter"));
        }
        Ok(name)
    }

    /// The arguments of a call, with their brackets.
    fn arguments(&mut self) -> Parsed<Vec<Tree<'t>>> {
        self.open()?;
        let mut arguments = vec![];
        if !self.is(")") {
            arguments.push(self.expression()?);
            while self.is(",") {
                self.advance()?;
                arguments.push(self.expression()?);
            }
        }
        self.close(")")?;
        Ok(arguments)
    }

    /// A list, in which CEL allows a comma after the last item, and even one without any item.
    fn list(&mut self) -> Parsed<Tree<'t>> {
        let offset = self.token.offset;
        self.open()?;
        let mut items = vec![];
        if self.is(",") {
            self.advance()?;
        } else {
            while !self.is("]") {
                if self.is("?") {
                    return Err(self.error(self.token.offset, "unsupported syntax '?'"));
                }
                items.push(self.expression()?);
                if !self.is(",") {
                    break;
                }
                self.advance()?;
            }
        }
        self.close("]")?;
        self.tree(offset, Syntax::List(items))
    }

    fn number(&mut self, sign: &str) -> Parsed<Tree<'t>> {
        let Token { kind, text, offset } = self.token.clone();
        let invalid = |name: &str| self.error(offset, format!("invalid {name} literal"));
        let (radix, digits) = text.strip_prefix("0x").map_or((10, text), |digits| (16, digits));
        let syntax = match kind {
            TokenKind::Double => {
                let value = format!("{sign}{text}").parse().ok().filter(|value: &f64| value.is_finite());
                Syntax::Double(value.ok_or_else(|| invalid("double"))?)
            }
            TokenKind::Uint => {
                let value = u64::from_str_radix(&digits[..digits.len() - 1], radix);
                let value = value.map_err(|_| invalid("uint"))?;
                Syntax::Int(i64::try_from(value).map_err(|_| self.error(offset, "the number is too large"))?)
            }
            _ => {
                let value = i64::from_str_radix(&format!("{sign}{digits}"), radix);
                Syntax::Int(value.map_err(|_| invalid("int"))?)
            }
        };
        self.literal(syntax)
    }

    /// The literal that the next token is.
    fn literal(&mut self, syntax: Syntax<'t>) -> Parsed<Tree<'t>> {
        let offset = self.advance()?.offset;
        self.tree(offset, syntax)
    }

    fn tree(&self, offset: usize, syntax: Syntax<'t>) -> Parsed<Tree<'t>> {
        let height = syntax.height();
        if height > MAX_DEPTH {
            return Err(self.error(offset, format!("expressions are nested at most {MAX_DEPTH} deep")));
        }
        Ok(Tree { syntax, offset, height })
    }

    /// Reads an opening bracket.
    fn open(&mut self) -> Parsed<()> {
        if self.brackets == MAX_BRACKETS {
            let message = format!("brackets are nested at most {MAX_BRACKETS} deep");
            return Err(self.error(self.token.offset, message));
        }
        self.brackets += 1;
        self.advance().map(drop)
    }

    /// Reads a closing bracket.
    fn close(&mut self, bracket: &str) -> Parsed<()> {
        if self.token.kind == TokenKind::End {
            return Err(self.error(self.token.offset, format!("missing '{bracket}' at the end")));
        }
        self.brackets -= 1;
        self.expect(bracket)
    }

    fn expect(&mut self, symbol: &str) -> Parsed<()> {
        if self.is(symbol) { self.advance().map(drop) } else { Err(self.unexpected()) }
    }

    fn is(&self, symbol: &str) -> bool {
        self.token.kind == TokenKind::Symbol && self.token.text == symbol
    }

    /// Moves on to the next token and returns the one before it.
    fn advance(&mut self) -> Parsed<Token<'t>> {
        let next = self.lexer.next_token()?;
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn unexpected(&self) -> FilterError {
        match self.token.kind {
            TokenKind::End => self.error(self.token.offset, "the expression is not complete"),
            _ => self.error(self.token.offset, format!("unexpected '{}'", self.token.text)),
        }
    }

    fn error(&self, offset: usize, message: impl Into<String>) -> FilterError {
        FilterError::new(self.text, offset, message)
    }
}

type Join<'t> = fn(Box<[Tree<'t>; 2]>) -> Syntax<'t>;
/// A term of a chain, and the offset of the operator before it.
type Term<'t> = (usize, Tree<'t>);

enum Infix<'t> {
    Binary(Operator),
    /// An operator whose chains are balanced: its symbol, and what joins two terms.
    Logic(&'static str, Join<'t>),
}

/// The operator that a token is between two operands, and its level of precedence: the higher, the tighter
/// it binds.
fn infix<'t>(token: &Token<'_>) -> Option<(u8, Infix<'t>)> {
    if token.kind != TokenKind::Symbol {
        return None;
    }
    let (level, operator) = match token.text {
        "||" => return Some((LOOSEST, Infix::Logic("||", Syntax::Or))),
        "&&" => return Some((2, Infix::Logic("&&", Syntax::And))),
        "==" => (3, Operator::Equal),
        "!=" => (3, Operator::NotEqual),
        "<" => (3, Operator::Less),
        "<=" => (3, Operator::LessOrEqual),
        ">" => (3, Operator::Greater),
        ">=" => (3, Operator::GreaterOrEqual),
        "in" => (3, Operator::In),
        "+" => (4, Operator::Add),
        "-" => (4, Operator::Subtract),
        "*" => (5, Operator::Multiply),
        "/" => (5, Operator::Divide),
        "%" => (5, Operator::Remainder),
        _ => return None,
    };
    Some((level, Infix::Binary(operator)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_filter_has_at_most_a_thousand_bytes() {
        assert!(parse(&"a".repeat(1_000)).is_ok());
        assert_eq!(error(&"é".repeat(501)), "line 1, column 501: a filter is at most 1000 bytes long");
    }

    #[test]
    fn brackets_nest_at_most_sixteen_deep() {
        let nested = |depth: usize| "(".repeat(depth) + "a" + &")".repeat(depth);
        assert!(parse(&nested(16)).is_ok());
        let message = "line 2, column 18: brackets are nested at most 16 deep";
        assert_eq!(error(&format!("true &&\n {}", nested(17))), message);
        // Brackets of every kind count.
        assert!(parse("[[[[[[[[f(a[b.c((((((1))))))])]]]]]]]]").is_ok());
        assert!(parse("[[[[[[[[f(a[b.c(((((((1)))))))])]]]]]]]]").is_err());
        // Only open brackets count, and none in strings and comments.
        let flat = "(a) || ".repeat(40);
        assert!(parse(&format!("{flat}'it\\'s ((((((((((((((((((' == r'\\' // ((((((((((((((((((")).is_ok());
    }

    #[test]
    fn expressions_nest_at_most_sixty_four_deep() {
        let fields = |count: usize| "a".to_owned() + &".b".repeat(count);
        assert!(parse(&fields(63)).is_ok());
        assert_eq!(error(&fields(64)), "line 1, column 128: expressions are nested at most 64 deep");
        assert!(parse(&("a?b:".repeat(63) + "c")).is_ok());
        assert!(parse(&("a?b:".repeat(64) + "c")).is_err());
        assert_eq!(parse(&("a||".repeat(300) + "b")).unwrap().height, 10, "a balanced tree");
    }

    #[test]
    fn an_error_points_at_its_token() {
        for (text, message) in [
            ("a == {'b': 1}", "line 1, column 6: objects cannot be written in a filter"),
            ("a.b {c: 1}", "line 1, column 5: objects cannot be written in a filter"),
            ("1 {", "line 1, column 3: unexpected '{'"),
            ("b'a'", "line 1, column 1: bytes cannot be written in a filter"),
            ("[1, ?a]", "line 1, column 5: unsupported syntax '?'"),
            ("a[?0]", "line 1, column 2: unsupported syntax '[?'"),
            ("a + .if", "line 1, column 6: reserved identifier: .if"),
            ("f(a b)", "line 1, column 5: unexpected 'b'"),
            ("[a", "line 1, column 3: missing ']' at the end"),
            ("(a]", "line 1, column 3: unexpected ']'"),
            ("a ? b ? c : d : e", "line 1, column 7: unexpected '?'"),
            ("a.in", "line 1, column 3: unexpected 'in'"),
            ("a.", "line 1, column 3: the expression is not complete"),
            ("!-a", "line 1, column 3: unexpected 'a'"),
            ("1e400", "line 1, column 1: invalid double literal"),
            ("18446744073709551616u", "line 1, column 1: invalid uint literal"),
            ("--9223372036854775808", "line 1, column 3: invalid int literal"),
        ] {
            assert_eq!(error(text), message, "{text}");
        }
    }
}
