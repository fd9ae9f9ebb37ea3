//! What there is, by name: reproducers, kernels, fixes, rows, flush policies, machines, choosers.
//!
//! The standard registry holds what the workspace brings. A crate with items of its own adds them
//! and gets the whole command line with them.

use std::path::Path;
use std::sync::Arc;

use emu::{ChooserKind, Costs};
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

/// The lists of everything that has a name.
#[derive(Clone)]
pub struct Registry {
    pub(crate) reproducers: Vec<&'static dyn Reproducer>,
    pub(crate) kernels: &'static [BaseKernel],
    pub(crate) fixes: Vec<&'static dyn Patch>,
    pub(crate) rows: Vec<Row>,
    pub(crate) policies: Vec<&'static dyn FlushPolicy>,
    pub(crate) choosers: Vec<Arc<ChooserKind>>,
}

impl Registry {
    /// What the workspace brings.
    pub fn standard() -> Registry {
        let chooser = |it: &ChooserKind| {
            let ChooserKind { name, about, make } = *it;
            Arc::new(ChooserKind { name, about, make })
        };
        Registry {
            reproducers: workloads::CATALOGUE.to_vec(),
            kernels: os::fixes::KERNELS,
            fixes: os::fixes::ALL.to_vec(),
            rows: os::fixes::ROWS.to_vec(),
            policies: os::flush::ALL.to_vec(),
            choosers: emu::CHOOSERS.iter().map(chooser).collect(),
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
            Item::Chooser(it) => ("chooser", it.name, self.chooser(it.name).is_ok()),
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
            Item::Chooser(it) => self.choosers.push(Arc::new(it)),
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

    /// Finds a patch by its name, or a row by its id.
    pub fn fix(&self, name: &str) -> Result<Fix, Error> {
        let mut all: Vec<(&str, Fix)> = self
            .fixes
            .iter()
            .map(|it| (it.name(), Fix::Patch(*it)))
            .collect();
        all.extend(self.rows.iter().map(|it| (it.id, Fix::Row(*it))));
        find("fix or row", &all, |it| it.0, name).map(|it| it.1)
    }

    /// Finds a patch.
    pub fn patch(&self, name: &str) -> Result<&'static dyn Patch, Error> {
        find("fix", &self.fixes, |it| it.name(), name).copied()
    }

    /// Finds a flush policy.
    pub fn flush(&self, name: &str) -> Result<&'static dyn FlushPolicy, Error> {
        find("flush policy", &self.policies, |it| it.name(), name).copied()
    }

    /// Finds a chooser.
    pub fn chooser(&self, name: &str) -> Result<Arc<ChooserKind>, Error> {
        find("chooser", &self.choosers, |it| it.name, name).cloned()
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
    #[should_panic(expected = "there is a row `B02` already")]
    fn a_name_is_given_once() {
        let taken = *os::fixes::ROWS
            .iter()
            .find(|row| row.id == "B02")
            .expect("a row");
        let _ = Registry::standard().with(row(taken));
    }
}
