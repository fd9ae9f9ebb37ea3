//! A run, as a request: what to run on what. Names are checked as they come; what depends on
//! other choices, when the run starts.

use std::collections::BTreeMap;
use std::sync::Arc;

use os::fixes::{BaseKernel, Row};
use os::flush::FlushPolicy;
use os::patch::Patch;
use workloads::{Params, Reproducer};

use crate::configuration::{Configuration, SavedBudget, check_cpus};
use crate::registry::{ChooserChoice, Fix, MachineChoice};
use crate::suggest::hint;
use crate::{Error, Registry, Report, Session};

/// Steps after which a run is given up, unless somebody says otherwise.
pub const MAX_STEPS: u64 = 2_000_000_000;

/// The machine when nobody says.
pub const MACHINE: &str = "skylake-2s";

/// A run to be made: a reproducer on a kernel with fixes, on a machine.
///
/// ```
/// use shootdown::Run;
///
/// # fn main() -> Result<(), shootdown::Error> {
/// let report = Run::of("forkscrew")?.fix("B02")?.seed(7).run()?;
/// assert!(report.is_clean(), "{report}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Run {
    registry: Registry,
    reproducer: &'static dyn Reproducer,
    kernel: Option<&'static BaseKernel>,
    fixes: Vec<(String, Fix)>,
    flush: Option<&'static dyn FlushPolicy>,
    machine: MachineChoice,
    cpus: Option<u64>,
    seed: u64,
    chooser: Option<ChooserChoice>,
    set: BTreeMap<String, String>,
    max_steps: u64,
    budgets: Vec<SavedBudget>,
}

impl Run {
    /// The reproducer of that name, as it comes.
    pub fn of(reproducer: &str) -> Result<Run, Error> {
        Run::of_in(&Registry::standard(), reproducer)
    }

    /// The same, from a registry with more in it.
    pub fn of_in(registry: &Registry, reproducer: &str) -> Result<Run, Error> {
        Ok(Run {
            reproducer: registry.reproducer(reproducer)?,
            kernel: None,
            fixes: Vec::new(),
            flush: None,
            machine: registry.machine(MACHINE)?,
            cpus: None,
            seed: 1,
            chooser: None,
            set: BTreeMap::new(),
            max_steps: MAX_STEPS,
            budgets: Vec::new(),
            registry: registry.clone(),
        })
    }

    /// On this base kernel instead of the reproducer's own, or a row's.
    pub fn kernel(mut self, name: &str) -> Result<Run, Error> {
        self.kernel = Some(self.registry.kernel(name)?);
        Ok(self)
    }

    /// With this patch, after those given before; or with the whole configuration of a row.
    pub fn fix(mut self, name: &str) -> Result<Run, Error> {
        let fix = self.registry.fix(name)?;
        self.fixes.push((name.to_string(), fix));
        Ok(self)
    }

    /// With this TLB-flush policy instead of the kernel's.
    pub fn flush(mut self, name: &str) -> Result<Run, Error> {
        self.flush = Some(self.registry.flush(name)?);
        Ok(self)
    }

    /// On this machine: a preset's name, or the path of a TOML file.
    pub fn machine(mut self, name: &str) -> Result<Run, Error> {
        self.machine = self.registry.machine(name)?;
        Ok(self)
    }

    /// With so many CPUs, 1 to 512; checked when the run starts.
    pub fn cpus(mut self, cpus: u64) -> Run {
        self.cpus = Some(cpus);
        self
    }

    /// With this seed; 1 when nobody says.
    pub fn seed(mut self, seed: u64) -> Run {
        self.seed = seed;
        self
    }

    /// With this chooser (`random`, `pct:3`). When nobody says, simulated time decides a single
    /// run, and explorations are `random`.
    pub fn chooser(mut self, name: &str) -> Result<Run, Error> {
        self.chooser = Some(self.registry.chooser(name)?);
        Ok(self)
    }

    /// With this value of a parameter of the reproducer.
    pub fn set(mut self, name: &str, value: &str) -> Result<Run, Error> {
        let known = self.reproducer.parameters();
        if !known.iter().any(|it| it.name == name) {
            return Err(Error::Unknown {
                kind: "parameter",
                name: name.to_string(),
                hint: hint(name, known.iter().map(|it| it.name)),
            });
        }
        Params::defaults(self.reproducer).set(self.reproducer, name, value)?;
        self.set.insert(name.to_string(), value.to_string());
        Ok(self)
    }

    /// Gives the run up after so many steps.
    pub fn max_steps(mut self, steps: u64) -> Run {
        self.max_steps = steps;
        self
    }

    /// With budgets for counters; the `cost` oracle fires when a run ends outside of them.
    pub fn budgets(mut self, budgets: &[workloads::Budget]) -> Run {
        self.budgets = budgets
            .iter()
            .map(|it| SavedBudget {
                counter: it.counter.to_string(),
                at_least: it.at_least,
                at_most: it.at_most,
            })
            .collect();
        self
    }

    /// One run.
    pub fn run(&self) -> Result<Report, Error> {
        self.session(|session| session.run(self.seed))?.whole()
    }

    /// Builds the machine once, for many runs: each is a reset, not a rebuild.
    ///
    /// ```
    /// # fn main() -> Result<(), shootdown::Error> {
    /// let lost = shootdown::Run::of("lost-update")?.chooser("random")?.session(|session| {
    ///     (0..100).filter(|seed| !session.run(*seed).is_clean()).count()
    /// })?;
    /// assert!(lost > 0, "no seed of 100 loses an update");
    /// # Ok(())
    /// # }
    /// ```
    pub fn session<R>(&self, work: impl for<'w> FnOnce(&mut Session<'w>) -> R) -> Result<R, Error> {
        Ok(Arc::new(self.configuration()?).boot(work))
    }

    /// The seed.
    pub fn get_seed(&self) -> u64 {
        self.seed
    }

    /// Checks what depends on other choices, and settles what rows leave to each other.
    pub fn configuration(&self) -> Result<Configuration, Error> {
        let configuration = self.configuration_by("timed")?;
        if configuration.chooser.searches() {
            return Err(Error::SearchIsNoRun {
                given: configuration.chooser.to_string(),
            });
        }
        Ok(configuration)
    }

    /// The same, by this chooser unless another was asked for; it may be one that searches.
    pub(crate) fn configuration_by(&self, chooser: &str) -> Result<Configuration, Error> {
        let reproducer = self.reproducer;
        let rows: Vec<Row> = self
            .fixes
            .iter()
            .filter_map(|(_, fix)| match fix {
                Fix::Row(row) => Some(*row),
                Fix::Patch(_) => None,
            })
            .collect();
        let kernel = match (self.kernel, kernel_of_rows(&rows)?) {
            (Some(kernel), _) => kernel,
            (None, Some(name)) => self.registry.kernel(name)?,
            (None, None) => self.registry.kernel(reproducer.kernel())?,
        };
        let chooser = match self.chooser {
            Some(chooser) => chooser,
            None => self.registry.chooser(chooser)?,
        };
        let params = self.params(&rows, chooser.searches())?;
        let cpus = self.cpus.unwrap_or(u64::from(reproducer.cpus(&params)));
        let configuration = Configuration {
            reproducer,
            params,
            kernel,
            fixes: self.fixes.iter().map(|(name, _)| name.clone()).collect(),
            patches: self.patches(kernel)?,
            flush: match self.flush {
                Some(flush) => flush,
                None => self.registry.flush(kernel.flush)?,
            },
            machine: self.machine.clone(),
            cpus: check_cpus(cpus)?,
            chooser,
            max_steps: self.max_steps,
            budgets: self.budgets.clone(),
            base_patches: base_patches(&self.registry, kernel)?,
            saved: None,
        };
        configuration.check()?;
        Ok(configuration)
    }

    /// Defaults, for a search those of the small form, then what rows set, then what the user set.
    fn params(&self, rows: &[Row], searches: bool) -> Result<Params, Error> {
        let mut params = Params::defaults(self.reproducer);
        if let Some(small) = self.reproducer.small_form()
            && searches
        {
            params.set(self.reproducer, small.name, "1")?;
        }
        let mut by_row: BTreeMap<&str, (&'static str, u64)> = BTreeMap::new();
        for row in rows {
            for (name, value) in row.set {
                if !self
                    .reproducer
                    .parameters()
                    .iter()
                    .any(|it| it.name == *name)
                {
                    return Err(self.lacks(row, name, *value));
                }
                if self.set.contains_key(*name) {
                    continue;
                }
                let (first, before) = *by_row.entry(name).or_insert((row.id, *value));
                if before != *value {
                    return Err(Error::RowsDisagree {
                        first,
                        second: row.id,
                        what: format!("{name} ({before} and {value})"),
                        right: format!("set {name} yourself, or drop one of them"),
                    });
                }
                params.set(self.reproducer, name, &value.to_string())?;
            }
        }
        for (name, value) in &self.set {
            params.set(self.reproducer, name, value)?;
        }
        Ok(params)
    }

    fn lacks(&self, row: &Row, parameter: &'static str, value: u64) -> Error {
        let having: Vec<&str> = self
            .registry
            .reproducers
            .iter()
            .filter(|it| it.parameters().iter().any(|it| it.name == parameter))
            .map(|it| it.name())
            .collect();
        Error::RowParameter {
            row: row.id,
            parameter,
            value,
            reproducer: self.reproducer.name(),
            right: match having.as_slice() {
                [] => String::new(),
                names => format!("; {} would have it", names.join(", ")),
            },
        }
    }

    /// The patches on top of `kernel`, in order, each once.
    fn patches(&self, kernel: &BaseKernel) -> Result<Vec<&'static dyn Patch>, Error> {
        let mut patches: Vec<&'static dyn Patch> = Vec::new();
        for (_, fix) in &self.fixes {
            let more = match fix {
                Fix::Patch(patch) => vec![*patch],
                Fix::Row(row) => row
                    .patches
                    .iter()
                    .map(|it| self.registry.patch(it))
                    .collect::<Result<_, _>>()?,
            };
            for patch in more {
                let name = patch.name();
                let there =
                    kernel.patches.contains(&name) || patches.iter().any(|it| it.name() == name);
                if !there {
                    patches.push(patch);
                }
            }
        }
        Ok(patches)
    }
}

pub(crate) fn base_patches(
    registry: &Registry,
    kernel: &BaseKernel,
) -> Result<Vec<&'static dyn Patch>, Error> {
    kernel
        .patches
        .iter()
        .map(|name| registry.patch(name))
        .collect()
}

fn kernel_of_rows(rows: &[Row]) -> Result<Option<&'static str>, Error> {
    let mut found: Option<(&Row, &'static str)> = None;
    for row in rows {
        let Some(kernel) = row.kernel else { continue };
        match found {
            Some((first, before)) if before != kernel => {
                return Err(Error::RowsDisagree {
                    first: first.id,
                    second: row.id,
                    what: format!("the kernel ({before} and {kernel})"),
                    right: "name the kernel yourself, or drop one of them".to_string(),
                });
            }
            _ => found = Some((row, kernel)),
        }
    }
    Ok(found.map(|(_, kernel)| kernel))
}
