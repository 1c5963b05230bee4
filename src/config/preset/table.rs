//! The presets that come with the gateway: the one place where their names stand.

/// Each preset by its name, with its text.
pub const PRESETS: [(&str, &str); 6] = [
    ("ping-proxies", include_str!("../../../config/dialects/ping-proxies.yaml")),
    ("redis-7.4", include_str!("../../../config/dialects/redis-7.4.yaml")),
    ("redis-7.8", include_str!("../../../config/dialects/redis-7.8.yaml")),
    ("analogue", include_str!("../../../config/dialects/analogue.yaml")),
    ("monogoto", include_str!("../../../config/dialects/monogoto.yaml")),
    ("native", include_str!("../../../config/dialects/native.yaml")),
];
