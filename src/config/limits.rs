//! The entry `limits`, as it is written and made definite.

use schemars::JsonSchema;
use serde::Deserialize;

use super::bounds;
use super::bounds::to_usize;
use super::finding::Findings;
use super::scalar::{At, Size};

/// Sizes and counts beyond which a request is refused.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Longest request target (414).
    #[serde(default)]
    pub target: Option<At<Size>>,
    /// All header fields together (431).
    #[serde(default)]
    pub headers: Option<At<Size>>,
    /// Number of header fields (431).
    #[serde(default)]
    pub header_count: Option<At<u16>>,
    /// Largest request body (413).
    #[serde(default)]
    pub body: Option<At<Size>>,
    /// Fewest bytes of a request body in each second, once `timeouts.body` was waited (408); none of gRPC.
    #[serde(default)]
    pub slowest_body: Option<At<Size>>,
    /// Longest token (401).
    #[serde(default)]
    pub token: Option<At<Size>>,
    /// Client connections open at once.
    #[serde(default)]
    pub connections: Option<At<u32>>,
    /// Of these, from one address (IPv6: one /64); no bound by default.
    #[serde(default)]
    pub connections_per_address: Option<At<u32>>,
    /// Names of the rates that every request is counted by.
    #[serde(default)]
    pub rates: Vec<At<String>>,
    /// Whether answers tell where the rates stand; refusals do so in any case.
    #[serde(default)]
    pub tell_rates: bool,
    /// Callers that rates count apart.
    #[serde(default)]
    pub callers: Option<At<u32>>,
}

/// Sizes and counts beyond which a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// Longest request target, in bytes.
    pub target: usize,
    /// All header fields together, in bytes.
    pub headers: usize,
    /// Number of header fields.
    pub header_count: usize,
    /// Largest request body, in bytes.
    pub body: u64,
    /// Fewest bytes of a request body in each second; 0 asks for none.
    pub slowest_body: u64,
    /// Longest token, in bytes.
    pub token: usize,
    /// Client connections open at once.
    pub connections: usize,
    /// Of these, from one address, if there is a bound.
    pub connections_per_address: Option<usize>,
    /// Whether answers tell where the rates stand.
    pub tell_rates: bool,
    /// Callers that rates count apart.
    pub callers: usize,
}

impl LimitSettings {
    /// Reads the limits.
    pub fn resolve(limits: &Limits, findings: &mut Findings) -> Self {
        Self {
            target: to_usize(bounds::LIMIT_TARGET.bytes(limits.target.as_ref(), findings)),
            headers: to_usize(bounds::LIMIT_HEADERS.bytes(limits.headers.as_ref(), findings)),
            header_count: bounds::LIMIT_HEADER_COUNT.count(limits.header_count.as_ref(), findings),
            body: bounds::LIMIT_BODY.bytes(limits.body.as_ref(), findings),
            slowest_body: bounds::LIMIT_SLOWEST_BODY.bytes(limits.slowest_body.as_ref(), findings),
            token: to_usize(bounds::LIMIT_TOKEN.bytes(limits.token.as_ref(), findings)),
            connections: bounds::LIMIT_CONNECTIONS.count(limits.connections.as_ref(), findings),
            connections_per_address: bounds::LIMIT_CONNECTIONS_PER_ADDRESS
                .count_if(limits.connections_per_address.as_ref(), findings),
            tell_rates: limits.tell_rates,
            callers: bounds::LIMIT_CALLERS.count(limits.callers.as_ref(), findings),
        }
    }
}
