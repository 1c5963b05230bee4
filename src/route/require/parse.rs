//! Reads the text of a requirement; `?` binds closest, then `and`, then `or`.

use std::ops::Range;

use super::Name;
use super::Node;
use super::RequireError;

/// The deepest nesting of parentheses.
const MAX_DEPTH: usize = 16;
/// The most mentions of checks, so that the requirement can be examined for every outcome.
const MAX_MENTIONS: usize = 16;
/// The most distinct checks, for the same reason.
pub(super) const MAX_CHECKS: usize = 8;

/// Reads a requirement.
pub(super) fn parse(text: &str) -> Result<Node<Name>, RequireError> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let node = parser.any_of()?;
    let end = parser.peek();
    match end.kind {
        Kind::End => {}
        Kind::Close => return refuse("this `)` closes nothing", end.range),
        _ => return refuse("expected `and`, `or` or the end", end.range),
    }
    let mut names: Vec<&str> = Vec::new();
    let mut mentions = 0;
    node.visit(&mut |name: &Name| {
        mentions += 1;
        let spelled = text.get(name.range.clone()).unwrap_or_default();
        if !names.contains(&spelled) {
            names.push(spelled);
        }
    });
    if names.len() > MAX_CHECKS {
        return refuse(format!("more than {MAX_CHECKS} different checks"), 0..text.len());
    }
    if mentions > MAX_MENTIONS {
        return refuse(format!("checks are named more than {MAX_MENTIONS} times"), 0..text.len());
    }
    Ok(node)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

struct Token<'t> {
    kind: Kind<'t>,
    range: Range<usize>,
}

enum Kind<'t> {
    And,
    Or,
    Optional,
    Open,
    Close,
    Name(&'t str),
    Foreign,
    End,
}

impl<'t> Parser<'t> {
    fn any_of(&mut self) -> Result<Node<Name>, RequireError> {
        let start = self.peek().range.start;
        let mut left = self.all_of()?;
        while matches!(self.peek().kind, Kind::Or) {
            let range = start..self.at;
            self.advance();
            let right = self.all_of()?;
            if !left.may_be_missing() {
                return refuse("this is never absent, so what follows `or` is never asked", range);
            }
            left = Node::Or(Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn all_of(&mut self) -> Result<Node<Name>, RequireError> {
        let mut left = self.term()?;
        while matches!(self.peek().kind, Kind::And) {
            self.advance();
            let right = self.term()?;
            left = Node::And(Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn term(&mut self) -> Result<Node<Name>, RequireError> {
        let start = self.peek();
        let mut node = match start.kind {
            Kind::Name(name) => {
                self.advance();
                Node::Check(Name { text: name.to_owned(), range: start.range.clone() })
            }
            Kind::Open => self.group(&start.range)?,
            Kind::Foreign => {
                return refuse(
                    "a requirement has names, `and`, `or`, `?`, `(` and `)`",
                    start.range,
                );
            }
            Kind::And | Kind::Or | Kind::Optional | Kind::Close | Kind::End => {
                return refuse("the name of a check is missing", start.range);
            }
        };
        while matches!(self.peek().kind, Kind::Optional) {
            let range = start.range.start..self.at;
            self.advance();
            if !node.may_be_absent() {
                return refuse("this is never absent, so `?` changes nothing", range);
            }
            node = Node::Optional(Box::new(node));
        }
        Ok(node)
    }

    fn group(&mut self, open: &Range<usize>) -> Result<Node<Name>, RequireError> {
        if self.depth == MAX_DEPTH {
            return refuse(format!("nested deeper than {MAX_DEPTH}"), open.clone());
        }
        self.advance();
        self.depth += 1;
        let node = self.any_of()?;
        self.depth -= 1;
        let close = self.peek();
        match close.kind {
            Kind::Close => self.advance(),
            Kind::End => return refuse("this `(` is not closed", open.clone()),
            _ => return refuse("expected `and`, `or` or `)`", close.range),
        }
        Ok(node)
    }

    fn peek(&self) -> Token<'t> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let token = rest.trim_start();
        let start = self.at + (rest.len() - token.len());
        let length = token.bytes().take_while(|b| is_name_byte(*b)).count();
        let (kind, length) = match token.get(..length).unwrap_or_default() {
            "and" => (Kind::And, length),
            "or" => (Kind::Or, length),
            "" => match token.chars().next() {
                None => (Kind::End, 0),
                Some('?') => (Kind::Optional, 1),
                Some('(') => (Kind::Open, 1),
                Some(')') => (Kind::Close, 1),
                Some(other) => (Kind::Foreign, other.len_utf8()),
            },
            name => (Kind::Name(name), length),
        };
        Token { kind, range: start..start + length }
    }

    fn advance(&mut self) {
        self.at = self.peek().range.end;
    }
}

impl Node<Name> {
    /// Whether it can fail for want of something, so that `or` moves on.
    fn may_be_missing(&self) -> bool {
        self.may_be_absent() || self.may_be_partial()
    }

    /// Whether it can fail with nothing presented, which `?` forgives.
    fn may_be_absent(&self) -> bool {
        match self {
            Self::Check(_) => true,
            Self::Optional(_) => false,
            Self::Or(left, right) => left.may_be_absent() && right.may_be_absent(),
            Self::And(left, right) => {
                (left.may_be_absent() && (right.may_be_absent() || right.may_be_vacant()))
                    || (left.may_be_vacant() && right.may_be_absent())
            }
        }
    }

    /// Whether it can fail with something presented and something else missing.
    fn may_be_partial(&self) -> bool {
        match self {
            Self::Check(_) => false,
            Self::Optional(inner) => inner.may_be_partial(),
            Self::Or(left, right) => {
                (left.may_be_partial() && (right.may_be_missing() || right.may_be_vacant()))
                    || (left.may_be_absent() && right.may_be_partial())
            }
            Self::And(left, right) => left.may_be_missing() || right.may_be_missing(),
        }
    }

    /// Whether it can pass with nothing presented.
    fn may_be_vacant(&self) -> bool {
        match self {
            Self::Check(_) => false,
            Self::Optional(inner) => inner.may_be_absent() || inner.may_be_vacant(),
            Self::Or(left, right) => {
                left.may_be_vacant() || (left.may_be_absent() && right.may_be_vacant())
            }
            Self::And(left, right) => left.may_be_vacant() && right.may_be_vacant(),
        }
    }
}

fn refuse<T>(message: impl Into<String>, range: Range<usize>) -> Result<T, RequireError> {
    Err(RequireError { message: message.into(), range })
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(node: &Node<Name>) -> String {
        match node {
            Node::Check(name) => name.text.clone(),
            Node::Optional(inner) => format!("{}?", written(inner)),
            Node::And(left, right) => format!("({} and {})", written(left), written(right)),
            Node::Or(left, right) => format!("({} or {})", written(left), written(right)),
        }
    }

    #[test]
    fn operators_bind_as_documented() {
        for (text, expected) in [
            ("app", "app"),
            ("app and user?", "(app and user?)"),
            ("a or b and c", "(a or (b and c))"),
            ("a and b or c", "((a and b) or c)"),
            ("a and b and c", "((a and b) and c)"),
            ("(a or b)and(c)", "((a or b) and c)"),
            ("  (a and b) ? ", "(a and b)?"),
            ("android or-two", "!"),
            ("android or order", "(android or order)"),
            ("api-key_2", "api-key_2"),
        ] {
            let read = parse(text).map_or_else(|_| "!".to_owned(), |node| written(&node));
            assert_eq!(read, expected, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_requirement_and_says_where() {
        for (text, blamed) in [
            ("", ""),
            ("and", "and"),
            ("a and", ""),
            ("a b", "b"),
            ("a or or b", "or"),
            ("(a", "("),
            ("(a b", "b"),
            ("a)", ")"),
            ("()", ")"),
            ("?a", "?"),
            ("a && b", "&"),
            ("a, b", ","),
            ("é", "é"),
            ("not a", "a"),
            ("a??", "a?"),
            ("(a or b?)?", "(a or b?)"),
            ("a? or b", "a?"),
            ("b or (a?) or c", "b or (a?)"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(text.get(error.range.clone()), Some(blamed), "{text}: {error}");
        }
    }

    #[test]
    fn bounds_hold_at_their_neighbours() {
        let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert!(parse(&nested(MAX_DEPTH + 1)).is_err());
        let distinct =
            |count: usize| (0..count).map(|n| format!("c{n}")).collect::<Vec<_>>().join(" and ");
        assert!(parse(&distinct(MAX_CHECKS)).is_ok());
        assert!(parse(&distinct(MAX_CHECKS + 1)).is_err());
        let same = |count: usize| vec!["a"; count].join(" or ");
        assert!(parse(&same(MAX_MENTIONS)).is_ok());
        assert!(parse(&same(MAX_MENTIONS + 1)).is_err());
    }
}
