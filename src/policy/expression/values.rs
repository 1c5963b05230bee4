//! The facts of a request as CEL sees them: borrowed, and converted only when an expression reads them.
//!
//! The names here are those that [`check`](super::check) writes into the syntax tree. A name of a
//! caller who is not there resolves to nothing, which is a failure of the expression.

use std::collections::HashMap;
use std::fmt;

use cel::DeclarationError;
use cel::Env;
use cel::ExecutionError;
use cel::add_member_overload;
use cel::add_overload;
use cel::common::traits::Container;
use cel::common::traits::Indexer;
use cel::common::traits::Sizer;
use cel::common::types::CelBool;
use cel::common::types::CelDouble;
use cel::common::types::CelInt;
use cel::common::types::CelList;
use cel::common::types::CelMap;
use cel::common::types::CelMapKey;
use cel::common::types::CelNull;
use cel::common::types::CelString;
use cel::common::types::CelUInt;
use cel::common::types::DYN_TYPE;
use cel::common::types::Type;
use cel::common::value::CowVal;
use cel::common::value::Val;
use cel::context::VariableResolver;
use serde_json::Map;
use serde_json::Value;

use crate::certificate::Certificate;
use crate::policy::Facts;
use crate::principal::Permissions;

/// The name under which the tree asks what the user was granted: `user.can(x)` is `x in` this.
pub(super) const GRANTS: &str = "user.can";

/// The most values that one claim may convert to; a larger one fails the expression.
const MAX_CLAIM_VALUES: usize = 1024;

/// Answers the names of an expression from the facts of one request.
pub(super) struct Bindings<'a> {
    facts: &'a Facts<'a>,
    method: CelString<'a>,
    host: CelString<'a>,
    path: CelString<'a>,
    user_present: CelBool,
    app_present: CelBool,
    user: Option<User<'a>>,
    app_id: Option<CelString<'a>>,
}

struct User<'a> {
    id: CelString<'a>,
    issuer: CelString<'a>,
    claims: Claims<'a>,
    grants: Grants<'a>,
}

impl<'a> Bindings<'a> {
    /// Borrows everything; converts nothing.
    pub(super) fn new(facts: &'a Facts<'a>) -> Self {
        let (app, user) = (facts.principal.app.as_deref(), facts.principal.user.as_deref());
        Self {
            facts,
            method: facts.method.into(),
            host: facts.host.into(),
            path: facts.path.into(),
            user_present: user.is_some().into(),
            app_present: app.is_some().into(),
            user: user.map(|subject| User {
                id: subject.identity.as_str().into(),
                issuer: subject.issuer.as_str().into(),
                claims: Claims(&subject.claims),
                grants: Grants(facts.principal.permissions()),
            }),
            app_id: app.map(|app| app.id.as_str().into()),
        }
    }

    fn certificate(&self) -> Option<&'a Certificate> {
        self.facts.principal.certificate.as_deref()
    }

    fn param(&self, number: &str) -> Option<&'a str> {
        let range = self.facts.params.get(number.parse::<usize>().ok()?)?;
        self.facts.path.get(range.clone())
    }
}

impl VariableResolver for Bindings<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let user = self.user.as_ref();
        Some(match variable {
            "user.present" => CowVal::Borrowed(&self.user_present),
            "user.id" => CowVal::Borrowed(&user?.id),
            "user.issuer" => CowVal::Borrowed(&user?.issuer),
            "user.claims" => CowVal::Borrowed(&user?.claims),
            GRANTS => CowVal::Borrowed(&user?.grants),
            "user.permissions" => permissions(user?.grants.0),
            "certificate.present" => CowVal::owned(CelBool::from(self.certificate().is_some())),
            "certificate.subject" => text_of(&self.certificate()?.subject),
            "certificate.issuer" => text_of(&self.certificate()?.issuer),
            "certificate.sha256" => {
                CowVal::owned(CelString::from(self.certificate()?.digest.to_string()))
            }
            "certificate.dns" => texts(self.certificate()?.dns.iter().map(String::as_str)),
            "certificate.uris" => texts(self.certificate()?.uris.iter().map(String::as_str)),
            "certificate.emails" => texts(self.certificate()?.emails.iter().map(String::as_str)),
            "app.present" => CowVal::Borrowed(&self.app_present),
            "app.id" => CowVal::Borrowed(self.app_id.as_ref()?),
            "app.scopes" => {
                texts(self.facts.principal.app.as_deref()?.scopes.iter().map(String::as_str))
            }
            "request.method" => CowVal::Borrowed(&self.method),
            "request.host" => CowVal::Borrowed(&self.host),
            "request.path" => CowVal::Borrowed(&self.path),
            "request.address" => {
                CowVal::owned(CelString::from(self.facts.address.to_canonical().to_string()))
            }
            number => CowVal::owned(CelString::from(self.param(number)?)),
        })
    }
}

/// The functions that an expression may call; what is not declared here cannot run.
pub(super) fn environment() -> Result<Env, DeclarationError> {
    let mut env = Env::default();
    add_member_overload!(env, fn starts_with: (CelString<'_>, CelString<'_>) -> CelBool)?;
    add_member_overload!(env, fn ends_with: (CelString<'_>, CelString<'_>) -> CelBool)?;
    add_member_overload!(env, fn contains: (CelString<'_>, CelString<'_>) -> CelBool)?;
    add_overload!(env, fn size_of_text: (CelString<'_>) -> CelInt, name = "size")?;
    add_overload!(env, fn size_of_list: (CelList<'_>) -> CelInt, name = "size")?;
    add_overload!(env, fn size_of_map: (CelMap<'_>) -> CelInt, name = "size")?;
    Ok(env)
}

fn starts_with(text: &CelString<'_>, part: &CelString<'_>) -> CelBool {
    text.inner().starts_with(part.inner()).into()
}

fn ends_with(text: &CelString<'_>, part: &CelString<'_>) -> CelBool {
    text.inner().ends_with(part.inner()).into()
}

fn contains(text: &CelString<'_>, part: &CelString<'_>) -> CelBool {
    text.inner().contains(part.inner()).into()
}

fn size_of_text(text: &CelString<'_>) -> CelInt {
    text.size()
}

fn size_of_list(list: &CelList<'_>) -> CelInt {
    list.size()
}

fn size_of_map(map: &CelMap<'_>) -> CelInt {
    map.size()
}

/// Plain names as they are; resources with verbs as `resource:verb`, as `user.can` takes them.
fn permissions(permissions: &Permissions) -> CowVal<'_, '_> {
    match permissions {
        Permissions::None => CowVal::owned(CelList::default()),
        Permissions::Names(names) => texts(names.iter().map(String::as_str)),
        Permissions::Verbs(map) => texts(map.iter().flat_map(|(resource, verbs)| {
            verbs.iter().map(move |verb| format!("{resource}:{verb}"))
        })),
    }
}

fn text_of(text: &str) -> CowVal<'_, '_> {
    CowVal::owned(CelString::from(text))
}

fn texts<'b, T: Into<CelString<'b>>>(texts: impl Iterator<Item = T>) -> CowVal<'b, 'b> {
    let boxed = |text: T| -> Box<dyn Val + 'b> { Box::new(text.into()) };
    CowVal::owned(CelList::from(texts.map(boxed).collect::<Vec<_>>()))
}

/// The claims of a token: a map whose values are converted when they are asked for.
struct Claims<'a>(&'a Map<String, Value>);

impl Val for Claims<'_> {
    fn get_type(&self) -> &Type {
        &DYN_TYPE
    }

    fn cel_type() -> &'static Type {
        &DYN_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(Self(self.0))
    }
}

impl Indexer for Claims<'_> {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let name = text(key)?;
        let claim = self.0.get(name).ok_or_else(|| ExecutionError::no_such_key(name))?;
        converted(claim, &mut { MAX_CLAIM_VALUES }).map(CowVal::Owned)
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(key).map(CowVal::into_owned)
    }
}

impl Container for Claims<'_> {
    fn contains(&self, key: &dyn Val) -> Result<bool, ExecutionError> {
        text(key).map(|name| self.0.contains_key(name))
    }
}

impl fmt::Debug for Claims<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claims")
    }
}

/// What the user was granted: contains a name when [`Permissions::grants`] it.
struct Grants<'a>(&'a Permissions);

impl Val for Grants<'_> {
    fn get_type(&self) -> &Type {
        &DYN_TYPE
    }

    fn cel_type() -> &'static Type {
        &DYN_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(Self(self.0))
    }
}

impl Container for Grants<'_> {
    fn contains(&self, name: &dyn Val) -> Result<bool, ExecutionError> {
        text(name).map(|name| self.0.grants(name))
    }
}

impl fmt::Debug for Grants<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grants")
    }
}

fn text(value: &dyn Val) -> Result<&str, ExecutionError> {
    value.downcast_ref::<CelString<'_>>().map(CelString::inner).ok_or_else(|| {
        let got = value.get_type().name().to_owned();
        ExecutionError::UnexpectedType { got, want: "string".to_owned() }
    })
}

/// A claim as CEL has it; texts are borrowed. JSON came from a parser that bounds its nesting.
fn converted<'v>(claim: &'v Value, left: &mut usize) -> Result<Box<dyn Val + 'v>, ExecutionError> {
    *left = left
        .checked_sub(1)
        .ok_or_else(|| ExecutionError::function_error("claims", "the claim is too large"))?;
    Ok(match claim {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(*value)),
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Number(number) => {
            if let Some(number) = number.as_i64() {
                Box::new(CelInt::from(number))
            } else if let Some(number) = number.as_u64() {
                Box::new(CelUInt::from(number))
            } else {
                Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN)))
            }
        }
        Value::Array(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| converted(item, left)).collect();
            Box::new(CelList::from(items?))
        }
        Value::Object(map) => {
            let entries: Result<HashMap<CelMapKey<'v>, _>, _> = map
                .iter()
                .map(|(key, value)| Ok((key.as_str().into(), converted(value, left)?)))
                .collect();
            Box::new(CelMap::from(entries?))
        }
    })
}
