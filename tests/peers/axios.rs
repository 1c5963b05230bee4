//! A client that was written by somebody else, in the words of the document that it was written from.
//!
//! Behind the feature `npm`: the package comes from the registry each time.

use std::fs;

use crate::programs::install;
use crate::programs::said;
use crate::world::process::Process;

/// The document's example, and what it says of later calls, with the answers printed.
const CLIENT: &str = r"
import axios from 'axios'

const options = { headers: { Host: 'analogue.localhost' }, validateStatus: null }
const login = (password) => axios.post(
  process.argv[2] + '/api/users/login', // Endpoint
  {
    user: {
      email: 'anna@example.com',
      password
    }
  },
  options
)
const { status, data } = await login('correct horse')
console.log(status, typeof data.user.id, Object.keys(data.user).join(' '))
const call = (authorization) => axios.post(
  process.argv[2] + '/api/contents/parse',
  { url: 'https://example.com' },
  { ...options, headers: { ...options.headers, ...authorization } }
)
console.log((await call({ authorization: `Token ${data.user.token}` })).status)
console.log((await call({ authorization: `Token ${data.user.token}x` })).status)
console.log((await call({})).status)
const wrong = await login('incorrect horse')
console.log(wrong.status, JSON.stringify(wrong.data))
";

const PRINTED: &str = "\
200 number id email username name bio topics image token
200
401
401
422 {\"errors\":{\"email or password\":[\"is invalid\"]}}
";

#[test]
fn a_documented_client_logs_in_and_calls() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("client.mjs"), CLIENT).unwrap();
    install(folder.path(), "axios");
    let mut demo = Process::start(folder.path(), &["demo", "--port", "0"]);
    let line = demo.line("  gateway");
    let address = line.split_whitespace().last().unwrap();
    assert_eq!(said(folder.path(), "node", &["client.mjs", address]), PRINTED);
    demo.signal("INT");
    assert_eq!(demo.end().0, Some(0));
}
