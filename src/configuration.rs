//! A configuration: everything that decides a run, but the seed. As a value that can start
//! machines, and as the JSON of replay files.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use emu::replay_file::ReplayFile;
use emu::{Costs, Size};
use os::Kernel;
use os::fixes::BaseKernel;
use os::flush::FlushPolicy;
use os::patch::{Decision, Patch};
use serde::{Deserialize, Serialize};
use workloads::{Parameter, Params, Reproducer};

use crate::registry::{ChooserChoice, MachineChoice};
use crate::run::base_patches;
use crate::{Error, Registry, Session};

/// Frames in a MiB.
const FRAMES_PER_MIB: u64 = (1 << 20) / mmu::PAGE_SIZE as u64;
/// Guest physical memory ends here, in MiB: 64 GiB.
const MAX_MEMORY_MIB: u64 = 64 << 10;

/// Everything that decides a run, but the seed. Checked: a machine can be built from it.
#[derive(Clone)]
pub struct Configuration {
    /// What runs.
    pub reproducer: &'static dyn Reproducer,
    /// Its parameters.
    pub params: Params,
    /// The base kernel.
    pub kernel: &'static BaseKernel,
    /// Patches and rows as they were asked for.
    pub fixes: Vec<String>,
    /// Patches on top of the base kernel, in order of application.
    pub patches: Vec<&'static dyn Patch>,
    /// The TLB-flush policy.
    pub flush: &'static dyn FlushPolicy,
    /// What things cost.
    pub machine: MachineChoice,
    /// CPUs.
    pub cpus: u16,
    /// Who goes next.
    pub chooser: ChooserChoice,
    /// Steps after which a run is given up.
    pub max_steps: u64,
    /// What counters may be at the end of a run; outside of it the `cost` oracle fires.
    pub budgets: Vec<SavedBudget>,
    pub(crate) base_patches: Vec<&'static dyn Patch>,
    /// The choices of a saved run, instead of the chooser's.
    pub(crate) saved: Option<Arc<ReplayFile>>,
}

/// What two patches both have the only say in, unless one rests on the other.
fn excluded(
    all: &[&'static dyn Patch],
    earlier: &dyn Patch,
    later: &dyn Patch,
) -> Option<Decision> {
    let mut decisions = earlier.decides().iter().copied();
    let common = decisions.find(|it| later.decides().contains(it))?;
    (!rests_on(all, later, earlier.name())).then_some(common)
}

/// Whether a patch builds on the one of that name, or on what builds on it.
fn rests_on(all: &[&'static dyn Patch], patch: &dyn Patch, name: &str) -> bool {
    let mut below = all
        .iter()
        .filter(|it| patch.builds_on().contains(&it.name()));
    below.any(|it| it.name() == name || rests_on(all, *it, name))
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.saved_form(), f)
    }
}

impl Configuration {
    /// What depends on several choices.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let all = self.all_patches();
        for (at, patch) in all.iter().enumerate() {
            for needs in patch.builds_on() {
                if !all[..at].iter().any(|it| it.name() == *needs) {
                    return Err(self.missing(patch.name(), needs, &all[at..]));
                }
            }
        }
        for (at, later) in all.iter().enumerate() {
            for earlier in &all[..at] {
                if let Some(decision) = excluded(&all, *earlier, *later) {
                    return Err(self.exclusive(earlier.name(), later.name(), decision));
                }
            }
        }
        let memory_mib = self.reproducer.memory_mib(&self.params);
        let fits = match memory_mib {
            1..=MAX_MEMORY_MIB => Ok(()),
            _ => Err(format!(
                "it asks for {memory_mib} MiB of memory, and a machine has 1 to {MAX_MEMORY_MIB}"
            )),
        };
        let checked = fits.and_then(|()| self.reproducer.check(&self.params));
        checked.map_err(|message| Error::Parameters {
            reproducer: self.reproducer.name(),
            message,
        })
    }

    fn missing(&self, fix: &'static str, needs: &'static str, rest: &[&dyn Patch]) -> Error {
        let later = rest.iter().any(|it| it.name() == needs);
        let in_kernel = os::fixes::KERNELS
            .iter()
            .find(|it| it.patches.contains(&needs));
        let right = match (later, in_kernel) {
            (true, _) => format!("name `{needs}` first"),
            (false, Some(kernel)) => {
                format!("kernel {} has it, or name `{needs}` first", kernel.name)
            }
            (false, None) => format!("name `{needs}` first"),
        };
        Error::BuildsOn { fix, needs, right }
    }

    fn exclusive(&self, earlier: &'static str, later: &'static str, decision: Decision) -> Error {
        let right = match self.base_patches.iter().any(|it| it.name() == earlier) {
            true => format!(
                "kernel {} has the first: take an older one",
                self.kernel.name
            ),
            false => "leave one of them out".to_string(),
        };
        Error::Excludes {
            earlier,
            later,
            decision,
            right,
        }
    }

    /// Whether simulated time decides what is enabled.
    pub(crate) fn keeps_time(&self) -> bool {
        self.chooser.keeps_time()
    }

    fn all_patches(&self) -> Vec<&'static dyn Patch> {
        self.base_patches
            .iter()
            .chain(&self.patches)
            .copied()
            .collect()
    }

    /// Builds the machine and prepares it, for the time of `work`.
    pub fn boot<R>(self: Arc<Self>, work: impl for<'w> FnOnce(&mut Session<'w>) -> R) -> R {
        let memory_mib = self.reproducer.memory_mib(&self.params);
        let kernel = Kernel::new(os::Config {
            costs: self.machine.costs.clone(),
            size: Size {
                cpus: self.cpus,
                frames: (memory_mib * FRAMES_PER_MIB) as u32,
                store_buffers: self.reproducer.store_buffers(&self.params),
            },
            patches: self.all_patches(),
            flush: self.flush,
        });
        kernel.prepare(|setup| self.reproducer.prepare(setup, &self.params));
        let result = work(&mut Session::new(&kernel, self));
        kernel.machine.tear_down();
        result
    }

    /// What runs on which kernel, in words.
    pub(crate) fn subject(&self) -> String {
        let fixes = match self.fixes.join(" + ") {
            none if none.is_empty() => none,
            fixes => format!(" + {fixes}"),
        };
        let small = self.small_form().map_or("", |_| " (small)");
        let name = self.reproducer.name();
        format!("{name}{small} on {}{fixes}", self.kernel.name)
    }

    /// The small form of the program, if that is what runs.
    pub(crate) fn small_form(&self) -> Option<&'static Parameter> {
        let small = self.reproducer.small_form();
        small.filter(|it| self.params.get(it.name) == 1)
    }

    /// On which machine, in words.
    pub(crate) fn place(&self) -> String {
        let cpus = if self.cpus == 1 { "CPU" } else { "CPUs" };
        format!(
            "{} with {} {cpus}, flush {}",
            self.machine.costs.name,
            self.cpus,
            self.flush.name()
        )
    }

    /// As a replay file holds it.
    pub fn saved_form(&self) -> SavedConfiguration {
        SavedConfiguration {
            reproducer: self.reproducer.name().to_string(),
            set: self
                .params
                .iter()
                .map(|(name, value)| (name.to_string(), value))
                .collect(),
            kernel: self.kernel.name.to_string(),
            fixes: self.fixes.clone(),
            patches: self
                .patches
                .iter()
                .map(|it| it.name().to_string())
                .collect(),
            flush: self.flush.name().to_string(),
            machine: match &self.machine.text {
                None => SavedMachine::Preset(self.machine.costs.name.clone()),
                Some(text) => SavedMachine::Toml(text.clone()),
            },
            cpus: u64::from(self.cpus),
            chooser: self.chooser.to_string(),
            max_steps: self.max_steps,
            budgets: self.budgets.clone(),
        }
    }
}

/// A configuration as replay files hold it, as JSON. It stands alone: a machine preset of the
/// user's own is in it whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedConfiguration {
    /// What runs.
    pub reproducer: String,
    /// Its parameters, each of them.
    pub set: BTreeMap<String, u64>,
    /// The base kernel.
    pub kernel: String,
    /// Patches and rows as they were asked for.
    pub fixes: Vec<String>,
    /// Patches on top of the base kernel, in order of application.
    pub patches: Vec<String>,
    /// The TLB-flush policy.
    pub flush: String,
    /// What things cost.
    pub machine: SavedMachine,
    /// CPUs.
    pub cpus: u64,
    /// Who chose.
    pub chooser: String,
    /// Steps after which the run was given up.
    pub max_steps: u64,
    /// What counters may be at the end of a run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<SavedBudget>,
}

/// What a counter may be at the end of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedBudget {
    /// The counter, as in the report.
    pub counter: String,
    /// The least it may be.
    pub at_least: u64,
    /// The most.
    pub at_most: u64,
}

impl SavedBudget {
    /// What is wrong with a run's counters, if something is.
    pub(crate) fn exceeded(&self, counters: &BTreeMap<&'static str, u64>) -> Option<String> {
        let value = counters.get(self.counter.as_str()).copied().unwrap_or(0);
        let right = match (self.at_least, self.at_most) {
            (0, most) => format!("at most {most}"),
            (least, u64::MAX) => format!("at least {least}"),
            (least, most) => format!("{least} to {most}"),
        };
        let within = (self.at_least..=self.at_most).contains(&value);
        (!within).then(|| format!("`{}` is {value}, and its budget is {right}", self.counter))
    }
}

/// A machine as replay files hold it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SavedMachine {
    /// One that is compiled in, by name.
    Preset(String),
    /// The text of a TOML file.
    Toml(String),
}

impl SavedConfiguration {
    /// The configuration, if everything it names is known here.
    pub fn resolve(&self, registry: &Registry) -> Result<Configuration, Error> {
        let reproducer = registry.reproducer(&self.reproducer)?;
        let kernel = registry.kernel(&self.kernel)?;
        let mut params = Params::defaults(reproducer);
        for (name, value) in &self.set {
            params.set(reproducer, name, &value.to_string())?;
        }
        let machine = match &self.machine {
            SavedMachine::Preset(name) => MachineChoice {
                costs: Costs::preset(name).ok_or_else(|| Error::Unknown {
                    kind: "machine",
                    name: name.clone(),
                    hint: crate::suggest::hint(name, Costs::preset_names().iter().copied()),
                })?,
                text: None,
            },
            SavedMachine::Toml(text) => MachineChoice {
                costs: Costs::from_toml(text, "in the replay file")?,
                text: Some(text.clone()),
            },
        };
        let patches = self.patches.iter().map(|name| registry.patch(name));
        let configuration = Configuration {
            reproducer,
            params,
            kernel,
            fixes: self.fixes.clone(),
            patches: patches.collect::<Result<_, _>>()?,
            flush: registry.flush(&self.flush)?,
            machine,
            cpus: check_cpus(self.cpus)?,
            chooser: registry.chooser(&self.chooser)?,
            max_steps: self.max_steps,
            budgets: self.budgets.clone(),
            base_patches: base_patches(registry, kernel)?,
            saved: None,
        };
        configuration.check()?;
        Ok(configuration)
    }
}

/// The number of CPUs, if a machine can have so many.
pub(crate) fn check_cpus(given: u64) -> Result<u16, Error> {
    match given {
        1..=512 => Ok(given as u16),
        _ => Err(Error::Cpus { given }),
    }
}
