//! What a template may speak of: a closed list of names, and the attributes of the user.

use std::fmt;

use serde_json::{Map, Value};

macro_rules! names {
    ($($(#[$about:meta])* $variant:ident $text:literal $($place:ident)*;)*) => {
        /// Something that a template may speak of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Name {
            $($(#[$about])* $variant,)*
        }

        impl Name {
            /// The whole list.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in a template.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// The kinds of templates in which it means something.
            pub(super) const fn places(self) -> &'static [Use] {
                match self {
                    $(Self::$variant => &[$(Use::$place),*],)*
                }
            }
        }
    };
}

names! {
    /// The number of the request, in the form of a UUID.
    RequestId "request_id" Success Answer;
    /// Seconds since 1970.
    Now "now" Claims Success;
    /// When the token ends, in seconds since 1970.
    Expires "expires" Claims Success;
    /// For how many seconds the token is good.
    ExpiresIn "expires_in" Success;
    /// The number of the token: a random UUID.
    TokenId "token_id" Claims;
    /// The token.
    Token "token" Success;
    /// The refresh token; null when the session has none.
    RefreshToken "refresh_token" Success;
    /// For how many seconds the refresh token is good unless it is used.
    RefreshExpiresIn "refresh_expires_in" Success;
    /// Who mints the tokens, as an address.
    Issuer "issuer" Claims Success;
    /// Whom the tokens are for.
    Audience "audience" Claims Success;
    /// The application that calls; null when none does.
    AppId "app.id" Claims Success;
    /// The session's id.
    SessionId "session.id" Claims Success;
    /// A hundred characters that belong to the session.
    SessionKey "session.key" Claims;
    /// The address from which the session was opened.
    SessionAddress "session.address" Claims Success;
    /// When the session was opened, in seconds since 1970.
    SessionCreated "session.created" Claims Success;
    /// When the session was opened, as HTTP writes dates.
    SessionCreatedHttp "session.created_http" Claims Success;
    /// The user's number.
    UserNumber "user.number" Claims Success;
    /// The user's number, as a text.
    UserNumberText "user.number_text" Claims Success;
    /// The user's id.
    UserId "user.id" Claims Success;
    /// The user's login name.
    UserLogin "user.login" Claims Success;
    /// What the user may do.
    UserPermissions "user.permissions" Claims Success;
    /// Whether the user has a second factor.
    UserHasTotp "user.has_totp" Claims Success;
    /// The user's sessions, as a list of objects.
    Sessions "sessions" Success;
    /// The family's public keys, as a list of JWKs.
    Keys "keys" Success;
    /// The secret of a second factor that was just made, in base 32.
    TotpSecret "totp.secret" Success;
    /// The same as an `otpauth:` address.
    TotpUri "totp.uri" Success;
    /// Codes that each stand in for a second factor once.
    RecoveryCodes "recovery_codes" Success;
    /// The field that is wrong, by the last part of its pointer.
    Field "field" Answer;
    /// Seconds until another try makes sense; null when nobody knows.
    RetryAfter "retry_after" Answer;
    /// The methods that the path has.
    Allow "allow" Answer;
    /// What names the challenge.
    ChallengeKey "challenge.key" Answer;
    /// How the second factor reaches the user.
    ChallengeService "challenge.service" Answer;
    /// Where it goes, masked.
    ChallengeTarget "challenge.target" Answer;
}

/// What a template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// The claims of a token.
    Claims,
    /// The answer of a call that did what was asked.
    Success,
    /// Any other answer.
    Answer,
}

/// The values of names, for one rendering; what is not there is null.
#[derive(Clone, Default)]
pub struct Scope<'a> {
    values: Vec<(Name, Value)>,
    attributes: Option<&'a Map<String, Value>>,
}

impl<'a> Scope<'a> {
    /// Nothing at all.
    pub const fn new() -> Self {
        Self { values: Vec::new(), attributes: None }
    }

    /// Gives a name its value; the last one holds.
    #[must_use]
    pub fn with(mut self, name: Name, value: impl Into<Value>) -> Self {
        self.values.push((name, value.into()));
        self
    }

    /// The attributes of the user.
    #[must_use]
    pub const fn with_attributes(mut self, attributes: &'a Map<String, Value>) -> Self {
        self.attributes = Some(attributes);
        self
    }

    pub(super) fn value(&self, name: Name) -> Option<&Value> {
        self.values.iter().rev().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    pub(super) fn attribute(&self, name: &str) -> Option<&'a Value> {
        self.attributes.and_then(|attributes| attributes.get(name))
    }
}

impl fmt::Debug for Scope<'_> {
    /// Names only: among the values are tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.values.iter().map(|(name, _)| name.text())).finish()
    }
}
