//! The small values of the document: a value with its place, lengths of time, sizes, references to secrets.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Where in the source text something was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1; 0 when unknown.
    pub line: u64,
    /// Column in characters, from 1; 0 when unknown.
    pub column: u64,
}

/// A value and the place where the operator wrote it.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// The same value written elsewhere is the same.
impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for At<T> {}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<T>::deserialize(deserializer)?;
        let (line, column) = (spanned.referenced.line(), spanned.referenced.column());
        Ok(Self { value: spanned.value, place: Place { line, column } })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A length of time: a whole number and a unit (`250ms`, `10s`, `5m`, `24h`, `30d`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Length(pub Duration);

impl Length {
    /// Reads the text of a length.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text)?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        number.checked_mul(millis).map(|millis| Self(Duration::from_millis(millis)))
    }
}

/// A number of bytes: a whole number and a unit (`512B`, `8KiB`, `100MiB`, `1GiB`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// Reads the text of a size.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, unit) = split_unit(text)?;
        let shift = match unit {
            "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return None,
        };
        number.checked_mul(1 << shift).map(Self)
    }
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    number.parse().ok().map(|number| (number, unit))
}

/// Where a secret is kept: `file:PATH` or `env:NAME`. The secret itself is never written in the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// The content of a file, without one trailing line end.
    File(String),
    /// The value of an environment variable.
    Env(String),
}

impl SecretRef {
    /// What the refusal of anything else says.
    pub(super) const EXPECTED: &str = "expected a reference to a secret: file:PATH or env:NAME";

    /// Reads the text of a reference.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("file", path) if !path.is_empty() => Some(Self::File(path.to_owned())),
            ("env", name) if !name.is_empty() => Some(Self::Env(name.to_owned())),
            _ => None,
        }
    }
}

/// One text, or a list of them.
#[derive(Clone, Debug)]
pub struct TextOrList(pub Vec<String>);

impl<'de> Deserialize<'de> for TextOrList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = TextOrList;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TextOrList, E> {
                Ok(TextOrList(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<TextOrList, A::Error> {
                std::iter::from_fn(|| items.next_element().transpose())
                    .collect::<Result<_, _>>()
                    .map(TextOrList)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for TextOrList {
    fn schema_name() -> Cow<'static, str> {
        "TextOrList".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
    }
}

macro_rules! scalar {
    ($type:ident, $what:literal, $pattern:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| D::Error::custom(concat!("expected ", $what)))
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "description": $what, "pattern": $pattern})
            }
        }
    };
}

scalar!(Length, "a length of time such as 250ms, 10s, 5m, 24h or 30d", "^[0-9]+(ms|s|m|h|d)$");
scalar!(Size, "a size such as 512B, 8KiB, 100MiB or 1GiB", "^[0-9]+(B|KiB|MiB|GiB|TiB)$");
scalar!(SecretRef, "a reference to a secret: file:PATH or env:NAME", "^(file|env):.+$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_a_whole_number_and_a_unit() {
        for (text, millis) in
            [("0s", 0), ("250ms", 250), ("10s", 10_000), ("5m", 300_000), ("24h", 86_400_000)]
        {
            assert_eq!(Length::parse(text), Some(Length(Duration::from_millis(millis))), "{text}");
        }
        assert_eq!(Length::parse("30d"), Length::parse("720h"));
        for text in [
            "", "10", "s", "-1s", "+1s", "1.5s", "1 s", " 1s", "1s ", "1S", "1sec", "1h30m", "1e3s",
        ] {
            assert_eq!(Length::parse(text), None, "{text}");
        }
        assert!(Length::parse(&format!("{}ms", u64::MAX)).is_some());
        assert_eq!(Length::parse(&format!("{}s", u64::MAX)), None);
        assert_eq!(Length::parse("18446744073709551616ms"), None);
    }

    #[test]
    fn a_size_is_a_whole_number_and_a_unit() {
        for (text, bytes) in [("0B", 0), ("512B", 512), ("8KiB", 8192), ("1TiB", 1 << 40)] {
            assert_eq!(Size::parse(text), Some(Size(bytes)), "{text}");
        }
        assert_eq!(Size::parse("1GiB"), Size::parse("1024MiB"));
        for text in
            ["", "8", "KiB", "8K", "8KB", "8kib", "8k", "0x8B", "-1B", "1.5GiB", "16777216TiB"]
        {
            assert_eq!(Size::parse(text), None, "{text}");
        }
        assert!(Size::parse("16777215TiB").is_some());
    }

    #[test]
    fn a_secret_is_a_reference_with_something_behind_it() {
        let file = |path: &str| Some(SecretRef::File(path.to_owned()));
        assert_eq!(SecretRef::parse("file:/run/secrets/a:b"), file("/run/secrets/a:b"));
        assert_eq!(SecretRef::parse("env:NAME"), Some(SecretRef::Env("NAME".to_owned())));
        for text in ["", "hunter2", "file:", "env:", "file", "FILE:a", " file:a", "vault:a", ":a"] {
            assert_eq!(SecretRef::parse(text), None, "{text}");
        }
    }

    #[test]
    fn one_text_and_a_list_of_it_are_the_same() {
        let read = |yaml: &str| serde_saphyr::from_str::<TextOrList>(yaml).map(|list| list.0);
        assert_eq!(read("a").unwrap(), ["a"]);
        assert_eq!(read("[a]").unwrap(), ["a"]);
        assert_eq!(read("[a, \"1\"]").unwrap(), ["a", "1"]);
        assert!(read("{ a: b }").is_err());
        assert!(read("1").is_err());
        assert!(read("[[a]]").is_err());
    }
}
