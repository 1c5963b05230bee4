//! How often somebody may call and how slowly, and what whoever goes beyond is told.

mod bodies;
mod connections;
mod pages;
mod rates;
mod wires;
