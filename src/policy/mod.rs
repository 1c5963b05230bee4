//! Temporary stand-in.
use std::net::IpAddr;
use std::ops::Range;
use http::Method;
use crate::principal::Principal;

/// x
#[derive(Debug, Default)]
pub struct Policy;
/// x
#[derive(Debug)]
pub enum Forbidden { /// x
    NotAllowed }
/// x
#[derive(Debug)]
pub struct Facts<'r> {
    /// x
    pub principal: &'r Principal, 
    /// x
    pub method: &'r Method, 
    /// x
    pub host: &'r str, 
    /// x
    pub path: &'r str, 
    /// x
    pub query: Option<&'r str>, 
    /// x
    pub params: &'r [Range<usize>],
    /// x
    pub address: IpAddr,
}
impl Policy {
    /// x
    pub fn is_empty(&self) -> bool { true }
    /// x
    pub fn permit(&self, _: &Facts<'_>) -> Result<(), Forbidden> { Ok(()) }
    /// x
    pub fn explain(&self, _: &Facts<'_>) -> Vec<(String, String)> { Vec::new() }
}
