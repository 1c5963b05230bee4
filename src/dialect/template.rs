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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A template written as YAML.
    #[track_caller]
    fn compile(yaml: &str, usage: Use) -> (Option<Template>, Vec<String>) {
        let tree: At<Tree> = serde_saphyr::from_str(yaml).unwrap();
        let mut findings = Findings::new();
        let template = Template::compile(&tree, usage, &mut findings);
        let found = findings.iter().map(|one| {
            let (place, help) = (one.place, one.help.clone().unwrap_or_default());
            format!("{}:{} {}; {help}", place.line, place.column, one.message)
        });
        (template, found.collect())
    }

    #[track_caller]
    fn rendered(yaml: &str) -> Value {
        let (template, found) = compile(yaml, Use::Success);
        let attributes = json!({"name": "Ada", "admin": true, "topics": ["a"], "none": null});
        let scope = Scope::new()
            .with(Name::Token, "t.t.t")
            .with(Name::UserNumber, 7)
            .with(Name::UserId, "u_1");
        let scope = scope.with_attributes(attributes.as_object().unwrap());
        template.unwrap_or_else(|| panic!("{found:?}")).render(&scope)
    }

    #[test]
    fn a_name_alone_keeps_its_type_and_within_a_text_becomes_text() {
        for (yaml, value) in [
            ("'${user.number}'", json!(7)),
            ("'${ user.number }'", json!(7)),
            ("'no. ${user.number}'", json!("no. 7")),
            ("'${user.number}${user.number}'", json!("77")),
            ("'${user.admin}'", json!(true)),
            ("'${user.topics}'", json!(["a"])),
            ("'${user.name}!'", json!("Ada!")),
            ("'<${user.absent}>'", json!("<>")),
            ("'${token}'", json!("t.t.t")),
            ("''", json!("")),
            ("7", json!(7)),
            ("'7'", json!("7")),
            ("null", json!(null)),
            ("true", json!(true)),
            ("1.5", json!(1.5)),
            ("'$${token}'", json!("${token}")),
            ("'$$${token}'", json!("$${token}")),
            ("'$ {token} $'", json!("$ {token} $")),
        ] {
            assert_eq!(rendered(yaml), value, "{yaml}");
        }
    }

    #[test]
    fn what_is_absent_or_null_has_a_stand_in() {
        for (yaml, value) in [
            ("'${user.absent}'", json!(null)),
            ("'${user.absent ?? []}'", json!([])),
            ("'${user.none ?? {\"a\": 1}'", json!(null)),
            ("'${user.none ?? \"x\"}'", json!("x")),
            ("'${user.name ?? \"x\"}'", json!("Ada")),
            ("'${user.absent ?? user.id}'", json!("u_1")),
            ("'${user.absent ?? user.none ?? 3}'", json!(3)),
            ("'${user.login ?? false}'", json!(false)),
        ] {
            if yaml.contains("{\"a\"") {
                // A closing brace ends the name: a map cannot stand in.
                assert!(compile(yaml, Use::Success).0.is_none(), "{yaml}");
            } else {
                assert_eq!(rendered(yaml), value, "{yaml}");
            }
        }
    }

    #[test]
    fn maps_keep_their_order_and_may_have_names_for_keys() {
        let value = rendered("{ z: 1, '${user.name}': ['${user.number}'], a: { b: null } }");
        assert_eq!(value.to_string(), r#"{"z":1,"Ada":[7],"a":{"b":null}}"#);
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_one_that_was_meant() {
        for (yaml, usage, found) in [
            ("'${tokn}'", Use::Success, "1:1 `${tokn}` is no name; did you mean `${token}`?"),
            (
                "{ a: 'x ${usr.id}' }",
                Use::Claims,
                "1:6 `${usr.id}` is no name; did you mean `${user.id}`?",
            ),
            (
                "'${token'",
                Use::Success,
                "1:1 a `${` is never closed; write `$${` for the characters themselves",
            ),
            ("'${expires ?? nwo}'", Use::Claims, "1:1 `${nwo}` is no name; did you mean `${now}`?"),
        ] {
            let (template, remarks) = compile(yaml, usage);
            assert_eq!(remarks, [found], "{yaml}");
            assert!(template.is_none());
        }
    }

    #[test]
    fn a_name_means_nothing_where_its_value_is_not_known() {
        for (yaml, usage) in [
            ("'${token}'", Use::Claims),
            ("'${token}'", Use::Answer),
            ("'${user.name}'", Use::Answer),
            ("'${user.login}'", Use::Answer),
            ("'${retry_after}'", Use::Success),
            ("'${challenge.key}'", Use::Claims),
            ("'${session.key}'", Use::Success),
            ("'${refresh_token}'", Use::Answer),
        ] {
            let (template, remarks) = compile(yaml, usage);
            assert!(template.is_none() && remarks.len() == 1, "{yaml} {remarks:?}");
        }
    }

    #[test]
    fn every_mistake_is_found_at_once() {
        let (_, remarks) = compile("{ a: '${x1}', b: ['${x2}', '${x3}'] }", Use::Success);
        assert_eq!(remarks.len(), 3, "{remarks:?}");
    }
}
