//! Random bytes of the system, for what is made here: salts, seeds, codes, challenges, ids.

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;

/// So many random bytes.
pub(super) fn bytes<const N: usize>() -> Result<[u8; N], Unspecified> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes)?;
    Ok(bytes)
}
