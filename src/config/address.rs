//! The addresses in the document, read: listeners, networks, upstreams, the store.

use std::fmt;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::path::Path;
use std::path::PathBuf;

use ipnet::IpNet;

use super::document::Listen;
use super::finding::Findings;
use super::listen::TlsSettings;
use super::listen_address::ListenAddress;
use super::scalar::At;
use super::scalar::Place;
use crate::inquiry::TrustedProxies;

/// The addresses to listen on.
#[derive(Clone, Debug)]
pub struct Listeners {
    /// For traffic.
    pub public: ListenAddress,
    /// How traffic is encrypted, if it is.
    pub tls: Option<TlsSettings>,
    /// For health and metrics.
    pub admin: Option<ListenAddress>,
}

impl Listeners {
    pub(super) fn resolve(listen: &Listen, findings: &mut Findings) -> Option<Self> {
        let written = &listen.public.value.0;
        let mut address = written.address.clone();
        if address.place == Place::default() {
            address.place = listen.public.place;
        }
        let public = ListenAddress::resolve(&address, written.mode.as_ref(), findings);
        let tls = match &written.tls {
            None => Some(None),
            Some(tls) => TlsSettings::resolve(tls, findings).map(Some),
        };
        let admin = match &listen.admin {
            None => None,
            Some(written) => Some(ListenAddress::resolve(written, None, findings)?),
        };
        let public = public?;
        if let (Some(tls), Some(_)) = (&written.tls, public.unix()) {
            findings.error(tls.place, "TLS is not spoken at a Unix socket").help(
                "what passes through it never leaves the machine; the proxy in front speaks TLS",
            );
        }
        if let (Some(address), Some(written)) = (&admin, &listen.admin)
            && public.overlaps(address)
        {
            findings.error(written.place, "the admin address is the public address").help(
                "whoever reaches the API must not reach health and metrics: use another address",
            );
        }
        Some(Self { public, tls: tls?, admin })
    }
}

/// Reads who is believed about clients: networks, and `unix` for whoever connects to a Unix socket.
pub(super) fn proxies(
    written: &[At<String>],
    public: Option<&ListenAddress>,
    findings: &mut Findings,
) -> TrustedProxies {
    let (local, networks): (Vec<_>, Vec<_>) =
        written.iter().partition(|proxy| proxy.value == LOCAL_PROXIES);
    let networks = networks.into_iter().filter_map(|network| self::network(network, findings));
    let proxies = TrustedProxies::new(networks.collect());
    let Some(local) = local.first() else { return proxies };
    let remark = match public {
        Some(ListenAddress::Socket(_)) => Some("nobody connects by a Unix socket"),
        Some(ListenAddress::Unix(unix)) if unix.is_open_to_all() => Some(
            "every program on this machine may connect, and is believed whichever client it names",
        ),
        Some(ListenAddress::Unix(_)) | None => None,
    };
    if let Some(remark) = remark {
        findings.warn(local.place, remark);
    }
    proxies.and_local()
}

/// Over a Unix socket clients have no address but what somebody tells.
pub(super) fn judge_local(
    public: &ListenAddress,
    place: Place,
    proxies: [&TrustedProxies; 2],
    findings: &mut Findings,
) {
    if public.unix().is_some() && !proxies.iter().any(|proxies| proxies.has_local()) {
        findings
            .warn(place, "at a Unix socket no client has an address: all of them look alike")
            .help("write `trusted_proxies: [unix]` if the proxy in front sets `X-Forwarded-For`");
    }
}

/// The path of a Unix socket.
pub(super) fn socket_path(path: &str) -> Option<PathBuf> {
    let is_path = path.starts_with('/')
        && !path.starts_with("//")
        && !path.ends_with('/')
        && !path.contains('\0');
    (is_path && path.len() <= LONGEST_SOCKET_PATH).then(|| PathBuf::from(path))
}

fn network(written: &At<String>, findings: &mut Findings) -> Option<IpNet> {
    let text = &written.value;
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    match network {
        None => findings
            .error(written.place, format!("`{text}` is not a network"))
            .help("write an address or a CIDR, such as `10.0.0.0/8`, or `unix`"),
        Some(network) if network.prefix_len() == 0 => findings
            .error(written.place, format!("`{text}` believes everybody"))
            .help("name the networks of your own proxies: anyone else could claim any address"),
        Some(network) if network.addr() != network.network() => findings
            .error(written.place, format!("`{text}` has bits beyond its prefix"))
            .help(format!("did you mean `{}`?", network.trunc())),
        Some(network) => return Some(network),
    }
    None
}

/// The server behind an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamAddress {
    /// Its name or IP address; an IPv6 address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it is spoken to over TLS.
    pub is_https: bool,
}

impl UpstreamAddress {
    /// Reads `http://HOST[:PORT]` or `https://HOST[:PORT]`; the error says what is wrong and what to do.
    pub fn parse(text: &str) -> Result<Self, (&'static str, &'static str)> {
        const FORM: &str = "write `http://HOST:PORT` or `https://HOST:PORT`";
        let (is_https, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err(("the scheme is neither http nor https", FORM)),
            None => return Err(("the scheme is missing", FORM)),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err(("a user or password in an address is not supported", FORM));
        }
        if authority.contains(['/', '?', '#']) {
            return Err((
                "a path or query is not supported",
                "the path of the request is forwarded as it was judged",
            ));
        }
        let (host, port) = match split_port(authority) {
            Some((host, port)) => {
                let digits = port.bytes().all(|byte| byte.is_ascii_digit());
                let port = port.parse().ok().filter(|port| digits && *port != 0);
                (host, port.ok_or(("the port is not a number from 1 to 65535", FORM))?)
            }
            None if is_https => (authority, 443),
            None => (authority, 80),
        };
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match inner {
            Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
            None => is_host_name(host),
        };
        if !is_host {
            return Err(("the host is not a name or an IP address", FORM));
        }
        Ok(Self { host: inner.unwrap_or(host).to_ascii_lowercase(), port, is_https })
    }
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn split_port(authority: &str) -> Option<(&str, &str)> {
    let (host, port) = authority.rsplit_once(':')?;
    let is_inside_brackets = port.contains(']');
    (!is_inside_brackets).then_some((host, port))
}

fn is_host_name(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

/// Where applications are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAddress {
    /// An SQLite file; a relative path is meant from the folder of the configuration file.
    Sqlite(PathBuf),
}

impl StoreAddress {
    /// Reads `sqlite:PATH`, with a relative path meant from `folder`.
    pub fn parse(text: &str, folder: &Path) -> Option<Self> {
        let path = text.strip_prefix("sqlite:").filter(|path| !path.is_empty())?;
        // `sqlite://x` and `?mode=` are an address form of others; here they would name odd files.
        let is_path = !path.starts_with("//") && !path.contains(['?', '#']);
        is_path.then(|| Self::Sqlite(folder.join(path)))
    }

    pub(super) fn resolve(
        written: &At<String>,
        folder: &Path,
        findings: &mut Findings,
    ) -> Option<Self> {
        let store = Self::parse(written, folder);
        if store.is_none() {
            // The text is not repeated: an address of another kind may hold a password.
            findings
                .error(written.place, "the store is not of a known kind")
                .help("write `sqlite:PATH`, such as `sqlite:/var/lib/portcullis/portcullis.db`");
        }
        store
    }
}

/// Whoever connects to a Unix socket, among the proxies.
const LOCAL_PROXIES: &str = "unix";
/// What the system takes, with room for its end.
const LONGEST_SOCKET_PATH: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::listen::{PublicEntry, PublicListener};
    use crate::config::scalar::Place;

    fn at(text: &str) -> At<String> {
        At { value: text.to_owned(), place: Place::default() }
    }

    #[test]
    fn an_upstream_is_a_scheme_and_a_host() {
        for (text, shown) in [
            ("http://127.0.0.1:9000", "127.0.0.1:9000"),
            ("http://API.internal", "api.internal:80"),
            ("http://api/", "api:80"),
            ("http://[::1]:1", "[::1]:1"),
            ("http://[::1]", "[::1]:80"),
            ("http://my_service:65535", "my_service:65535"),
            ("https://api", "api:443"),
            ("https://api:80/", "api:80"),
        ] {
            let address = UpstreamAddress::parse(text).unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(address.is_https, text.starts_with("https:"), "{text}");
        }
    }

    #[test]
    fn what_an_upstream_is_not() {
        for text in [
            "",
            "127.0.0.1:9000",
            "ftp://api",
            "HTTPS://api",
            "https://",
            "https://api/v1",
            "http://",
            "http://:80",
            "http://api:0",
            "http://api:65536",
            "http://api:+1",
            "http://api:",
            "http://api/v1",
            "http://api?x",
            "http://api#x",
            "http://u:p@api",
            "http://a b",
            "http://[::1",
            "http://::1",
            "http://[x]:1",
            "http://-a",
            "http://a..b",
            "http://é",
            "http://a//",
            "HTTP//a",
        ] {
            assert!(UpstreamAddress::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_network_that_holds_everybody_is_refused() {
        let judge = |text: &str| {
            let mut findings = Findings::new();
            let network = network(&at(text), &mut findings);
            assert_eq!(network.is_none(), findings.has_errors(), "{text}");
            network.map(|network| network.to_string())
        };
        assert_eq!(judge("10.0.0.0/8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(judge("10.0.0.1").as_deref(), Some("10.0.0.1/32"));
        assert_eq!(judge("fd00::/8").as_deref(), Some("fd00::/8"));
        assert_eq!(judge("0.0.0.0/1").as_deref(), Some("0.0.0.0/1"));
        for text in
            ["0.0.0.0/0", "::/0", "10.0.0.1/8", "1.2.3.4/0", "10.0.0.0/33", "all", "", "10/8"]
        {
            assert_eq!(judge(text), None, "{text}");
        }
    }

    #[test]
    fn the_admin_address_never_takes_public_connections() {
        let judge = |public: &str, admin: &str| {
            let mut findings = Findings::new();
            let entry = PublicEntry { address: at(public), mode: None, tls: None };
            let public = At { value: PublicListener(entry), place: Place::default() };
            let listen = Listen { public, admin: Some(at(admin)), proxy_protocol: vec![] };
            Listeners::resolve(&listen, &mut findings);
            !findings.has_errors()
        };
        assert!(judge("0.0.0.0:8080", "127.0.0.1:9901"));
        assert!(judge("127.0.0.1:0", "127.0.0.1:0"));
        assert!(judge("127.0.0.1:80", "127.0.0.2:80"));
        assert!(!judge("0.0.0.0:8080", "0.0.0.0:8080"));
        assert!(!judge("0.0.0.0:8080", "127.0.0.1:8080"));
        assert!(!judge("127.0.0.1:8080", "[::]:8080"));
        assert!(!judge("localhost:80", "127.0.0.1:9901"));
        assert!(!judge("0.0.0.0", ":9901"));
        assert!(judge("unix:/p", "unix:/q"));
        assert!(judge("unix:/p", "127.0.0.1:9901"));
        assert!(!judge("unix:/p", "unix:/p"));
    }

    #[test]
    fn a_store_is_an_sqlite_path_from_the_folder_of_the_file() {
        let parse = |text| StoreAddress::parse(text, Path::new("/etc/p"));
        let sqlite = |path: &str| Some(StoreAddress::Sqlite(PathBuf::from(path)));
        assert_eq!(parse("sqlite:a.db"), sqlite("/etc/p/a.db"));
        assert_eq!(parse("sqlite:/var/a.db"), sqlite("/var/a.db"));
        for text in
            ["sqlite:", "a.db", "postgres://u:p@h/d", "sqlite://a.db", "sqlite:a.db?mode=ro", ""]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
