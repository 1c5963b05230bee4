#![doc = include_str!("README.md")]

pub mod clock;
pub mod id;
pub mod json;
pub mod secret;

pub mod certificate;

pub mod fetch;
pub mod inquiry;
pub mod message;
pub mod principal;
pub mod telemetry;

pub mod config;

pub mod store;

pub mod credentials;
pub mod dialect;
pub mod endpoint;
pub mod jwt;
pub mod limits;
pub mod policy;

pub mod account;
pub mod route;

pub mod gateway;

pub mod upstream;

pub mod admin;
pub mod login;
pub mod proxy;

pub mod server;

pub mod cli;
