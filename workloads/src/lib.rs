//! Reproducers and loads: programs of the record, one file each, and the verdicts they must give.
//!
//! A reproducer is one file: its story, the program, its own checks, and the list of
//! configurations with the words each must show. It *prepares* a machine without steps, then its
//! threads run.
//!
//! ```
//! let names: Vec<_> = workloads::CATALOGUE.iter().map(|it| it.name()).collect();
//! assert!(names.contains(&"forkscrew"));
//! ```
//!
//! What this crate does not model: programs other than Rust futures, signals, file systems.

mod catalogue;
pub mod dump;
pub mod pthread;
pub mod record;
mod repro;
mod swapping;
mod verdict;

use std::collections::BTreeMap;

pub use catalogue::CATALOGUE;
use os::Setup;
pub use verdict::{Budget, Evidence, Guard, Verdict};

/// A parameter of a reproducer. All are integers; booleans are 0 or 1.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name on the command line.
    pub name: &'static str,
    /// One line on it, with the unit.
    pub about: &'static str,
    /// The value it has when nobody says.
    pub default: u64,
    /// The least it can be.
    pub min: u64,
    /// The most.
    pub max: u64,
}

/// A program of the record.
pub trait Reproducer: Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// One line on it.
    fn about(&self) -> &'static str;
    /// What happens, why it must not, and where it was told.
    fn story(&self) -> &'static str;
    /// Its parameters.
    fn parameters(&self) -> &'static [Parameter] {
        &[]
    }
    /// Its small form, if it has one: the parameter [`SMALL`], with what is left out in `about`.
    fn small_form(&self) -> Option<&'static Parameter> {
        self.parameters().iter().find(|it| it.name == SMALL.name)
    }
    /// The base kernel it was seen on.
    fn kernel(&self) -> &'static str {
        "v2.6.18"
    }
    /// CPUs it runs on when nobody says.
    fn cpus(&self, _params: &Params) -> u16 {
        4
    }
    /// Memory of the machine in MiB.
    fn memory_mib(&self, _params: &Params) -> u64 {
        64
    }
    /// Whether CPUs have store buffers: others may see late what kernels write without a barrier.
    fn store_buffers(&self, _params: &Params) -> bool {
        false
    }
    /// What it must give.
    fn verdicts(&self) -> &'static [Verdict] {
        &[]
    }
    /// Constraints between parameters; the error says what would be right.
    fn check(&self, _params: &Params) -> Result<(), String> {
        Ok(())
    }
    /// Prepares the machine.
    fn prepare<'w>(&self, setup: &mut Setup<'w>, params: &Params);
}

/// Values of a reproducer's parameters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Params(BTreeMap<&'static str, u64>);

/// Why a parameter cannot be set.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParamError {
    /// There is no such parameter.
    #[error("{reproducer} has no parameter `{name}`; it has {known}")]
    Unknown {
        /// The reproducer.
        reproducer: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The value is no integer.
    #[error("{name}={value}: `{value}` is no whole number; {name} goes from {min} to {max}")]
    NoNumber {
        /// The parameter.
        name: &'static str,
        /// The value given.
        value: String,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// The value is out of range.
    #[error("{name}={value} is out of range; {name} goes from {min} to {max}")]
    OutOfRange {
        /// The parameter.
        name: &'static str,
        /// The value given.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
}

impl Params {
    /// The defaults of a reproducer.
    pub fn defaults(reproducer: &dyn Reproducer) -> Params {
        let all = reproducer.parameters().iter();
        Params(all.map(|it| (it.name, it.default)).collect())
    }

    /// Sets a parameter from its text.
    pub fn set(
        &mut self,
        reproducer: &dyn Reproducer,
        name: &str,
        value: &str,
    ) -> Result<(), ParamError> {
        let all = reproducer.parameters();
        let Some(parameter) = all.iter().find(|it| it.name == name) else {
            let known: Vec<_> = all.iter().map(|it| it.name).collect();
            return Err(ParamError::Unknown {
                reproducer: reproducer.name(),
                name: name.to_string(),
                known: if known.is_empty() {
                    "none".to_string()
                } else {
                    known.join(", ")
                },
            });
        };
        let Parameter { name, min, max, .. } = *parameter;
        let number: u64 = value.trim().parse().map_err(|_| ParamError::NoNumber {
            name,
            value: value.to_string(),
            min,
            max,
        })?;
        if !(min..=max).contains(&number) {
            return Err(ParamError::OutOfRange {
                name,
                value: number,
                min,
                max,
            });
        }
        self.0.insert(name, number);
        Ok(())
    }

    /// A parameter's value. Asking for one that the reproducer does not declare is a bug of it.
    pub fn get(&self, name: &str) -> u64 {
        *self
            .0
            .get(name)
            .unwrap_or_else(|| panic!("the reproducer declares no parameter `{name}`"))
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(name, value)| (*name, *value))
    }
}

/// The parameter of a program that has a small form: as much of it as a search of its interleavings
/// can come to the end of. A search takes it where nobody says otherwise.
pub const SMALL: Parameter = Parameter {
    name: "small",
    about: "1: the small form",
    default: 0,
    min: 0,
    max: 1,
};

/// Whether the buffer is left out at fork (row B10): a parameter that several programs have.
pub(crate) const DONTFORK: Parameter = Parameter {
    name: "dontfork",
    about: "1: madvise(MADV_DONTFORK) on the buffer",
    default: 0,
    min: 0,
    max: 1,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_is_unknown_or_out_of_range_says_what_would_be_right() {
        let dma = CATALOGUE
            .iter()
            .find(|it| it.name() == "dma-thread")
            .expect("listed");
        let mut params = Params::defaults(*dma);
        assert_eq!(params.set(*dma, "align", "0"), Ok(()));
        assert_eq!(params.get("align"), 0);
        let message = params
            .set(*dma, "algin", "0")
            .expect_err("no such name")
            .to_string();
        assert!(message.contains("align"), "{message}");
        let message = params
            .set(*dma, "align", "5000")
            .expect_err("too large")
            .to_string();
        assert!(message.contains("4096"), "{message}");
        assert!(params.set(*dma, "align", "-1").is_err());
    }

    #[test]
    fn every_default_lies_in_its_range_and_names_are_unique() {
        for (at, reproducer) in CATALOGUE.iter().enumerate() {
            assert!(
                CATALOGUE[at + 1..]
                    .iter()
                    .all(|it| it.name() != reproducer.name())
            );
            let params = Params::defaults(*reproducer);
            for it in reproducer.parameters() {
                assert!(
                    (it.min..=it.max).contains(&it.default),
                    "{} {}",
                    reproducer.name(),
                    it.name
                );
            }
            assert_eq!(reproducer.check(&params), Ok(()), "{}", reproducer.name());
        }
    }
}
