//! How often somebody may call, and what whoever comes too often is told.

mod rates;
