//! Templates: values of any form whose texts may speak of names.
//!
//! A text that is exactly `${name}` becomes the value with its type; a `${name}` within a longer text
//! is written into it. `${name ?? other}` stands in for what is absent or null: a name or a JSON
//! literal. `$${` is a plain `${`.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::scope::{Name, Scope, Use};
use crate::config::{At, Findings, Place, Tree, did_you_mean, is_attribute};

/// A value with names in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Node);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Value(Value),
    Reference(Reference),
    Text(Vec<Part>),
    List(Vec<Self>),
    Map(Vec<(Vec<Part>, Self)>),
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(String),
    Reference(Reference),
}

#[derive(Clone, Debug, PartialEq)]
struct Reference {
    to: Target,
    otherwise: Option<Box<Otherwise>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Target {
    Name(Name),
    /// An attribute of the user.
    Attribute(String),
}

#[derive(Clone, Debug, PartialEq)]
enum Otherwise {
    Literal(Value),
    Reference(Reference),
}

impl Template {
    pub(super) fn compile(tree: &At<Tree>, usage: Use, findings: &mut Findings) -> Option<Self> {
        Compiler { usage, findings }.node(tree).map(Self)
    }

    pub(super) fn compile_text(
        text: &At<String>,
        usage: Use,
        findings: &mut Findings,
    ) -> Option<Self> {
        Compiler { usage, findings }.text(&text.value, text.place).map(Self)
    }

    /// The value, with what `scope` knows; members keep their order.
    pub fn render(&self, scope: &Scope<'_>) -> Value {
        self.0.render(scope)
    }

    /// The same as a text: empty when it is null, JSON when it is a list or a map.
    pub fn text(&self, scope: &Scope<'_>) -> String {
        let mut text = String::new();
        write_value(&mut text, &self.0.render(scope));
        text
    }

    /// Whether it is nothing but one name.
    pub(super) fn is_exactly(&self, name: Name) -> bool {
        self.0 == Node::Reference(Reference { to: Target::Name(name), otherwise: None })
    }

    /// The literal text before the one name that it ends with, and that name.
    pub(super) fn prefix_and_name(&self) -> Option<(&str, Name)> {
        let (prefix, reference) = match &self.0 {
            Node::Reference(reference) => ("", reference),
            Node::Text(parts) => match parts.as_slice() {
                [Part::Literal(prefix), Part::Reference(reference)] => (prefix.as_str(), reference),
                _ => return None,
            },
            Node::Value(_) | Node::List(_) | Node::Map(_) => return None,
        };
        match reference {
            Reference { to: Target::Name(name), otherwise: None } => Some((prefix, *name)),
            Reference { .. } => None,
        }
    }

    /// The member of a map, by names that hold no references.
    pub(super) fn member<'n>(&self, path: impl IntoIterator<Item = &'n str>) -> Option<Self> {
        let mut node = &self.0;
        for name in path {
            let Node::Map(members) = node else { return None };
            let named = |key: &[Part]| matches!(key, [Part::Literal(text)] if text == name);
            node = members.iter().find(|(key, _)| named(key)).map(|(_, node)| node)?;
        }
        Some(Self(node.clone()))
    }

    pub(super) const fn is_map(&self) -> bool {
        matches!(self.0, Node::Map(_))
    }
}

impl Node {
    fn render(&self, scope: &Scope<'_>) -> Value {
        match self {
            Self::Value(value) => value.clone(),
            Self::Reference(reference) => reference.render(scope),
            Self::Text(parts) => Value::String(join(parts, scope)),
            Self::List(items) => items.iter().map(|item| item.render(scope)).collect(),
            Self::Map(members) => {
                let mut map = Map::with_capacity(members.len());
                for (key, node) in members {
                    map.insert(join(key, scope), node.render(scope));
                }
                Value::Object(map)
            }
        }
    }
}

impl Reference {
    fn render(&self, scope: &Scope<'_>) -> Value {
        let value = match &self.to {
            Target::Name(name) => scope.value(*name),
            Target::Attribute(name) => scope.attribute(name),
        };
        match (value, self.otherwise.as_deref()) {
            (None | Some(Value::Null), Some(Otherwise::Literal(value))) => value.clone(),
            (None | Some(Value::Null), Some(Otherwise::Reference(other))) => other.render(scope),
            (None, None) => Value::Null,
            (Some(value), _) => value.clone(),
        }
    }
}

fn join(parts: &[Part], scope: &Scope<'_>) -> String {
    let mut text = String::new();
    for part in parts {
        match part {
            Part::Literal(literal) => text.push_str(literal),
            Part::Reference(reference) => write_value(&mut text, &reference.render(scope)),
        }
    }
    text
}

fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::Null => {}
        Value::String(string) => text.push_str(string),
        // Writing to a text cannot fail.
        other => drop(write!(text, "{other}")),
    }
}

struct Compiler<'f> {
    usage: Use,
    findings: &'f mut Findings,
}

impl Compiler<'_> {
    fn node(&mut self, tree: &At<Tree>) -> Option<Node> {
        match &tree.value {
            Tree::Null => Some(Node::Value(Value::Null)),
            Tree::Bool(value) => Some(Node::Value((*value).into())),
            Tree::Number(number) => Some(Node::Value(Value::Number(number.clone()))),
            Tree::Text(text) => self.text(text, tree.place),
            Tree::List(items) => {
                // All of them, so that every mistake is found at once.
                let nodes: Vec<Option<Node>> = items.iter().map(|item| self.node(item)).collect();
                nodes.into_iter().collect::<Option<_>>().map(Node::List)
            }
            Tree::Map(members) => {
                let nodes: Vec<_> = members
                    .iter()
                    .map(|(key, value)| {
                        let key = self.parts(&key.value, key.place);
                        let value = self.node(value);
                        key.zip(value)
                    })
                    .collect();
                nodes.into_iter().collect::<Option<_>>().map(Node::Map)
            }
        }
    }

    fn text(&mut self, text: &str, place: Place) -> Option<Node> {
        let mut parts = self.parts(text, place)?;
        Some(match parts.as_mut_slice() {
            [] => Node::Value(Value::String(String::new())),
            [Part::Literal(text)] => Node::Value(Value::String(std::mem::take(text))),
            [Part::Reference(reference)] => Node::Reference(reference.clone()),
            _ => Node::Text(parts),
        })
    }

    fn parts(&mut self, text: &str, place: Place) -> Option<Vec<Part>> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                literal.push_str(before);
                literal.push_str("${");
                rest = behind;
                continue;
            }
            literal.push_str(before);
            let Some((inner, behind)) = behind.split_once('}') else {
                self.findings
                    .error(place, "a `${` is never closed")
                    .help("write `$${` for the characters themselves");
                return None;
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Reference(self.reference(inner, place)?));
            rest = behind;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Some(parts)
    }

    fn reference(&mut self, inner: &str, place: Place) -> Option<Reference> {
        let (name, otherwise) = match inner.split_once("??") {
            Some((name, otherwise)) => (name.trim(), Some(otherwise.trim())),
            None => (inner.trim(), None),
        };
        let to = self.target(name, place)?;
        let otherwise = match otherwise {
            None => None,
            Some(text) => Some(Box::new(self.otherwise(text, place)?)),
        };
        Some(Reference { to, otherwise })
    }

    fn otherwise(&mut self, text: &str, place: Place) -> Option<Otherwise> {
        if let Ok(value) = serde_json::from_str(text) {
            return Some(Otherwise::Literal(value));
        }
        self.reference(text, place).map(Otherwise::Reference)
    }

    fn target(&mut self, text: &str, place: Place) -> Option<Target> {
        if let Some(name) = Name::ALL.iter().find(|name| name.text() == text) {
            if name.places().contains(&self.usage) {
                return Some(Target::Name(*name));
            }
            let known = self.known().join(", ");
            self.findings
                .error(place, format!("`${{{text}}}` is not known here"))
                .help(format!("known here: {known}"));
            return None;
        }
        let attribute = text.strip_prefix("user.").filter(|name| is_attribute(name));
        if let Some(attribute) = attribute.filter(|_| self.speaks_of_a_user()) {
            return Some(Target::Attribute(attribute.to_owned()));
        }
        let known = self.known();
        let help = did_you_mean(text, known.iter().copied()).map_or_else(
            || format!("known here: {}", known.join(", ")),
            |close| format!("did you mean `${{{close}}}`?"),
        );
        self.findings.error(place, format!("`${{{text}}}` is no name")).help(help);
        None
    }

    fn known(&self) -> Vec<&'static str> {
        let here = Name::ALL.iter().filter(|name| name.places().contains(&self.usage));
        here.map(|name| name.text()).collect()
    }

    fn speaks_of_a_user(&self) -> bool {
        matches!(self.usage, Use::Claims | Use::Success)
    }
}
