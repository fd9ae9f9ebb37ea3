//! What there is, by name: reproducers, kernels, fixes, rows, flush policies, machines, choosers.
//!
//! The standard registry holds what the workspace brings. A crate with items of its own adds them
//! and gets the whole command line with them.

use std::fmt;
use std::path::Path;

use emu::{Chooser, ChooserKind, Costs, Make};
use os::fixes::{BaseKernel, Row};
use os::flush::FlushPolicy;
use os::patch::Patch;
use workloads::Reproducer;

use crate::Error;
use crate::suggest::hint;

/// Something to add to a registry.
pub enum Item {
    /// See [`fix`].
    Fix(&'static dyn Patch),
    /// See [`reproducer`].
    Reproducer(&'static dyn Reproducer),
    /// See [`flush`].
    Flush(&'static dyn FlushPolicy),
    /// See [`chooser`].
    Chooser(ChooserKind),
    /// See [`row`].
    Row(Row),
}

/// A kernel patch.
pub fn fix(patch: &'static dyn Patch) -> Item {
    Item::Fix(patch)
}

/// A reproducer or a load.
pub fn reproducer(it: &'static dyn Reproducer) -> Item {
    Item::Reproducer(it)
}

/// A TLB-flush policy.
pub fn flush(policy: &'static dyn FlushPolicy) -> Item {
    Item::Flush(policy)
}

/// A way to choose who goes next.
pub fn chooser(kind: ChooserKind) -> Item {
    Item::Chooser(kind)
}

/// A name for a whole configuration.
pub fn row(row: Row) -> Item {
    Item::Row(row)
}

/// What `--fix` names: one patch, or a whole configuration.
#[derive(Clone, Copy)]
pub enum Fix {
    /// One patch.
    Patch(&'static dyn Patch),
    /// A row of the verdict matrix.
    Row(Row),
}

/// A machine: what things cost, and where that comes from.
#[derive(Clone)]
pub struct MachineChoice {
    /// What things cost; the name of the machine is in it.
    pub costs: Costs,
    /// The text of a user's own preset; `None` for one that is compiled in.
    pub text: Option<String>,
}

/// A chooser with its argument.
#[derive(Clone, Copy)]
pub struct ChooserChoice {
    /// Which.
    pub kind: ChooserKind,
    /// What followed its name, if something did.
    pub argument: Option<u64>,
}

impl fmt::Display for ChooserChoice {
    /// As on the command line: `pct:3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name)?;
        match self.argument {
            Some(argument) => write!(f, ":{argument}"),
            None => Ok(()),
        }
    }
}

impl ChooserChoice {
    /// Whether it searches all schedules, instead of making one for a seed.
    pub fn searches(&self) -> bool {
        matches!(self.kind.make, Make::Search)
    }

    /// The chooser for a seed; `None` if simulated time decides, or nothing but a search can.
    pub(crate) fn make(&self, seed: u64) -> Option<Box<dyn Chooser>> {
        match self.kind.make {
            Make::Chooser(make) => Some(make(seed, self.argument)),
            Make::Time | Make::Search => None,
        }
    }

    /// Whether simulated time decides what is enabled.
    pub(crate) fn keeps_time(&self) -> bool {
        match self.kind.make {
            Make::Time => true,
            // The seed does not matter: only what kind it is is asked.
            Make::Chooser(make) => make(0, self.argument).keeps_time(),
            Make::Search => false,
        }
    }

    fn parse(kind: &ChooserKind, given: &str, argument: Option<&str>) -> Result<Self, Error> {
        let refuse = |what: String| {
            Err(Error::ChooserArgument {
                given: given.to_string(),
                what,
            })
        };
        let argument = match (kind.argument, argument) {
            (None, None) => None,
            (None, Some(_)) => return refuse(format!("`{}` takes no argument", kind.name)),
            (Some(it), None) if it.needed => {
                return refuse(format!(
                    "{} is missing, a number from {} to {}, as in `{}:{}`",
                    it.name,
                    it.least,
                    it.most,
                    kind.name,
                    it.most.min(3)
                ));
            }
            (Some(_), None) => None,
            (Some(it), Some(text)) => match text.parse() {
                Ok(number) if (it.least..=it.most).contains(&number) => Some(number),
                _ => {
                    return refuse(format!(
                        "{} is `{text}`, and it must be a number from {} to {}",
                        it.name, it.least, it.most
                    ));
                }
            },
        };
        Ok(ChooserChoice {
            kind: *kind,
            argument,
        })
    }
}

/// The lists of everything that has a name.
#[derive(Clone)]
pub struct Registry {
    pub(crate) reproducers: Vec<&'static dyn Reproducer>,
    pub(crate) kernels: &'static [BaseKernel],
    pub(crate) fixes: Vec<&'static dyn Patch>,
    pub(crate) mutations: &'static [&'static dyn Patch],
    pub(crate) rows: Vec<Row>,
    pub(crate) policies: Vec<&'static dyn FlushPolicy>,
    pub(crate) choosers: Vec<ChooserKind>,
}

impl Registry {
    /// What the workspace brings.
    pub fn standard() -> Registry {
        Registry {
            reproducers: workloads::CATALOGUE.to_vec(),
            kernels: os::fixes::KERNELS,
            fixes: os::fixes::ALL.to_vec(),
            mutations: os::fixes::mutations::ALL,
            rows: os::fixes::ROWS.to_vec(),
            policies: os::flush::ALL.to_vec(),
            choosers: emu::CHOOSERS.to_vec(),
        }
    }

    /// This and one more.
    ///
    /// # Panics
    ///
    /// When something of the kind has that name already: which of them a command means would be
    /// anybody's guess.
    #[must_use]
    pub fn with(mut self, item: Item) -> Registry {
        let (kind, name, taken) = match &item {
            Item::Fix(it) => ("fix", it.name(), self.fix(it.name()).is_ok()),
            Item::Row(it) => ("row", it.id, self.fix(it.id).is_ok()),
            Item::Reproducer(it) => ("reproducer", it.name(), self.reproducer(it.name()).is_ok()),
            Item::Flush(it) => ("flush policy", it.name(), self.flush(it.name()).is_ok()),
            Item::Chooser(it) => {
                let taken = self.choosers.iter().any(|one| one.name == it.name);
                ("chooser", it.name, taken)
            }
        };
        assert!(
            !taken,
            "there is a {kind} `{name}` already; give yours another name"
        );
        match item {
            Item::Fix(it) => self.fixes.push(it),
            Item::Row(it) => self.rows.push(it),
            Item::Reproducer(it) => self.reproducers.push(it),
            Item::Flush(it) => self.policies.push(it),
            Item::Chooser(it) => self.choosers.push(it),
        }
        self
    }

    /// Finds a reproducer.
    pub fn reproducer(&self, name: &str) -> Result<&'static dyn Reproducer, Error> {
        find("reproducer", &self.reproducers, |it| it.name(), name).copied()
    }

    /// Finds a base kernel.
    pub fn kernel(&self, name: &str) -> Result<&'static BaseKernel, Error> {
        find("kernel", self.kernels, |it| it.name, name)
    }

    fn patches(&self) -> Vec<&'static dyn Patch> {
        self.fixes.iter().chain(self.mutations).copied().collect()
    }

    /// Finds a patch or a mutation by its name, or a row by its id.
    pub fn fix(&self, name: &str) -> Result<Fix, Error> {
        let mut all: Vec<(&str, Fix)> = self
            .patches()
            .iter()
            .map(|it| (it.name(), Fix::Patch(*it)))
            .collect();
        all.extend(self.rows.iter().map(|it| (it.id, Fix::Row(*it))));
        find("fix or row", &all, |it| it.0, name).map(|it| it.1)
    }

    /// Finds a patch or a mutation.
    pub fn patch(&self, name: &str) -> Result<&'static dyn Patch, Error> {
        find("fix", &self.patches(), |it| it.name(), name).copied()
    }

    /// Finds a flush policy.
    pub fn flush(&self, name: &str) -> Result<&'static dyn FlushPolicy, Error> {
        find("flush policy", &self.policies, |it| it.name(), name).copied()
    }

    /// Finds a chooser, with its argument: `random`, `pct:3`.
    pub fn chooser(&self, given: &str) -> Result<ChooserChoice, Error> {
        let (name, argument) = match given.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (given, None),
        };
        let kind = find("chooser", &self.choosers, |it| it.name, name)?;
        ChooserChoice::parse(kind, given, argument)
    }

    /// Finds a machine preset by its name, or reads it from a TOML file: a name that ends in
    /// `.toml` or has a `/` in it is a path.
    pub fn machine(&self, name: &str) -> Result<MachineChoice, Error> {
        if let Some(costs) = Costs::preset(name) {
            return Ok(MachineChoice { costs, text: None });
        }
        let path = Path::new(name);
        let is_path = name.contains('/') || path.extension().is_some_and(|it| it == "toml");
        if !is_path {
            let known = Costs::preset_names().iter().copied();
            return Err(Error::Unknown {
                kind: "machine",
                name: name.to_string(),
                hint: format!("{} (a file of your own ends in .toml)", hint(name, known)),
            });
        }
        let text = std::fs::read_to_string(path).map_err(Error::file(path))?;
        let costs = Costs::from_toml(&text, name)?;
        Ok(MachineChoice {
            costs,
            text: Some(text),
        })
    }
}

fn find<'a, T>(
    kind: &'static str,
    all: &'a [T],
    name_of: impl Fn(&T) -> &str,
    name: &str,
) -> Result<&'a T, Error> {
    all.iter()
        .find(|it| name_of(it) == name)
        .ok_or_else(|| Error::Unknown {
            kind,
            name: name.to_string(),
            hint: hint(name, all.iter().map(&name_of)),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let registry = Registry::standard();
        let error = registry
            .reproducer("forkscrw")
            .err()
            .expect("unknown")
            .to_string();
        assert!(
            error.contains("`forkscrw`") && error.contains("did you mean `forkscrew`"),
            "{error}"
        );
        let error = registry.fix("b02").err().expect("unknown").to_string();
        assert!(error.contains("`B02`"), "{error}");
        let error = registry
            .machine("skylake")
            .err()
            .expect("unknown")
            .to_string();
        assert!(
            error.contains("`skylake-2s`") && error.contains(".toml"),
            "{error}"
        );
    }

    #[test]
    fn a_choosers_argument_is_part_of_its_name() {
        let registry = Registry::standard();
        let name = |given| registry.chooser(given).map(|it| it.to_string());
        assert_eq!(name("pct:03").expect("a depth"), "pct:3");
        assert_eq!(name("exhaustive").expect("no bound"), "exhaustive");
        assert_eq!(name("exhaustive:0").expect("a bound"), "exhaustive:0");
        for (given, part) in [
            (
                "pct",
                "DEPTH is missing, a number from 1 to 64, as in `pct:3`",
            ),
            (
                "pct:0",
                "DEPTH is `0`, and it must be a number from 1 to 64",
            ),
            ("pct:65", "DEPTH is `65`"),
            ("pct:x", "DEPTH is `x`"),
            ("pct:", "DEPTH is ``"),
            ("timed:3", "`timed` takes no argument"),
            ("exhaustive:-1", "PREEMPTIONS is `-1`"),
            ("pcf:3", "there is no chooser `pcf`; did you mean `pct`?"),
        ] {
            let error = name(given).expect_err("no such chooser").to_string();
            assert!(error.contains(part), "{given}: {error}");
        }
    }

    #[test]
    #[should_panic(expected = "there is a row `B02` already")]
    fn a_name_is_given_once() {
        let taken = *os::fixes::ROWS
            .iter()
            .find(|row| row.id == "B02")
            .expect("a row");
        let _ = Registry::standard().with(row(taken));
    }
}
