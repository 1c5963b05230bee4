//! What the operator wrote: data only, read strictly, each value with its place.
//!
//! [`load()`] turns a file into a [`Document`], [`Settings::resolve`] makes it definite; what is wrong
//! becomes a [`Finding`] and is shown by a [`Report`]. Nothing here is compiled or run.

mod address;
mod apps;
mod bounds;
mod certificates;
mod checks;
mod cors;
mod document;
mod finding;
mod http2;
mod issuers;
mod keys;
mod limits;
mod listen;
mod listen_address;
mod load;
mod logins;
mod own_tokens;
mod preset;
mod rates;
mod report;
mod scalar;
mod schema;
mod secrets;
mod settings;
mod source;
mod upstream_entry;
mod upstream_tls;
mod upstreams;
mod watch;

pub use address::{Listeners, StoreAddress, UpstreamAddress};
pub use apps::AppSettings;
pub use bounds::{BOUNDS, Bound, Unit};
pub use certificates::{CertificateCheck, CertificateSettings, Holder, HolderName};
pub use checks::{AppKeySettings, Carrier, CheckSettings, HeaderSettings, is_attribute, is_ours};
pub use cors::{CorsSettings, OriginSetting};
pub use document::{
    AccessLog, AppEntry, AppKeyCheck, Cache, Check, Cors, Defaults, Document, HeaderCheck, Http2,
    JwtEntry, Listen, LoginEntry, Passwords, RouteEntry, SecretsEntry, Shutdown, Timeouts,
};
pub use finding::{Finding, Findings, Remark, Severity, did_you_mean};
pub use http2::Http2Settings;
pub use issuers::{ALGORITHMS, AudienceSettings, JwtSettings, TokenSettings, TypSettings};
pub use keys::KeyLocation;
pub use limits::{LimitSettings, Limits};
pub use listen::{
    ClientCertificates, ClientSettings, PairEntry, PairSettings, PublicEntry, PublicListener,
    TlsEntry, TlsSettings, TlsVersion,
};
pub use listen_address::{ListenAddress, UnixSettings};
pub use load::{Loaded, load, parse};
pub use logins::{LoginSettings, PasswordSettings};
pub use own_tokens::{OwnPermissions, OwnSettings};
pub use preset::{
    AnswerEntry, BodyEntry, CallChoice, CallEntry, CallKind, ClientEntry, Failure, FieldEntry,
    GenerationEntry, LockoutEntry, PRESETS, Preset, RefreshEntry, Refusal, SecondFactorEntry,
    TokenEntry, Tree, read_preset,
};
pub use rates::{RateEntry, RatePer, RateSettings};
pub use report::Report;
pub use scalar::{At, Length, Place, SecretRef, Size, TextOrList};
pub use schema::{preset_schema, schema};
pub use secrets::{SecretError, Secrets};
pub use settings::{
    AccessLogSettings, CacheSettings, RouteNumbers, Settings, ShutdownSettings, TimeoutSettings,
};
pub use source::{Source, SourceError};
pub use upstream_entry::{BalanceWord, Eject, EndpointEntry, Health, ProxyHeader, Retry, Upstream};
pub use upstream_tls::{TransportSettings, UpstreamHttp2, UpstreamTls, UpstreamTlsSettings};
pub use upstreams::{
    Balance, EjectSettings, EndpointAddress, EndpointSettings, HealthSettings, RetrySettings,
    UpstreamSettings,
};
pub use watch::{NamedFile, Watch};
