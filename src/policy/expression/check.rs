//! The closed list of what an expression may say, held against its syntax tree at load.
//!
//! The walk refuses every name, function and form that is not listed, finds operands that can never
//! fit, bounds nesting, and replaces each known name by one identifier (`request.method`,
//! `user.claims`, the number of a parameter) which the values of a request answer directly.

use std::ops::Range;

use cel::IdedExpr;
use cel::common::ast::CallExpr;
use cel::common::ast::ComprehensionExpr;
use cel::common::ast::Expr;
use cel::common::ast::LiteralValue;
use cel::common::ast::SelectExpr;
use cel::common::ast::SourceInfo;
use cel::common::ast::operators;

use super::ExpressionError;
use super::values::GRANTS;

/// The deepest nesting of the syntax tree. Evaluation takes up to 40 KiB of stack for each level in
/// an unoptimised build, on the stack of whoever asks.
pub(super) const MAX_DEPTH: usize = 24;
/// The most elements of a list.
const MAX_ELEMENTS: usize = 256;

/// What an expression is known to yield.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Number,
    Text,
    List,
    /// The claims as a whole, of which only single ones have a value.
    Claims,
    /// Something that only the request tells.
    Dynamic,
}

/// Checks a syntax tree and resolves its names.
pub(super) fn check(
    root: &mut IdedExpr,
    text: &str,
    source: &SourceInfo,
    params: &[&str],
) -> Result<(), ExpressionError> {
    let mut walk = Walk { text, source, params, variables: Vec::new(), depth: 0 };
    walk.expect(root, &[Kind::Boolean])
}

struct Walk<'a> {
    text: &'a str,
    source: &'a SourceInfo,
    params: &'a [&'a str],
    /// The variables of the macros around, innermost last.
    variables: Vec<String>,
    depth: usize,
}

impl Walk<'_> {
    /// Checks a part that must yield one of `kinds`, or what only the request tells.
    fn expect(&mut self, node: &mut IdedExpr, kinds: &[Kind]) -> Result<(), ExpressionError> {
        let id = node.id;
        let kind = self.check(node)?;
        if kind == Kind::Dynamic || kinds.contains(&kind) {
            return Ok(());
        }
        let wanted: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
        self.refuse(id, format!("{} where {} is needed", kind.name(), wanted.join(" or ")))
    }

    fn check(&mut self, node: &mut IdedExpr) -> Result<Kind, ExpressionError> {
        if self.depth == MAX_DEPTH {
            return self.refuse(node.id, format!("nested deeper than {MAX_DEPTH}"));
        }
        self.depth += 1;
        let id = node.id;
        let kind = match &mut node.expr {
            Expr::Literal(literal) => self.literal(id, literal),
            Expr::Ident(name) => self.name_alone(id, name),
            Expr::Select(select) if select.test => self.presence(id, select),
            Expr::Select(_) => self.select(node),
            Expr::Call(call) if is_can(call) => self.can(node),
            Expr::Call(call) => self.call(id, call),
            Expr::List(list) if list.elements.len() > MAX_ELEMENTS => {
                self.refuse(id, format!("a list has at most {MAX_ELEMENTS} elements"))
            }
            Expr::List(list) => {
                let values = [Kind::Boolean, Kind::Number, Kind::Text, Kind::List];
                list.elements
                    .iter_mut()
                    .try_for_each(|element| self.expect(element, &values))
                    .map(|()| Kind::List)
            }
            Expr::Comprehension(comprehension) => self.comprehension(id, comprehension),
            Expr::Map(_) | Expr::Struct(_) => self.refuse(id, "maps and messages cannot be made"),
            Expr::Unspecified => self.refuse(id, "not an expression"),
        }?;
        self.depth -= 1;
        Ok(kind)
    }

    fn literal(&self, id: u64, literal: &LiteralValue) -> Result<Kind, ExpressionError> {
        match literal {
            LiteralValue::Boolean(_) => Ok(Kind::Boolean),
            LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_) => {
                Ok(Kind::Number)
            }
            LiteralValue::String(_) => Ok(Kind::Text),
            LiteralValue::Null => Ok(Kind::Dynamic),
            LiteralValue::Bytes(_) => self.refuse(id, "bytes compare with nothing here"),
        }
    }

    fn name_alone(&self, id: u64, name: &str) -> Result<Kind, ExpressionError> {
        if self.variables.iter().any(|variable| variable == name) {
            return Ok(Kind::Dynamic);
        }
        match name {
            "user" => self.refuse(id, "`user` has no value of its own; ask `user.present`"),
            "app" => self.refuse(id, "`app` has no value of its own; ask `app.present`"),
            "certificate" => {
                self.refuse(id, "`certificate` has no value of its own; ask `certificate.present`")
            }
            "request" => self.refuse(id, "`request` has no value of its own"),
            _ => self.refuse(id, format!("no variable is named `{name}`")),
        }
    }

    /// `a.b`: a known name, or a field of something that only the request tells.
    fn select(&mut self, node: &mut IdedExpr) -> Result<Kind, ExpressionError> {
        if let Some((name, kind)) = self.fact(node)? {
            node.expr = Expr::Ident(name);
            return Ok(kind);
        }
        let Expr::Select(select) = &mut node.expr else { return Ok(Kind::Dynamic) };
        self.expect(&mut select.operand, &[Kind::Claims])?;
        Ok(Kind::Dynamic)
    }

    /// `has(a.b)`, which only claims and what is in them need: everything else is always there, or
    /// there together with its caller.
    fn presence(&mut self, id: u64, select: &mut SelectExpr) -> Result<Kind, ExpressionError> {
        if is_root(&select.operand) {
            return self.refuse(id, "`has` looks into claims; a caller is asked for by `present`");
        }
        self.expect(&mut select.operand, &[Kind::Claims])?;
        Ok(Kind::Boolean)
    }

    /// The identifier and the kind of a known name such as `user.id`.
    fn fact(&self, node: &IdedExpr) -> Result<Option<(String, Kind)>, ExpressionError> {
        let Expr::Select(select) = &node.expr else { return Ok(None) };
        let field = select.field.as_str();
        if let Expr::Select(inner) = &select.operand.expr
            && inner.field == "params"
            && is_named(&inner.operand, "request")
        {
            return match self.params.iter().position(|param| *param == field) {
                Some(number) => Ok(Some((number.to_string(), Kind::Text))),
                None => self.refuse(node.id, format!("the route captures no `{{{field}}}`")),
            };
        }
        let Expr::Ident(root) = &select.operand.expr else { return Ok(None) };
        if !is_root(&select.operand) {
            return Ok(None);
        }
        let kind = match (root.as_str(), field) {
            ("user" | "app" | "certificate", "present") => Kind::Boolean,
            ("certificate", "subject" | "issuer" | "sha256") => Kind::Text,
            ("certificate", "dns" | "uris" | "emails") => Kind::List,
            ("user", "id" | "issuer") | ("app", "id") => Kind::Text,
            ("user", "permissions") | ("app", "scopes") => Kind::List,
            ("user", "claims") => Kind::Claims,
            ("request", "method" | "host" | "path" | "address") => Kind::Text,
            ("request", "params") => {
                return self.refuse(node.id, "write `request.params.` and a captured name");
            }
            _ => return self.refuse(node.id, format!("`{root}` has no field `{field}`")),
        };
        Ok(Some((format!("{root}.{field}"), kind)))
    }

    /// `user.can(x)` becomes `x in` the user's grants.
    fn can(&mut self, node: &mut IdedExpr) -> Result<Kind, ExpressionError> {
        let id = node.id;
        let Expr::Call(call) = &mut node.expr else { return Ok(Kind::Boolean) };
        let [argument] = call.args.as_mut_slice() else {
            return self.refuse(id, "`user.can` takes one name");
        };
        self.expect(argument, &[Kind::Text])?;
        operators::IN.clone_into(&mut call.func_name);
        call.target = None;
        call.args.push(IdedExpr { id, expr: Expr::Ident(GRANTS.to_owned()) });
        Ok(Kind::Boolean)
    }

    fn call(&mut self, id: u64, call: &mut CallExpr) -> Result<Kind, ExpressionError> {
        if let Some(target) = &mut call.target {
            return match (call.func_name.as_str(), call.args.as_mut_slice()) {
                ("startsWith" | "endsWith" | "contains", [part]) => {
                    self.expect(target, &[Kind::Text])?;
                    self.expect(part, &[Kind::Text])?;
                    Ok(Kind::Boolean)
                }
                (name, _) => self.refuse(id, unknown_function(name)),
            };
        }
        match (call.func_name.as_str(), call.args.as_mut_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [left, right]) => {
                self.expect(left, &[Kind::Boolean])?;
                self.expect(right, &[Kind::Boolean])?;
                Ok(Kind::Boolean)
            }
            (operators::LOGICAL_NOT, [operand]) => {
                self.expect(operand, &[Kind::Boolean])?;
                Ok(Kind::Boolean)
            }
            (operators::CONDITIONAL, [condition, then, otherwise]) => {
                self.expect(condition, &[Kind::Boolean])?;
                let (then, otherwise) = (self.check(then)?, self.check(otherwise)?);
                Ok(if then == otherwise { then } else { Kind::Dynamic })
            }
            (operators::EQUALS | operators::NOT_EQUALS, [left, right]) => {
                self.comparable(id, left, right, Kind::is_equatable)
            }
            (
                operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS,
                [left, right],
            ) => self.comparable(id, left, right, Kind::is_ordered),
            (operators::IN, [element, list]) => {
                let values = [Kind::Boolean, Kind::Number, Kind::Text, Kind::List];
                self.expect(element, &values)?;
                self.expect(list, &[Kind::List, Kind::Claims])?;
                Ok(Kind::Boolean)
            }
            (operators::INDEX, [container, key]) => {
                self.expect(container, &[Kind::List, Kind::Claims])?;
                self.expect(key, &[Kind::Number, Kind::Text])?;
                Ok(Kind::Dynamic)
            }
            ("size", [container]) => {
                self.expect(container, &[Kind::Text, Kind::List])?;
                Ok(Kind::Number)
            }
            ("has", _) => self.refuse(id, "`has` takes a field: `has(user.claims.name)`"),
            (name, _) => self.refuse(id, unknown_function(name)),
        }
    }

    fn comparable(
        &mut self,
        id: u64,
        left: &mut IdedExpr,
        right: &mut IdedExpr,
        fits: impl Fn(Kind) -> bool,
    ) -> Result<Kind, ExpressionError> {
        let (left, right) = (self.check(left)?, self.check(right)?);
        let either_is_dynamic = left == Kind::Dynamic || right == Kind::Dynamic;
        if !fits(left) || !fits(right) || (left != right && !either_is_dynamic) {
            let message = format!("{} and {} do not compare", left.name(), right.name());
            return self.refuse(id, message);
        }
        Ok(Kind::Boolean)
    }

    /// `list.exists(x, …)` and `list.all(x, …)`; the parser has expanded them, as it has `map`,
    /// `filter` and `exists_one`, which are not listed. One inside another could take the square of
    /// a claim's length.
    fn comprehension(
        &mut self,
        id: u64,
        comprehension: &mut ComprehensionExpr,
    ) -> Result<Kind, ExpressionError> {
        let Some(condition) = folded(comprehension) else {
            return self.refuse(id, "of the macros on lists there are only `exists` and `all`");
        };
        // Left out of the tree meanwhile, so that it is checked beside the rest of it.
        let mut condition = std::mem::take(condition);
        if !self.variables.is_empty() {
            return self.refuse(id, "`exists` and `all` do not nest");
        }
        let variable = comprehension.iter_var.clone();
        if is_reserved(&variable) {
            return self.refuse(id, format!("`{variable}` already has a meaning"));
        }
        self.expect(&mut comprehension.iter_range, &[Kind::List])?;
        self.variables.push(variable);
        self.expect(&mut condition, &[Kind::Boolean])?;
        self.variables.pop();
        if let Some(place) = folded(comprehension) {
            *place = condition;
        }
        Ok(Kind::Boolean)
    }

    fn refuse<T>(&self, id: u64, message: impl Into<String>) -> Result<T, ExpressionError> {
        Err(ExpressionError { message: message.into(), range: self.place(id) })
    }

    /// The bytes of the token at which a part stands, or of the whole text.
    fn place(&self, id: u64) -> Range<usize> {
        let known = self.source.offset_for(id).and_then(|(start, last)| {
            let (start, last) = (usize::try_from(start).ok()?, usize::try_from(last).ok()?);
            let length = self.text.get(last..)?.chars().next().map_or(0, char::len_utf8);
            self.text.get(start..last + length).map(|_| start..last + length)
        });
        known.unwrap_or(0..self.text.len())
    }
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "true or false",
            Self::Number => "a number",
            Self::Text => "a text",
            Self::List => "a list",
            Self::Claims => "all claims",
            Self::Dynamic => "a value",
        }
    }

    fn is_equatable(self) -> bool {
        self != Self::Claims
    }

    fn is_ordered(self) -> bool {
        matches!(self, Self::Number | Self::Text | Self::Dynamic)
    }
}

fn is_root(node: &IdedExpr) -> bool {
    matches!(&node.expr, Expr::Ident(name) if is_reserved(name))
}

fn is_named(node: &IdedExpr, root: &str) -> bool {
    matches!(&node.expr, Expr::Ident(name) if name == root)
}

fn is_reserved(name: &str) -> bool {
    matches!(name, "user" | "app" | "certificate" | "request")
}

fn is_can(call: &CallExpr) -> bool {
    call.func_name == "can" && call.target.as_deref().is_some_and(|target| is_named(target, "user"))
}

/// The condition of an expanded `exists` or `all`: the right side of what each step computes.
fn folded(comprehension: &mut ComprehensionExpr) -> Option<&mut IdedExpr> {
    let Expr::Call(step) = &mut comprehension.loop_step.expr else { return None };
    let folds = matches!(step.func_name.as_str(), operators::LOGICAL_AND | operators::LOGICAL_OR);
    let [so_far, condition] = step.args.as_mut_slice() else { return None };
    let is_fold =
        folds && matches!(&so_far.expr, Expr::Ident(name) if *name == comprehension.accu_var);
    is_fold.then_some(condition)
}

fn unknown_function(name: &str) -> String {
    match name {
        operators::ADD | operators::SUBSTRACT | operators::NEGATE => {
            "no arithmetic here".to_owned()
        }
        operators::MULTIPLY | operators::DIVIDE | operators::MODULO => {
            "no arithmetic here".to_owned()
        }
        _ => format!("no function `{name}` with these arguments"),
    }
}
