//! A call as a preset writes it, or the word `none`.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::CallEntry;

/// A call, or that there is none.
#[derive(Clone, Debug)]
pub enum CallChoice {
    /// The call of the preset that is extended is left out.
    LeftOut,
    /// This one.
    Call(Box<CallEntry>),
}

impl<'de> Deserialize<'de> for CallChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChoiceVisitor)
    }
}

struct ChoiceVisitor;

impl<'de> Visitor<'de> for ChoiceVisitor {
    type Value = CallChoice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a call, or `none`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<CallChoice, E> {
        match text {
            "none" => Ok(CallChoice::LeftOut),
            _ => Err(E::custom("expected a call, or `none`")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<CallChoice, A::Error> {
        let call = CallEntry::deserialize(MapAccessDeserializer::new(members))?;
        Ok(CallChoice::Call(Box::new(call)))
    }
}

impl JsonSchema for CallChoice {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CallChoice".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let call = generator.subschema_for::<CallEntry>();
        json_schema!({"oneOf": [{"const": "none"}, call]})
    }
}
