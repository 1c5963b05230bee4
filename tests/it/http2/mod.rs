//! What is particular to HTTP/2. What both protocols share is sent over both where it is tested.

mod attacks;
mod calls;
mod cut;
mod deadlines;
mod decision;
mod grpc;
mod streams;
mod websocket;

use crate::world::Ask;
use crate::world::Setup;
use crate::world::World;

/// In clear, and within TLS.
fn worlds() -> impl Iterator<Item = World> {
    [Setup::new().http2(), Setup::new().over_tls()].into_iter().map(Setup::start)
}

/// A good request on a connection of its own passes.
#[track_caller]
fn others_are_served(world: &World) {
    let mut client = world.connect_http2();
    let stream = client.ask(&Ask::get("/api/control").signed());
    assert_eq!(client.answer(stream).map(|answer| answer.status()), Ok(200));
    assert_eq!(world.answer(&Ask::get("/api/control").signed()).status(), 200);
}
