//! What the scanners that auditors use find in our TLS: nothing, but what any authority of tests must show.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::certificates;
use crate::certificates::HOST;
use crate::gateway::Gateway;
use crate::gateway::USERS;
use crate::gateway::configuration;
use crate::programs::Nginx;
use crate::programs::command;
use crate::programs::run_within;

/// testssl waits for answers that do not come, most of its time.
const PATIENCE: Duration = Duration::from_mins(5);

/// What the upstream says to browsers, and the gateway passes on.
const SITE: &str = "location / { default_type text/plain; \
                    add_header Strict-Transport-Security 'max-age=63072000; includeSubDomains'; \
                    add_header Content-Security-Policy \"default-src 'none'\"; \
                    add_header X-Content-Type-Options nosniff; \
                    add_header X-Frame-Options DENY; return 200 'an answer\\n'; }";

/// Every scan of sslyze, so that an option that is new does not stay out unseen.
const SCANS: &[&str] = &[
    "--certinfo",
    "--compression",
    "--early_data",
    "--elliptic_curves",
    "--ems",
    "--fallback",
    "--heartbleed",
    "--http_headers",
    "--openssl_ccs",
    "--reneg",
    "--robot",
    "--sslv2",
    "--sslv3",
    "--tlsv1",
    "--tlsv1_1",
    "--tlsv1_2",
    "--tlsv1_3",
];

/// Findings of sslyze that are no fault, by its words for them.
const ALLOWED_BY_SSLYZE: &[(&str, &str)] = &[
    ("Android CA Store", "the authority is known to these tests only"),
    ("Apple CA Store", "the authority is known to these tests only"),
    ("Java CA Store", "the authority is known to these tests only"),
    ("Mozilla CA Store", "the authority is known to these tests only"),
    ("Windows CA Store", "the authority is known to these tests only"),
    ("OCSP Must-Staple", "the authority answers no OCSP"),
    ("OCSP Stapling", "the authority answers no OCSP"),
    ("Certificate Transparency", "the authority writes no public log"),
];

/// The checks of testssl; those left out repeat these with other clients and other lists of suites.
const CHECKS: &[&str] = &[
    "--protocols",
    "--standard",
    "--pfs",
    "--server-defaults",
    "--server-preference",
    "--headers",
    "--vulnerable",
];

/// Findings of testssl that are no fault, by their ids.
const ALLOWED_BY_TESTSSL: &[(&str, &str)] = &[
    ("cert_revocation", "the authority revokes nothing"),
    ("DNS_CAArecord", "the name exists in no DNS"),
    ("engine_problem", "about the openssl that testssl runs with"),
    (
        "sessionresumption_ticket",
        "it may hang up before a ticket of TLS 1.3 can come, and fails then",
    ),
];

/// A gateway that shows a certificate of RSA or of ECDSA, as the client can.
fn secured() -> (Gateway, Nginx) {
    let site = Nginx::start("", SITE);
    let routes = "  - { match: \"* /\", to: api, public: true }";
    let text = configuration(&site.url(), USERS, routes);
    let text = text.replacen("\"127.0.0.1:0\"", certificates::LISTEN, 1);
    let folder = Gateway::folder(&text);
    certificates::issue(folder.path());
    (Gateway::start_in(folder), site)
}

#[test]
fn sslyze_finds_nothing() {
    let (gateway, _site) = secured();
    let mut sslyze = command("sslyze");
    sslyze.args(SCANS).args(["--mozilla_config", "intermediate", "--sni", HOST]);
    sslyze.arg("--certinfo_ca_file").arg(gateway.folder.path().join("ca.crt"));
    sslyze.arg(gateway.public.to_string());
    let (is_content, said) = run_within(sslyze, PATIENCE);
    assert!(is_content, "{said}");
    // Both certificates, each with and without its server's name, are believed by who knows the authority.
    assert!(said.contains("Number of cert chains detected:    2"), "{said}");
    assert!(said.matches("Supplied CA file CA Store (N/A):   OK").count() >= 2, "{said}");
    assert!(said.contains("OK - Compliant"), "{said}");
    for suite in ["TLS_AES_256_GCM_SHA384", "ECDHE_RSA_WITH_AES", "ECDHE_ECDSA_WITH_AES"] {
        assert!(said.contains(suite), "{suite} is not among {said}");
    }
    let findings = verdicts(&said);
    let findings: Vec<_> = findings.iter().filter(|(_, verdict)| *verdict != "OK").collect();
    for (id, verdict) in &findings {
        let is_allowed = ALLOWED_BY_SSLYZE.iter().any(|(allowed, _)| id.starts_with(allowed));
        assert!(is_allowed, "{id}: {verdict}\n{said}");
    }
    assert!(!findings.is_empty(), "an authority of tests is believed by everybody: {said}");
    for older in ["SSL 2.0", "SSL 3.0", "TLS 1.0", "TLS 1.1"] {
        let (_, rest) = said.split_once(&format!("{older} Cipher Suites:")).expect(older);
        let told = rest.lines().nth(1).unwrap();
        assert!(told.ends_with("the server rejected all cipher suites."), "{older}: {told}");
    }
    let (_, early) = said.split_once("TLS 1.3 Early Data:").expect("early data");
    assert_eq!(early.lines().nth(1).map(str::trim), Some("Not Supported"));
}

/// What was looked at and what was said of it: `LABEL: VERDICT - MORE`, or the second half under a heading.
fn verdicts(report: &str) -> Vec<(String, &str)> {
    let mut heading = "";
    let mut found = Vec::new();
    for line in report.lines().map(str::trim) {
        let verdict = line.split_once(" - ").and_then(|(before, _)| {
            let words = before.rsplit(':').next()?.trim();
            let is_verdict = |c: char| c.is_ascii_uppercase() || c == ' ';
            (words.len() > 1 && words.chars().all(is_verdict)).then_some((before, words))
        });
        match verdict {
            Some((before, words)) => {
                let label = before.strip_suffix(words).unwrap_or_default().trim();
                let id = if label.is_empty() { heading } else { label };
                found.push((id.trim_end_matches(':').to_owned(), words));
            }
            None if !line.is_empty() => heading = line,
            None => {}
        }
    }
    found
}

#[test]
fn testssl_finds_nothing() {
    let (gateway, _site) = secured();
    let folder = gateway.folder.path();
    let findings = folder.join("findings.json");
    let mut testssl = command("testssl");
    testssl.args(CHECKS).args(["--quiet", "--color", "0", "--warnings", "off"]);
    testssl.args(["--nodns", "none", "--ip", "127.0.0.1"]);
    testssl.arg("--add-ca").arg(folder.join("ca.crt")).arg("--jsonfile").arg(&findings);
    testssl.arg(format!("{HOST}:{}", gateway.public.port()));
    // Its status counts what could not be connected to, much of which must not be.
    let (_, said) = run_within(testssl, PATIENCE);
    let findings = fs::read_to_string(findings).unwrap_or_else(|error| panic!("{error}: {said}"));
    let findings: Vec<Value> = serde_json::from_str(&findings).unwrap();
    let tells_of = |id: &str| findings.iter().any(|finding| finding["id"] == id);
    // It has come to its end, and has seen both certificates.
    for id in ["TLS1_3", "cipher_order", "RC4", "HTTP_status_code", "cert_chain_of_trust <cert#2>"]
    {
        assert!(tells_of(id), "nothing about {id}: {said}");
    }
    for finding in &findings {
        let [id, severity] = ["id", "severity"].map(|key| finding[key].as_str().unwrap());
        let (name, _) = id.split_once(' ').unwrap_or((id, ""));
        let is_allowed = ALLOWED_BY_TESTSSL.iter().any(|(allowed, _)| name == *allowed);
        assert!(matches!(severity, "OK" | "INFO") || is_allowed, "{finding}\n{said}");
    }
}
