//! The syntax tree: a filter as the parser reads it, before names are looked up.

use super::program::Operator;

/// An expression of a filter. Its height is at most [`super::MAX_DEPTH`], so it can be walked and dropped
/// recursively.
#[derive(Debug)]
pub(super) struct Tree<'t> {
    pub(super) syntax: Syntax<'t>,
    /// Where errors about this expression point, in bytes: at its name, literal, bracket or operator.
    pub(super) offset: usize,
    /// Levels of expressions, this one included; at least 1.
    pub(super) height: usize,
}

/// The kind of an expression, and its parts. Brackets that only group are not part of the tree.
#[derive(Debug)]
pub(super) enum Syntax<'t> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    String(String),
    List(Vec<Tree<'t>>),
    /// A name, with the dot before it if there is one.
    Name(&'t str),
    Field(Box<Tree<'t>>, &'t str),
    Index(Box<[Tree<'t>; 2]>),
    Not(Box<Tree<'t>>),
    Negate(Box<Tree<'t>>),
    And(Box<[Tree<'t>; 2]>),
    Or(Box<[Tree<'t>; 2]>),
    /// The condition, the value if it is true, and the value if it is false.
    Conditional(Box<[Tree<'t>; 3]>),
    Binary(Operator, Box<[Tree<'t>; 2]>),
    Call(Call<'t>),
}

/// A call of a function, a method or a macro.
#[derive(Debug)]
pub(super) struct Call<'t> {
    /// The target of a method or a macro; none for a function.
    pub(super) target: Option<Box<Tree<'t>>>,
    pub(super) name: &'t str,
    pub(super) arguments: Vec<Tree<'t>>,
}

impl<'t> Syntax<'t> {
    /// The height of a tree of this syntax.
    pub(super) fn height(&self) -> usize {
        let tallest = |trees: &[Tree<'t>]| trees.iter().map(|tree| tree.height).max().unwrap_or(0);
        1 + match self {
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::Double(_) | Self::String(_) | Self::Name(_) => {
                0
            }
            Self::Field(tree, _) | Self::Not(tree) | Self::Negate(tree) => tree.height,
            Self::Index(trees) | Self::And(trees) | Self::Or(trees) | Self::Binary(_, trees) => {
                tallest(&**trees)
            }
            Self::Conditional(trees) => tallest(&**trees),
            Self::List(trees) => tallest(trees),
            Self::Call(call) => {
                tallest(&call.arguments).max(call.target.as_ref().map_or(0, |target| target.height))
            }
        }
    }
}
