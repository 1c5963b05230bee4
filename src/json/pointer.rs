//! JSON pointers (RFC 6901) into an object, such as a token's claims, checked when they are made.

use serde_json::{Map, Value};
use thiserror::Error;

/// A pointer to something within an object; never to the object as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    first: String,
    rest: Vec<String>,
}

/// Why a text is not a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PointerError {
    /// It does not begin with a slash.
    #[error("a JSON pointer begins with `/`, for example `/sub`")]
    NoSlash,
    /// A tilde stands before something else than `0` or `1`.
    #[error("in a JSON pointer `~` is written `~0`, and `/` within a name `~1`")]
    Tilde,
}

impl Pointer {
    /// Reads the text of a pointer.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        let names = text.strip_prefix('/').ok_or(PointerError::NoSlash)?;
        let mut names = names.split('/').map(unescape);
        let first = names.next().unwrap_or_else(|| Ok(String::new()))?;
        Ok(Self { first, rest: names.collect::<Result<_, _>>()? })
    }

    /// What the pointer points to, if it is there.
    pub fn resolve<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        let first = claims.get(&self.first)?;
        self.rest.iter().try_fold(first, |value, name| match value {
            Value::Object(map) => map.get(name),
            Value::Array(list) => list.get(index(name)?),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        })
    }

    /// The names on the way, from the outside in.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.first).chain(&self.rest).map(String::as_str)
    }

    /// Whether something else than an object or a list stands in the way.
    pub fn is_barred(&self, object: &Map<String, Value>) -> bool {
        let Some(mut value) = object.get(&self.first) else { return false };
        for name in &self.rest {
            let next = match value {
                Value::Object(map) => map.get(name),
                Value::Array(list) => index(name).and_then(|index| list.get(index)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return true,
            };
            let Some(next) = next else { return value.is_array() };
            value = next;
        }
        false
    }
}

fn unescape(name: &str) -> Result<String, PointerError> {
    let escapes = name.matches("~0").count() + name.matches("~1").count();
    if name.matches('~').count() != escapes {
        return Err(PointerError::Tilde);
    }
    // This order: `~01` is a tilde and a one (RFC 6901 §4).
    Ok(name.replace("~1", "/").replace("~0", "~"))
}

fn index(name: &str) -> Option<usize> {
    let canonical = name == "0" || !name.starts_with('0');
    let digits = name.bytes().all(|byte| byte.is_ascii_digit());
    if canonical && digits { name.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_what_it_points_to_and_nothing_else() {
        let claims = json!({
            "sub": {"customer_id": 7, "a/b": "slash", "m~n": "tilde", "": "empty"},
            "list": ["zero", {"x": "one"}],
            "~1": "odd",
        });
        let Value::Object(claims) = claims else { panic!("an object") };
        let at = |text: &str| Pointer::parse(text).unwrap().resolve(&claims).cloned();
        assert_eq!(at("/sub/customer_id"), Some(json!(7)));
        assert_eq!(at("/sub/a~1b"), Some(json!("slash")));
        assert_eq!(at("/sub/m~0n"), Some(json!("tilde")));
        assert_eq!(at("/sub/"), Some(json!("empty")));
        assert_eq!(at("/~01"), Some(json!("odd")));
        assert_eq!(at("/list/1/x"), Some(json!("one")));
        for missing in [
            "/",
            "/Sub",
            "/sub/x",
            "/sub/customer_id/x",
            "/list/2",
            "/list/00",
            "/list/+1",
            "/list/-",
            "/list/",
        ] {
            assert_eq!(at(missing), None, "{missing}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_pointer() {
        for (text, error) in [
            ("", PointerError::NoSlash),
            ("sub", PointerError::NoSlash),
            ("#/sub", PointerError::NoSlash),
            ("/a~", PointerError::Tilde),
            ("/a~2", PointerError::Tilde),
            ("/~~0", PointerError::Tilde),
        ] {
            assert_eq!(Pointer::parse(text), Err(error), "{text}");
        }
    }
}
