//! The keys under `upstreams`: data with its place, like the rest of the document.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::scalar::{At, Length, Place};
use super::upstream_tls::{UpstreamHttp2, UpstreamTls};

/// Servers that answer requests.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// `http://HOST:PORT` or `https://HOST:PORT`, without a path, or `unix:/PATH`.
    #[serde(default)]
    pub url: Option<At<String>>,
    /// Several servers that are alike, instead of `url`.
    #[serde(default)]
    pub endpoints: Option<At<Vec<At<EndpointEntry>>>>,
    /// Of one at `https://`: who certifies it, and what it is shown.
    #[serde(default)]
    pub tls: Option<At<UpstreamTls>>,
    /// Whether HTTP/2 is spoken: `never` (the default), `always`, or over TLS `auto`, as both agree.
    #[serde(default)]
    pub http2: Option<At<UpstreamHttp2>>,
    /// How one of them is chosen: `least_pending` (of two drawn at random, the default) or `round_robin`.
    #[serde(default)]
    pub balance: Option<BalanceWord>,
    /// How long the first byte of an answer may take.
    #[serde(default)]
    pub timeout: Option<At<Length>>,
    /// How long the next piece of an answer may take.
    #[serde(default)]
    pub read_timeout: Option<At<Length>>,
    /// How long a request and its answer may take together.
    #[serde(default)]
    pub total_timeout: Option<At<Length>>,
    /// How long a connection may take to open.
    #[serde(default)]
    pub connect_timeout: Option<At<Length>>,
    /// How long an unused connection is kept.
    #[serde(default)]
    pub idle_timeout: Option<At<Length>>,
    /// Unused connections kept per worker and endpoint.
    #[serde(default)]
    pub idle_connections: Option<At<u32>>,
    /// Connections open to one endpoint at once, unused ones among them; a request beyond is refused (503).
    #[serde(default)]
    pub connections: Option<At<u32>>,
    /// Requests under way at once; those beyond wait, or are refused (503).
    #[serde(default)]
    pub in_flight: Option<At<u32>>,
    /// Requests that wait; a further one is refused at once (503).
    #[serde(default)]
    pub queue: Option<At<u32>>,
    /// For how long they wait.
    #[serde(default)]
    pub queue_timeout: Option<At<Length>>,
    /// Asks each endpoint from time to time how it fares.
    #[serde(default)]
    pub health: Option<Health>,
    /// When an endpoint rests whose requests fail; with several endpoints it does unless told otherwise.
    #[serde(default)]
    pub eject: Option<Eject>,
    /// Within what time an endpoint that recovered gets its whole share again.
    #[serde(default)]
    pub slow_start: Option<At<Length>>,
    /// What is asked of another endpoint when one fails.
    #[serde(default)]
    pub retry: Option<Retry>,
    /// Begins each connection with a PROXY header that tells of the client; each then serves one request.
    #[serde(default)]
    pub proxy_protocol: Option<ProxyHeader>,
    /// How often names are looked up, each address being an endpoint; by default for each new connection.
    #[serde(default)]
    pub resolve: Option<At<Length>>,
}

/// One of several servers: its address alone, or with a weight.
#[derive(Debug)]
pub struct EndpointEntry {
    /// `http://HOST:PORT`, without a path, or `unix:/PATH`.
    pub url: At<String>,
    /// Its share of the requests, compared with those of others.
    pub weight: Option<At<u32>>,
}

/// The version of a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyHeader {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BalanceWord {
    /// The one of two drawn at random that has fewer requests under way.
    LeastPending,
    /// One after another.
    RoundRobin,
}

/// Asks each endpoint from time to time how it fares.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// The path that is asked for.
    pub path: At<String>,
    /// How often.
    #[serde(default)]
    pub interval: Option<At<Length>>,
    /// How long the answer may take.
    #[serde(default)]
    pub timeout: Option<At<Length>>,
    /// Checks in a row that must pass before a sick endpoint is asked again.
    #[serde(default)]
    pub healthy_after: Option<At<u32>>,
    /// Checks in a row that must fail before an endpoint is asked no more.
    #[serde(default)]
    pub unhealthy_after: Option<At<u32>>,
    /// Good statuses; 200 to 399 unless written.
    #[serde(default)]
    pub expect: Vec<At<u16>>,
}

/// When an endpoint rests whose requests fail.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Eject {
    /// After how many failures in a row.
    #[serde(default)]
    pub failures: Option<At<u32>>,
    /// For how long; longer each time until a request succeeds.
    #[serde(default, rename = "for")]
    pub rest: Option<At<Length>>,
    /// The most endpoints that rest or are sick at once, in hundredths of all.
    #[serde(default)]
    pub at_most: Option<At<u32>>,
    /// Statuses that count as failures; 502, 503 and 504 unless written.
    #[serde(default)]
    pub statuses: Option<Vec<At<u16>>>,
}

/// What is asked of another endpoint when one fails: only what never left, or may be repeated.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// How many others are asked.
    #[serde(default)]
    pub attempts: Option<At<u32>>,
    /// Of a hundred requests, how many are repeated at most.
    #[serde(default)]
    pub budget: Option<At<u32>>,
}

impl<'de> Deserialize<'de> for EndpointEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = EndpointEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address, or a map with `url` and `weight`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<EndpointEntry, E> {
        // The place is the entry's own; whoever reads the list has it.
        let url = At { value: text.to_owned(), place: Place::default() };
        Ok(EndpointEntry { url, weight: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EndpointEntry, A::Error> {
        let Weighed { url, weight } = Weighed::deserialize(MapAccessDeserializer::new(map))?;
        Ok(EndpointEntry { url, weight })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Weighed {
    url: At<String>,
    #[serde(default)]
    weight: Option<At<u32>>,
}

impl JsonSchema for EndpointEntry {
    fn schema_name() -> Cow<'static, str> {
        "EndpointEntry".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "One of several servers: its address alone, or with a weight.",
            "oneOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {
                        "url": {
                            "type": "string",
                            "description": "`http://HOST:PORT`, without a path, or `unix:/PATH`."
                        },
                        "weight": {
                            "type": "integer",
                            "description": "Its share of the requests, compared with those of others."
                        }
                    },
                    "required": ["url"],
                    "additionalProperties": false
                }
            ]
        })
    }
}
