//! Certificates of an authority that only tests believe, one for each kind of key, made by openssl.

use std::fs;
use std::path::Path;

use crate::programs::command;
use crate::programs::run;

/// The name that the certificates are for.
pub const HOST: &str = "gw.test";

/// What a server's certificate says beyond its name.
const EXTENSIONS: &str = "basicConstraints=critical,CA:FALSE\n\
                          keyUsage=critical,digitalSignature\n\
                          extendedKeyUsage=serverAuth\n\
                          subjectAltName=DNS:gw.test\n\
                          subjectKeyIdentifier=hash\n\
                          authorityKeyIdentifier=keyid\n";

const P256: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const RSA2048: &[&str] = &["rsa:2048"];

/// How the gateway speaks TLS with them; for the value of `listen.public`.
pub const LISTEN: &str = "{ address: \"127.0.0.1:0\", tls: { \
                          certificate: file:ecdsa.crt, key: file:ecdsa.key, \
                          certificates: [ { certificate: file:rsa.crt, key: file:rsa.key } ] } }";

/// Puts the authority (`ca.crt`) and a pair for each kind of key (`ecdsa`, `rsa`) into a folder.
#[track_caller]
pub fn issue(folder: &Path) {
    fs::write(folder.join("extensions"), EXTENSIONS).unwrap();
    let authority = ["req", "-x509", "-days", "365", "-subj", "/O=Tests/CN=Tests root"];
    let rights = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"];
    let rights = ["-addext", rights[0], "-addext", rights[1], "-out", "ca.crt"];
    openssl(folder, &[&authority, &rights, &new_key(P256, "ca.key")[..]].concat());
    for (name, kind) in [("ecdsa", P256), ("rsa", RSA2048)] {
        let [request, key, certificate] =
            ["csr", "key", "crt"].map(|ending| format!("{name}.{ending}"));
        let subject = format!("/CN={HOST}");
        let asking = ["req", "-new", "-subj", &subject, "-out", &request];
        openssl(folder, &[&asking, &new_key(kind, &key)[..]].concat());
        let signing = ["x509", "-req", "-days", "90", "-in", &request, "-out", &certificate];
        let by = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "extensions"];
        openssl(folder, &[&signing[..], &by].concat());
    }
}

fn new_key<'a>(kind: &[&'a str], file: &'a str) -> Vec<&'a str> {
    [&["-newkey"], kind, &["-nodes", "-keyout", file]].concat()
}

#[track_caller]
fn openssl(folder: &Path, arguments: &[&str]) {
    let mut openssl = command("openssl");
    openssl.current_dir(folder).args(arguments);
    let (is_content, said) = run(openssl);
    assert!(is_content, "{arguments:?}: {said}");
}
