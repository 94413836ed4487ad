//! Slugline as its users meet it: real git over loopback, real package managers, no mocks.

mod api;
mod cli;
mod digests;
mod failures;
mod layout;
mod push;
mod running;
mod sandbox;
mod server;
mod site;
