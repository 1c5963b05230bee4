//! How much work a password hash is, and the least that we accept.

use argon2::{Algorithm, Argon2, Params, Version};

use crate::config::PasswordSettings;

/// What one hash by Argon2id costs; at least what OWASP's cheat sheet asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordCost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// Why a cost is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CostError {
    /// A stolen store could be searched too cheaply.
    #[error("weaker than 19 MiB with 2 passes, and than 46 MiB with 1")]
    TooWeak,
    /// A handful of logins would exhaust the machine.
    #[error("more than 1 GiB, 16 passes or 16 lanes")]
    TooMuch,
    /// Argon2 needs 8 KiB for each lane, and at least one lane.
    #[error("no lane, or less than 8 KiB for each")]
    NoLane,
}

impl PasswordCost {
    /// 19 MiB, 2 passes, 1 lane.
    pub const DEFAULT: Self = Self { memory_kib: 19 << 10, passes: 2, lanes: 1 };

    /// A cost that is neither too weak nor too much.
    pub fn new(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, CostError> {
        let cost = Self::stored(memory_kib, passes, lanes)?;
        let is_enough = FLOORS.iter().any(|(kib, least)| memory_kib >= *kib && passes >= *least);
        if is_enough { Ok(cost) } else { Err(CostError::TooWeak) }
    }

    /// The cost that a configuration asks for.
    pub fn configured(passwords: &PasswordSettings) -> Result<Self, CostError> {
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let memory_kib = u32::try_from(passwords.memory / 1024).unwrap_or(u32::MAX);
        Self::new(memory_kib, small(passwords.passes), small(passwords.lanes))
    }

    /// The cost of a hash made before, which may be weaker than what we would make today.
    pub(super) fn stored(memory_kib: u32, passes: u32, lanes: u32) -> Result<Self, CostError> {
        if memory_kib > MAX_MEMORY_KIB || passes > MAX_PASSES || lanes > MAX_LANES {
            return Err(CostError::TooMuch);
        }
        if passes == 0 || lanes == 0 || memory_kib < 8 * lanes {
            return Err(CostError::NoLane);
        }
        Ok(Self { memory_kib, passes, lanes })
    }

    /// KiB of memory, passes over it, lanes within it.
    pub const fn parts(&self) -> (u32, u32, u32) {
        (self.memory_kib, self.passes, self.lanes)
    }

    /// The function that costs this, and how many blocks of memory it fills.
    pub(super) fn function(&self) -> Result<(Argon2<'static>, usize), argon2::Error> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, None)?;
        let blocks = params.block_count();
        Ok((Argon2::new(Algorithm::Argon2id, Version::V0x13, params), blocks))
    }
}

impl Default for PasswordCost {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// KiB and the fewest passes with them: two of the settings that OWASP holds to be equal.
const FLOORS: [(u32, u32); 2] = [(19 << 10, 2), (46 << 10, 1)];
const MAX_MEMORY_KIB: u32 = 1 << 20;
const MAX_PASSES: u32 = 16;
const MAX_LANES: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_weaker_than_the_floor_or_beyond_the_bounds_is_refused() {
        let mib = 1 << 10;
        for (memory, passes, lanes, expected) in [
            (19 * mib, 2, 1, None),
            (19 * mib - 1, 2, 1, Some(CostError::TooWeak)),
            (19 * mib, 1, 1, Some(CostError::TooWeak)),
            (46 * mib, 1, 1, None),
            (46 * mib - 1, 1, 1, Some(CostError::TooWeak)),
            (8, 16, 1, Some(CostError::TooWeak)),
            (64 * mib, 3, 4, None),
            (1024 * mib, 16, 16, None),
            (1024 * mib + 1, 2, 1, Some(CostError::TooMuch)),
            (19 * mib, 17, 1, Some(CostError::TooMuch)),
            (19 * mib, 2, 17, Some(CostError::TooMuch)),
            (19 * mib, 2, 0, Some(CostError::NoLane)),
            (19 * mib, 0, 1, Some(CostError::NoLane)),
            (7, 2, 1, Some(CostError::NoLane)),
        ] {
            let cost = PasswordCost::new(memory, passes, lanes);
            assert_eq!(cost.err(), expected, "{memory} {passes} {lanes}");
        }
    }
}
