//! The document: every key the operator can write, as data with its place in the file.
//!
//! No behaviour and no meaning: names are not resolved here, bounds are not judged here. Unknown
//! keys are refused by every type.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::certificates::CertificateCheck;
use super::limits::Limits;
use super::listen::PublicListener;
use super::rates::RateEntry;
use super::scalar::{At, Length, SecretRef, Size, TextOrList};
use super::upstream_entry::Upstream;

/// A Portcullis configuration file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Where the gateway listens.
    pub listen: Listen,
    /// Networks of proxies in front of the gateway whose `X-Forwarded-*` is believed, and `unix` for whoever
    /// connects to its Unix socket; empty means nobody.
    #[serde(default)]
    pub trusted_proxies: Vec<At<String>>,
    /// Where applications and users are kept: `sqlite:PATH`. Without it only `apps` are known.
    #[serde(default)]
    pub store: Option<At<String>>,
    /// Secrets that belong to no check.
    #[serde(default)]
    pub secrets: SecretsEntry,
    /// The servers behind the gateway, by name.
    pub upstreams: BTreeMap<String, At<Upstream>>,
    /// Applications known without a store, by the digest of their key.
    #[serde(default)]
    pub apps: Vec<At<AppEntry>>,
    /// What can be checked, by name: one credential in, one principal out.
    #[serde(default)]
    pub checks: BTreeMap<String, At<Check>>,
    /// What a route does unless it says otherwise.
    #[serde(default)]
    pub defaults: Defaults,
    /// What is forwarded where, and on which condition; the most specific match wins.
    pub routes: Vec<At<RouteEntry>>,
    /// Login services that the gateway itself offers.
    #[serde(default)]
    pub login: Vec<At<LoginEntry>>,
    /// How passwords are judged and kept.
    #[serde(default)]
    pub passwords: Passwords,
    /// How often somebody may call, by name.
    #[serde(default)]
    pub rates: BTreeMap<String, At<RateEntry>>,
    /// Sizes and counts beyond which a request is refused.
    #[serde(default)]
    pub limits: Limits,
    /// How long the gateway waits.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// What a client may do with HTTP/2. A change needs a restart.
    #[serde(default)]
    pub http2: Http2,
    /// How much is remembered.
    #[serde(default)]
    pub cache: Cache,
    /// What becomes of answers that take long.
    #[serde(default)]
    pub streams: Streams,
    /// How a stop goes.
    #[serde(default)]
    pub shutdown: Shutdown,
    /// What is written to the access log.
    #[serde(default)]
    pub access_log: AccessLog,
    /// Threads that serve requests; by default one per core that the container may use.
    #[serde(default)]
    pub workers: Option<At<u16>>,
}

/// Where the gateway listens. A change of addresses needs a restart.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Where traffic is accepted: `0.0.0.0:8080`, `unix:/PATH`, or a map with `address`, `mode` and `tls`.
    pub public: At<PublicListener>,
    /// Address and port for health and metrics, or `unix:/PATH`; never the public one.
    #[serde(default)]
    pub admin: Option<At<String>>,
    /// Networks of proxies, or `unix`, that begin each connection with a PROXY header (version 1 or 2);
    /// a connection of theirs without one is closed.
    #[serde(default)]
    pub proxy_protocol: Vec<At<String>>,
}

/// Secrets that belong to no check.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretsEntry {
    /// The key that seals what the store keeps: `file:PATH` or `env:NAME`. `login` needs it.
    #[serde(default)]
    pub master: Option<At<SecretRef>>,
}

/// An application known without a store.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppEntry {
    /// Its public id; with a pair of headers, the value of the first.
    pub id: At<String>,
    /// SHA-256 of the key (one header) or of the secret (a pair), 64 hexadecimal digits.
    pub sha256: At<String>,
    /// What it may be used for.
    #[serde(default)]
    pub scopes: Vec<String>,
}

/// One credential to check.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The key of an application.
    AppKey(AppKeyCheck),
    /// The token of a user; the token's `iss` picks exactly one entry.
    Jwt(Vec<At<JwtEntry>>),
    /// HTTP Basic: `self` judges it by the users in the store.
    Basic(At<String>),
    /// A header that must equal something of the user's.
    Header(HeaderCheck),
    /// The certificate that a client showed; needs `client_ca`.
    ClientCertificate(CertificateCheck),
}

/// A header that must equal something of the user's.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderCheck {
    /// The name of the header.
    pub name: At<String>,
    /// What it must equal: `user.ATTRIBUTE`.
    pub equals: At<String>,
}

/// Where an application key is carried: one place, or a pair of headers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppKeyCheck {
    /// The header that holds the whole key.
    #[serde(default)]
    pub header: Option<At<String>>,
    /// The query parameter that holds the whole key.
    #[serde(default)]
    pub query: Option<At<String>>,
    /// The cookie that holds the whole key.
    #[serde(default)]
    pub cookie: Option<At<String>>,
    /// Of a pair: the header with the public id.
    #[serde(default)]
    pub id: Option<At<String>>,
    /// Of a pair: the header with the secret.
    #[serde(default)]
    pub secret: Option<At<String>>,
    /// The header in which a verified application tells its own client's address.
    #[serde(default)]
    pub client_address: Option<At<String>>,
    /// Whether the upstream gets the credential too.
    #[serde(default)]
    pub keep: bool,
}

/// Tokens of one issuer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtEntry {
    /// The exact `iss`; `none` (written out) accepts tokens without one; `self` is the gateway.
    pub issuer: At<String>,
    /// With `issuer: self`, whose tokens: a `login` entry or a dialect; the only `login` by default.
    #[serde(default)]
    pub dialect: Option<At<String>>,
    /// One or several accepted `aud`; `none` (written out) does not look at it.
    #[serde(default)]
    pub audience: Option<At<TextOrList>>,
    /// Accepted algorithms: HS256/384/512, RS and PS 256/384/512, ES256/384, `EdDSA`.
    #[serde(default)]
    pub algorithms: Option<At<Vec<At<String>>>>,
    /// Accepted `typ` header values; by default absent, `JWT` and `at+jwt`; `any` does not look at it.
    #[serde(default)]
    pub typ: Option<At<TextOrList>>,
    /// The key set: `file:PATH` or an address; `discover` asks the issuer (OpenID Connect discovery).
    #[serde(default)]
    pub jwks: Option<At<String>>,
    /// One public key, PEM or JWK: `file:PATH` or `env:NAME`.
    #[serde(default)]
    pub key: Option<At<SecretRef>>,
    /// A shared secret for HS algorithms: `file:PATH` or `env:NAME`.
    #[serde(default)]
    pub secret: Option<At<SecretRef>>,
    /// JSON pointer to the identity within the claims; `/sub` by default.
    #[serde(default)]
    pub identity: Option<At<String>>,
    /// JSON pointer to the permissions: a list, a space-separated string, or a map resource → verbs;
    /// with `issuer: self`, `store` (the default) asks the store each time.
    #[serde(default)]
    pub permissions: Option<At<String>>,
    /// For how long after `exp` (before `nbf`) a token is still good.
    #[serde(default)]
    pub leeway: Option<At<Length>>,
    /// Accepted schemes in `Authorization`; `none` is a bare token. `[Bearer]` by default.
    #[serde(default)]
    pub schemes: Option<At<Vec<At<String>>>>,
    /// Another header that holds the bare token.
    #[serde(default)]
    pub header: Option<At<String>>,
    /// A cookie that holds the token.
    #[serde(default)]
    pub cookie: Option<At<String>>,
    /// A query parameter that holds the token.
    #[serde(default)]
    pub query: Option<At<String>>,
    /// Whether the upstream gets the credential too; true by default.
    #[serde(default)]
    pub keep: Option<bool>,
    /// Allows a key set over plain `http:` beyond loopback.
    #[serde(default)]
    pub insecure: bool,
    /// How old a key set may grow while its issuer cannot be reached.
    #[serde(default)]
    pub max_stale: Option<At<Length>>,
}

/// What a route does unless it says otherwise.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Defaults {
    /// Which checks must pass: `app and user`, `app and user?`, `app or user`, parentheses.
    #[serde(default)]
    pub require: Option<At<String>>,
    /// Headers that tell the upstream who calls: `X-User: user.sub`.
    #[serde(default)]
    pub forward: Option<BTreeMap<String, At<String>>>,
    /// Names of the rates that requests are counted by.
    #[serde(default)]
    pub rates: Vec<At<String>>,
    /// Which pages of other origins may read answers; those of login services too.
    #[serde(default)]
    pub cors: Option<At<Cors>>,
}

/// Which pages of other origins may read answers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// Origins such as `https://app.example.com` or `https://*.example.com`, or `*` alone.
    pub origins: Vec<At<String>>,
    /// Methods they may use; by default the one that is asked for.
    #[serde(default)]
    pub methods: Vec<At<String>>,
    /// Headers they may send, beyond those that need no leave.
    #[serde(default)]
    pub headers: Vec<At<String>>,
    /// Headers of answers that they may read, beyond those that need no leave.
    #[serde(default)]
    pub expose: Vec<At<String>>,
    /// Whether cookies and other credentials of the browser may come along.
    #[serde(default)]
    pub credentials: bool,
    /// How long a browser may remember what it was told beforehand.
    #[serde(default)]
    pub max_age: Option<At<Length>>,
}

/// One kind of request and what becomes of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteEntry {
    /// `METHODS [host]/path`: `GET /a`, `GET,POST api.example.com/a/{id}`, `* /a/**`.
    #[serde(rename = "match")]
    pub pattern: At<String>,
    /// The name of an upstream.
    pub to: At<String>,
    /// Its name in metrics and logs; the text of `match` by default.
    #[serde(default)]
    pub name: Option<At<String>>,
    /// Forwards without any check: the only way past `require`.
    #[serde(default)]
    pub public: bool,
    /// Which checks must pass.
    #[serde(default)]
    pub require: Option<At<String>>,
    /// Permissions that the user must all have: `Things:view`, or `Things` with the verb of the method.
    #[serde(default)]
    pub permissions: Vec<At<String>>,
    /// Whether the user's second factor is asked for on each request.
    #[serde(default)]
    pub second_factor: bool,
    /// A CEL expression that must be true.
    #[serde(default)]
    pub allow: Option<At<String>>,
    /// Headers that tell the upstream who calls, instead of the default ones.
    #[serde(default)]
    pub forward: Option<BTreeMap<String, At<String>>>,
    /// How long the first byte of an answer may take; the upstream's `timeout` by default.
    #[serde(default)]
    pub timeout: Option<At<Length>>,
    /// Largest body, instead of `limits.body`.
    #[serde(default)]
    pub body: Option<At<Size>>,
    /// Names of the rates that requests are counted by, instead of `defaults.rates`.
    #[serde(default)]
    pub rates: Option<Vec<At<String>>>,
    /// Which pages of other origins may read answers, instead of `defaults.cors`.
    #[serde(default)]
    pub cors: Option<At<Cors>>,
    /// `websocket` lets the upstream switch to one; by default no connection is ever switched.
    #[serde(default)]
    pub upgrade: Option<At<String>>,
}

/// A login service that the gateway itself offers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginEntry {
    /// How it speaks: a preset by its name, or `file:PATH`.
    pub dialect: At<String>,
    /// Its name in checks, metrics and logs; that of the dialect by default.
    #[serde(default)]
    pub name: Option<At<String>>,
    /// The host on which it is offered; every host by default.
    #[serde(default)]
    pub host: Option<At<String>>,
    /// Which checks of applications must pass before a call is read.
    #[serde(default)]
    pub require: Option<At<String>>,
    /// How long a token is good, instead of the dialect's own time.
    #[serde(default)]
    pub lifetime: Option<At<Length>>,
    /// The generation of the dialect, if it has several.
    #[serde(default)]
    pub generation: Option<At<String>>,
    /// `iss` of tokens that name one; `https://HOST` by default.
    #[serde(default)]
    pub issuer: Option<At<String>>,
    /// `aud` of tokens that name one; the issuer by default.
    #[serde(default)]
    pub audience: Option<At<String>>,
    /// Sessions that one user may have at once; a further one ends the oldest.
    #[serde(default)]
    pub sessions: Option<At<u32>>,
}

/// How passwords are judged and kept.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Passwords {
    /// Memory for each hash (argon2id).
    #[serde(default)]
    pub memory: Option<At<Size>>,
    /// Passes over that memory.
    #[serde(default)]
    pub passes: Option<At<u32>>,
    /// Lanes of one hash.
    #[serde(default)]
    pub lanes: Option<At<u32>>,
    /// Fewest characters of a new password.
    #[serde(default)]
    pub min_length: Option<At<u32>>,
    /// Hashes computed at once; by default half the cores that the container may use.
    #[serde(default)]
    pub concurrent: Option<At<u32>>,
    /// Logins that wait for a hash; a further one is refused at once (503).
    #[serde(default)]
    pub queue: Option<At<u32>>,
}

/// How long the gateway waits.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// For a whole request head.
    #[serde(default)]
    pub header: Option<At<Length>>,
    /// For the next piece of a request body.
    #[serde(default)]
    pub body: Option<At<Length>>,
    /// For the next request on an open connection, and for a client to take more of its answer.
    #[serde(default)]
    pub idle: Option<At<Length>>,
}

/// What a client may do with HTTP/2. A change needs a restart.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http2 {
    /// Whether a connection in clear may begin with HTTP/2; false by default.
    #[serde(default)]
    pub prior_knowledge: Option<bool>,
    /// Whether HTTP/2 is offered to clients that speak TLS; true by default.
    #[serde(default)]
    pub alpn: Option<bool>,
    /// Whether a stream may become a WebSocket (RFC 8441), on routes that allow one; false by default.
    #[serde(default)]
    pub websockets: Option<bool>,
    /// Requests under way on one connection.
    #[serde(default)]
    pub streams: Option<At<u32>>,
    /// Streams reset before they were looked at, and streams with an error of the client's; one more ends the connection.
    #[serde(default)]
    pub resets: Option<At<u32>>,
    /// Largest frame that a client may send.
    #[serde(default)]
    pub frame: Option<At<Size>>,
    /// What a client may send of one body before it was passed on.
    #[serde(default)]
    pub stream_window: Option<At<Size>>,
    /// What a client may send of all bodies before it was passed on.
    #[serde(default)]
    pub connection_window: Option<At<Size>>,
    /// What is kept of one answer until the client takes it.
    #[serde(default)]
    pub send_buffer: Option<At<Size>>,
    /// How often a client is asked whether it is still there.
    #[serde(default)]
    pub keep_alive: Option<At<Length>>,
}

/// How much is remembered.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Memory for verified tokens; `0B` switches it off.
    #[serde(default)]
    pub tokens: Option<At<Size>>,
    /// Application keys remembered.
    #[serde(default)]
    pub apps: Option<At<u32>>,
    /// Folder in which the last good key sets survive a restart; off by default.
    #[serde(default)]
    pub key_sets: Option<At<String>>,
}

/// What becomes of answers that take long.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Streams {
    /// How long a stream goes on after its token expired or a credential was revoked.
    #[serde(default)]
    pub grace: Option<At<Length>>,
    /// How long a WebSocket, or a call of gRPC to an upstream of HTTP/2, may be silent in both directions.
    #[serde(default)]
    pub idle: Option<At<Length>>,
}

/// How a stop goes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// How long to serve on while readiness already fails.
    #[serde(default)]
    pub delay: Option<At<Length>>,
    /// How long requests in flight may take to finish.
    #[serde(default)]
    pub grace: Option<At<Length>>,
}

/// What is written to the access log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccessLog {
    /// Writes one JSON line per request to standard output; true by default.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Writes the query string too; false by default, since it can hold secrets.
    #[serde(default)]
    pub query: Option<bool>,
}
