//! Slugline: `git push` in, a compressed content-addressed slug out, a release from it.
//!
//! The map, from the top; imports go down only, and no two stages import each other:
//!
//! - edge: [`cli`], [`http`], [`router`], [`drain`], [`failure`], [`languages`]
//! - platform: [`platform`] remembers apps, config vars, builds and releases
//! - the sentence: [`pipeline`], one build from top to bottom
//! - stages: [`receive`], [`checkout`], [`detect`], [`compile`], [`pack`], [`store`],
//!   [`dyno`]
//! - tools: [`fetch`], [`runtime`], [`sandbox`], [`tool`]
//! - vocabulary: [`app`], [`attach`], [`buildpack`], [`config`], [`digest`], [`domain`], [`fault`], [`output`],
//!   [`procfile`], [`release`], [`slug`], [`stack`]

pub mod app;
pub mod attach;
pub mod buildpack;
pub mod checkout;
pub mod cli;
pub mod compile;
pub mod config;
pub mod detect;
pub mod digest;
pub mod domain;
pub mod drain;
pub mod dyno;
pub mod failure;
pub mod fault;
pub mod fetch;
#[cfg(test)]
mod fixture;
pub mod http;
pub mod languages;
pub mod output;
pub mod pack;
pub mod pipeline;
pub mod platform;
pub mod procfile;
pub mod receive;
pub mod release;
pub mod router;
pub mod runtime;
pub mod sandbox;
pub mod slug;
pub mod stack;
pub mod store;
pub mod tool;
