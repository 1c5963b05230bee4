//! Login services held against recorded exchanges: what the documents of five APIs show, and what was
//! settled where they are silent.
//!
//! Each file `*/*.http` is one story told to one gateway of its own, see [`script`] for how they read.

mod people;
mod play;
mod script;
mod words;

use std::fs;
use std::path::Path;

use play::Player;

/// One test for each file of a folder.
macro_rules! stories {
    ($folder:ident in $path:literal: $($story:ident)*) => {
        mod $folder {
            $(
                #[test]
                fn $story() {
                    super::replay($path, stringify!($story));
                }
            )*

            #[test]
            fn each_file_is_replayed() {
                super::assert_all($path, &[$(stringify!($story)),*]);
            }
        }
    };
}

stories! { ping_proxies in "ping-proxies":
    application_keys
    lockout
    login
    login_refused
    protected_routes
    second_factor
    second_factor_on_routes
    second_factor_tries
    states
}

stories! { redis_7_4 in "redis-7.4":
    lockout
    login
    login_refused
    passwords
    refresh
    states
}

stories! { redis_7_8 in "redis-7.8":
    basic_on_routes
    login
    login_refused
    passwords
    protected_routes
    time_to_live
}

stories! { analogue in "analogue":
    current_and_update
    generation_node
    generation_spec_2026
    login
    login_refused
    protected_routes
    register
}

stories! { monogoto in "monogoto":
    customer_key
    login
    login_refused
    permissions
    refresh
}

stories! { native in "native":
    key_set
    login
    password
    refresh
    refused
    sessions
    totp
}

stories! { across in "across":
    families
    sixth_api
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/login"))
}

#[track_caller]
fn replay(dialect: &str, story: &str) {
    let path = folder().join(dialect).join(format!("{story}.http"));
    let text = fs::read_to_string(&path).unwrap();
    let sections = script::read(&format!("\n{text}"));
    assert!(!sections.is_empty(), "{} tells nothing", path.display());
    let mut player = Player::start(&sections);
    for section in &sections {
        if let Err(fault) = player.play(section) {
            panic!("{dialect}/{story}.http, {}: {fault}", section.title);
        }
    }
}

#[track_caller]
fn assert_all(dialect: &str, stories: &[&str]) {
    let files = fs::read_dir(folder().join(dialect)).unwrap();
    let mut found: Vec<_> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "http"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    assert_eq!(found, stories);
}
