//! One condition in CEL, the language of Kubernetes admission rules, compiled at load.
//!
//! An expression sees `user` (`id`, `issuer`, `present`, `permissions`, `claims`, `can("x")`), `app`
//! (`id`, `present`, `scopes`) and `request` (`method`, `host`, `path`, `address`, `params.<name>`);
//! [`check`] holds the closed list of what it may say. At run time a failure is a refusal: anything
//! but `present` of a caller who is not there, a claim that is missing, a value of another type.
//! `||` and `&&` follow CEL: a side that fails is ignored when the other decides.

mod check;
mod values;

use std::ops::Range;
use std::panic;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread;

use cel::Context;
use cel::Env;
use cel::ExecutionError;
use cel::IdedExpr;
use cel::ParseErrors;
use cel::Value;
use cel::common::types::CelBool;
use cel::parser::Parser;
use thiserror::Error;

use values::Bindings;

use super::Facts;
use super::Forbidden;
use super::TermOutcome;

/// The most bytes of an expression.
const MAX_TEXT_BYTES: usize = 2048;
/// The most bytes that may nest or chain (brackets, dots, operators).
const MAX_OPERATORS: usize = 256;
/// The stack on which an expression is parsed. The generated parser takes up to 170 KiB for each of
/// the at most 96 levels that it goes into, more than the stack of an ordinary thread.
const PARSER_STACK_BYTES: usize = 32 << 20;

/// A compiled condition.
pub struct Expression {
    text: String,
    root: IdedExpr,
    env: Arc<Env>,
    /// The parameters that the route captures, in order.
    params: Vec<String>,
}

/// Why a text is no condition, and which of its bytes are to blame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// What is wrong, for the operator.
    pub message: String,
    /// The bytes of the text to blame; all of them when the place is not known.
    pub range: Range<usize>,
}

impl Expression {
    /// Compiles `text` for a route that captures `params`.
    pub fn parse(text: &str, params: &[&str]) -> Result<Self, ExpressionError> {
        let whole =
            |message: &str| ExpressionError { message: message.to_owned(), range: 0..text.len() };
        if text.len() > MAX_TEXT_BYTES {
            return Err(whole(&format!("an expression has at most {MAX_TEXT_BYTES} bytes")));
        }
        if text.bytes().filter(|byte| b".[({+-*/%<>=?!&|".contains(byte)).count() > MAX_OPERATORS {
            return Err(whole(&format!("an expression has at most {MAX_OPERATORS} operators")));
        }
        let parse = || {
            let (mut root, source) = Parser::new()
                .parse_with_source_info(text)
                .map_err(|errors| syntax_error(text, &errors))?;
            check::check(&mut root, text, &source, params).map(|()| root)
        };
        let root = thread::scope(|scope| {
            let builder = thread::Builder::new().stack_size(PARSER_STACK_BYTES);
            let parser = builder.spawn_scoped(scope, parse).map_err(|e| whole(&e.to_string()))?;
            // The generated parser asserts in places; the operator gets an error instead.
            parser.join().unwrap_or_else(|_| Err(whole("not an expression")))
        })?;
        let env = values::environment().map_err(|error| whole(&error.to_string()))?;
        let params = params.iter().map(|name| (*name).to_owned()).collect();
        Ok(Self { text: text.to_owned(), root, env: Arc::new(env), params })
    }

    /// The text as the operator wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn permit(&self, facts: &Facts<'_>) -> Result<(), Forbidden> {
        match self.evaluate(facts) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Forbidden::NotAllowed),
            Err(_) => Err(Forbidden::ExpressionFailed),
        }
    }

    /// How each term ends that `&&` joins at the top.
    pub(super) fn explain(&self, facts: &Facts<'_>) -> Vec<(String, TermOutcome)> {
        let params: Vec<&str> = self.params.iter().map(String::as_str).collect();
        let terms: Result<Vec<_>, _> =
            terms(&self.text).into_iter().map(|term| Self::parse(term, &params)).collect();
        match terms {
            Ok(terms) => {
                terms.iter().map(|term| (term.text.clone(), term.outcome(facts))).collect()
            }
            Err(_) => vec![(self.text.clone(), self.outcome(facts))],
        }
    }

    fn outcome(&self, facts: &Facts<'_>) -> TermOutcome {
        match self.evaluate(facts) {
            Ok(true) => TermOutcome::Holds,
            Ok(false) => TermOutcome::Fails,
            Err(reason) => TermOutcome::Broken(reason),
        }
    }

    fn evaluate(&self, facts: &Facts<'_>) -> Result<bool, String> {
        let evaluate = || {
            let bindings = Bindings::new(facts);
            let mut context = Context::with_env(Arc::clone(&self.env));
            context.set_variable_resolver(&bindings);
            let value = Value::resolve_val(&self.root, &context).map_err(|e| reason(&e))?;
            value
                .downcast_ref::<CelBool>()
                .map(|value| *value.inner())
                .ok_or_else(|| "it is neither true nor false".to_owned())
        };
        panic::catch_unwind(AssertUnwindSafe(evaluate))
            .unwrap_or_else(|_| Err("the evaluation panicked".to_owned()))
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

/// Words for a failure that quote names and types, never values: values are claims.
fn reason(error: &ExecutionError) -> String {
    match error {
        ExecutionError::UndeclaredReference(name) if name.starts_with("user.") => {
            "there is no user".to_owned()
        }
        ExecutionError::UndeclaredReference(name) if name.starts_with("app.") => {
            "there is no application".to_owned()
        }
        ExecutionError::NoSuchKey(name) => format!("there is no `{name}`"),
        ExecutionError::NoSuchOverload(overload) => overload.to_string(),
        ExecutionError::UnexpectedType { got, want } => format!("{got} instead of {want}"),
        ExecutionError::IndexOutOfBounds(_) => "the list is shorter".to_owned(),
        ExecutionError::FunctionError { message, .. } => message.clone(),
        _ => "it failed".to_owned(),
    }
}

fn syntax_error(text: &str, errors: &ParseErrors) -> ExpressionError {
    let Some(first) = errors.errors.first() else {
        return ExpressionError { message: "not an expression".to_owned(), range: 0..text.len() };
    };
    ExpressionError {
        message: first.msg.trim().to_owned(),
        range: place(text, first.pos).unwrap_or(0..text.len()),
    }
}

/// The bytes of the character at a line and a column, both counted from 1, or of the end.
fn place(text: &str, (line, column): (isize, isize)) -> Option<Range<usize>> {
    let before = usize::try_from(line).ok()?.checked_sub(1)?;
    let column = usize::try_from(column).ok()?.checked_sub(1)?;
    let line_start: usize = text.split_inclusive('\n').take(before).map(str::len).sum();
    let start = line_start.checked_add(column)?.min(text.len());
    let length = text.get(start..)?.chars().next().map_or(0, char::len_utf8);
    Some(start..start + length)
}

/// The parts of `text` that `&&` joins outside any brackets and quotes; the whole text when an
/// operator that binds less tightly joins it.
fn terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut depth, mut at) = (0, 0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(length) = quoted(rest) {
            at += length;
            continue;
        }
        match rest.as_bytes() {
            [b'(' | b'[' | b'{', ..] => depth += 1,
            [b')' | b']' | b'}', ..] => depth = depth.saturating_sub(1),
            [b'|' | b'?', ..] if depth == 0 => return vec![text.trim()],
            [b'&', b'&', ..] if depth == 0 => {
                terms.extend(text.get(start..at));
                start = at + 2;
                at += 1;
            }
            _ => {}
        }
        at += rest.chars().next().map_or(1, char::len_utf8);
    }
    terms.extend(text.get(start..));
    terms.into_iter().map(str::trim).collect()
}

/// The length of the quoted text that `rest` begins with. Raw texts, in which a backslash escapes
/// nothing, may make this too long; the terms then do not parse, and the whole is one term.
fn quoted(rest: &str) -> Option<usize> {
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| rest.starts_with(quote))?;
    let mut at = quote.len();
    while let Some(inner) = rest.get(at..).filter(|inner| !inner.is_empty()) {
        if inner.starts_with(quote) {
            return Some(at + quote.len());
        }
        let escape = usize::from(inner.starts_with('\\'));
        at += escape + inner.chars().nth(escape).map_or(1, char::len_utf8);
    }
    Some(rest.len())
}

#[cfg(test)]
mod tests;
