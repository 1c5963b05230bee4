//! The users of the replayed exchanges, and what becomes of them.

use portcullis::clock::Clock;
use portcullis::id::UserId;
use portcullis::store::Login;
use portcullis::store::UserState;
use serde_json::Value;

use super::words::Words;
use super::words::base32;
use crate::world::people::People;

/// Puts one of the people into the store and keeps what is known about it.
pub fn add(people: &People, name: &str, words: &mut Words) {
    let all: Value = serde_json::from_str(include_str!("people.json")).unwrap();
    let person = &all[name];
    let text = |member: &str| person[member].as_str().unwrap_or_else(|| panic!("{name}: {member}"));
    let (login, password) = (text("login"), text("password"));
    let id = people.add(login, password, &person["attributes"], &person["permissions"]);
    if let Some(seed) = person["seed"].as_str() {
        people.enrol(&id, base32(seed).try_into().unwrap());
        words.keep(&format!("{name}.seed"), seed);
    }
    let number = people.act(async |store| store.show_user(&id).await.unwrap().number);
    words.keep(&format!("{name}.id"), id.as_str());
    words.keep(&format!("{name}.number"), number);
    words.keep(&format!("{name}.login"), login);
    words.keep(&format!("{name}.password"), password);
    words.keep(&format!("{name}.permissions"), person["permissions"].clone());
}

/// Alters what a user may do.
pub fn permit(people: &People, (login, clock): (&str, &Clock), permissions: &Value) {
    let id = find(people, login);
    people.alter(&async |store| store.set_permissions(&id, permissions, clock.now()).await);
}

/// Alters what is known about a user.
pub fn describe(people: &People, (login, clock): (&str, &Clock), change: &Value) {
    let (id, change) = (find(people, login), change.as_object().expect("a map"));
    people.alter(&async |store| store.set_attributes(&id, change, clock.now()).await);
}

/// Alters the state of a user.
pub fn turn(people: &People, (login, clock): (&str, &Clock), state: &str) {
    let (id, state) = (find(people, login), UserState::parse(state).expect("a state"));
    people.alter(&async |store| store.set_state(&id, state, clock.now()).await);
}

fn find(people: &People, login: &str) -> UserId {
    let login = Login::parse(login).unwrap();
    let found = people.act(async |store| store.find_user_by_login(&login).await.unwrap());
    found.expect("a user").id
}
